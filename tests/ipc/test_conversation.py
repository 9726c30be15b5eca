"""A worker's link and a broker's peers over a real socketpair: answers, errors, limits, descriptors."""

from __future__ import annotations

import fcntl
import os
from types import SimpleNamespace
from typing import Any

from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from hoopd.errors import AuthenticationFailed, Denied, Unavailable
from hoopd.identity.values import DeviceAnswer, DeviceRequest
from hoopd.interfaces import IAdministration, IApprovals, ICredentialVault, INotifier, ISessions, IVerifier
from hoopd.ipc import commands as c
from hoopd.ipc import end as end_module
from hoopd.ipc.asked import RemoteNotifier, RemoteVerifier
from hoopd.ipc.link import Link
from hoopd.ipc.stubs import RemoteAdministration, RemoteApprovals, RemoteSessions, RemoteVault
from hoopd.notices.deliveries import Mail, Outcome, Post, Run
from hoopd.secret import Secret
from hoopd.values import ScramServerFirst, TargetTls
from tests.ipc.family import APPROVAL, GRANT, HELD, PROOF, TARGET, TOKEN, Broker, WorkerRole, admission, descriptors
from tests.turns import turns


class Conversations(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.worker = WorkerRole()
        self.link = Link(reactor, "worker/postgres/1", 42, self.worker)
        self.broker = Broker()
        self.broker.attach(self.link)
        self.sessions = RemoteSessions(self.link)
        self.approvals = RemoteApprovals(self.link)
        self.vault = RemoteVault(self.link)
        self.script = self.broker.script

    def tearDown(self) -> Any:
        self.link.close()
        self.broker.die()
        return turns()

    def test_the_stubs_are_what_they_stand_for(self) -> None:
        for interface, stub in (
            (ISessions, self.sessions),
            (IApprovals, self.approvals),
            (ICredentialVault, self.vault),
            (IAdministration, RemoteAdministration(self.link)),
            (IVerifier, RemoteVerifier(reactor)),
            (INotifier, RemoteNotifier(reactor)),
        ):
            verifyObject(interface, stub)

    async def test_admit_passes_the_recording(self) -> None:
        before = descriptors()
        fd = os.memfd_create("recording")
        self.script.answers["admit"] = admission(fd)
        admitted = await self.sessions.admit(PROOF, "orders", "postgres")
        os.write(admitted.recording, b"frame")
        assert evolve(admitted, recording=fd) == admission(fd)
        assert fcntl.fcntl(admitted.recording, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        os.close(admitted.recording)
        assert self.script.named("admit") == [(PROOF, "orders", "postgres")]
        assert self.broker.role.worker == "worker/postgres/1:42"
        assert len(descriptors()) <= len(before), "the broker's own was closed after it was sent"

    async def test_errors_keep_their_class(self) -> None:
        self.script.answers["admit"] = AuthenticationFailed("who are you")
        self.script.answers["claim"] = Denied("no", ("r1",), "ask ann")
        failure = await self.assertFailure(self.sessions.admit(PROOF, "x", "postgres"), AuthenticationFailed)
        assert str(failure) == "who are you"
        denied = await self.assertFailure(self.approvals.claim("s1", TOKEN, "a1", HELD), Denied)
        assert (denied.why, denied.rules, denied.hint) == ("no", ("r1",), "ask ann")
        self.script.answers["show"] = KeyError("a9")
        await self.assertFailure(self.approvals.show("a9"), KeyError)

    async def test_an_error_of_ours_stays_at_home(self) -> None:
        self.script.answers["ended"] = RuntimeError("hunter2")
        gone = await self.assertFailure(self.sessions.ended("s1", TOKEN, "bye", 1, 2, 3), Unavailable)
        assert "hunter2" not in str(gone)
        logged = self.flushLoggedErrors(RuntimeError)
        assert len(logged) == 1
        self.script.answers["ended"] = None
        assert await self.sessions.ended("s1", TOKEN, "bye", 1, 2, 3) is None, "the conversation goes on"

    async def test_an_answer_without_written_form_stays_at_home(self) -> None:
        self.script.answers["show"] = object()
        await self.assertFailure(self.approvals.show("a1"), Unavailable)
        assert self.flushLoggedErrors(TypeError)

    async def test_large_statements_travel_as_memory_files(self) -> None:
        before = descriptors()
        large = evolve(HELD, statement=os.urandom(300_000), redacted="x" * 100_000)
        self.script.answers["request"] = lambda session, token, held: succeed(
            evolve(APPROVAL, redacted=held.redacted, session=session)
        )
        answer = await self.approvals.request("s1", TOKEN, large)
        assert answer.redacted == large.redacted
        assert self.script.named("request") == [("s1", TOKEN, large)]
        await turns()
        assert descriptors() <= before

    async def test_what_cannot_be_sent_fails_alone(self) -> None:
        await self.assertFailure(self.sessions.admit(PROOF, "x" * 70_000, "postgres"), Unavailable)
        self.script.answers["settle"] = APPROVAL
        assert await self.approvals.settle("s1", TOKEN, "a1", "executed", "7 rows") == APPROVAL

    async def test_challenges_use_the_brokers_own_target(self) -> None:
        offer = ScramServerFirst(("SCRAM-SHA-256",), (b"cert",), "db")
        self.script.answers["start_challenge"] = ("SCRAM-SHA-256", b"n,,\xff")
        self.script.answers["continue_challenge"] = b"c=\x00"
        self.script.answers["weak_answer"] = b"md5\x00"
        bent = evolve(TARGET, host="evil", tls=TargetTls("off"), weak_authentication=("cleartext",))
        assert await self.vault.start_challenge(GRANT, bent, offer) == ("SCRAM-SHA-256", b"n,,\xff")
        assert self.script.named("start_challenge") == [(GRANT, TARGET, offer)]
        assert await self.vault.continue_challenge(GRANT, b"r=\xff") == b"c=\x00"
        assert await self.vault.finish_challenge(GRANT, b"v=") is None
        assert await self.vault.weak_answer(GRANT, bent, "md5", b"salt") == b"md5\x00"
        assert self.script.named("weak_answer") == [(GRANT, TARGET, "md5", b"salt")]
        unknown = evolve(TARGET, name="other")
        await self.assertFailure(self.vault.start_challenge(GRANT, unknown, offer), Denied)

    async def test_a_worker_neither_decides_nor_administers(self) -> None:
        for refused in (
            self.approvals.decide("a1", None, True, "mine"),  # type: ignore[arg-type]
            self.approvals.find(),
            self.vault.put("n", Secret("x"), "me"),
            self.vault.entries(),
            self.vault.remove("n", "me"),
            self.vault.rotate_master_key("me"),
            self.vault.check(),
        ):
            await self.assertFailure(refused, Denied)
        # and not only its stubs say so: its end of the broker answers no such command
        await self.assertFailure(RemoteAdministration(self.link).call(TOKEN, "approvals.approve", {}), Unavailable)
        assert self.script.named("call") == []

    async def test_control_administers_and_does_nothing_else(self) -> None:
        control = Link(reactor, "control", 43)
        self.broker.attach(control, "control")
        self.script.answers["call"] = {"items": [1, None, "x"]}
        answer = await RemoteAdministration(control).call(TOKEN, "sessions.list", {"limit": 3})
        assert answer == {"items": [1, None, "x"]}
        assert self.script.named("call") == [(TOKEN, "sessions.list", {"limit": 3})]
        await self.assertFailure(RemoteSessions(control).admit(PROOF, "orders", "postgres"), Unavailable)
        assert self.script.named("admit") == []
        control.close()

    async def test_policy_comes_at_attachment_and_when_it_changes(self) -> None:
        await turns()
        assert self.worker.policies == [b"policy 1"]
        self.broker.role.document = b"x" * 200_000
        self.broker.peers.policy_changed()
        await turns()
        assert self.worker.policies == [b"policy 1", b"x" * 200_000]

    async def test_a_session_is_cancelled_and_ended_where_it_runs(self) -> None:
        self.script.answers["admit"] = lambda *a: succeed(admission(os.memfd_create("recording")))
        os.close((await self.sessions.admit(PROOF, "orders", "postgres")).recording)
        assert await self.broker.peers.cancel("s1") is True
        assert await self.broker.peers.end("s1", "revoked") is True
        assert await self.broker.peers.end("s2", "revoked") is False
        assert (self.worker.cancelled, self.worker.ended) == (["s1"], [("s1", "revoked")])
        await self.sessions.ended("s1", TOKEN, "revoked", 0, 0, 0)
        assert await self.broker.peers.cancel("s1") is False

    async def test_a_further_grant_comes_from_the_broker(self) -> None:
        self.script.answers["catalogue_grant"] = GRANT
        assert await self.sessions.catalogue_grant("s1", TOKEN) == GRANT
        assert self.script.named("catalogue_grant") == [("s1", TOKEN)]

    async def test_cancel_keys_travel(self) -> None:
        await self.sessions.register_cancel("s1", TOKEN, b"\x00\x01\xff\xfe" * 2)
        await self.sessions.cancel(b"\x00\x01\xff\xfe" * 2, PROOF.peer)
        assert self.script.named("cancel") == [(b"\x00\x01\xff\xfe" * 2, PROOF.peer)]

    async def test_questions_beyond_the_quota_wait_at_the_asker(self) -> None:
        gate: Deferred[None] = Deferred()
        open_calls = 0
        most = 0

        async def slow(*arguments: Any) -> Any:
            nonlocal open_calls, most
            open_calls += 1
            most = max(most, open_calls)
            waiting: Deferred[None] = Deferred()
            gate.addCallback(lambda _: waiting.callback(None))
            await waiting
            open_calls -= 1
            return APPROVAL

        self.script.answers["show"] = lambda *a: Deferred.fromCoroutine(slow(*a))
        answers = [self.approvals.show("a1") for _ in range(end_module.QUESTIONS_MAX + 40)]
        while open_calls < end_module.QUESTIONS_MAX:
            await turns()
        await turns()
        assert open_calls == end_module.QUESTIONS_MAX
        gate.callback(None)
        assert len(await gatherResults(answers)) == end_module.QUESTIONS_MAX + 40
        assert most == end_module.QUESTIONS_MAX

    async def test_a_flood_past_the_quota_is_refused(self) -> None:
        await self.link.when_attached()
        self.script.answers["show"] = lambda *a: Deferred()
        end = self.link._newest
        assert end is not None
        flood = [end.ask(c.ShowApproval, approval="a1") for _ in range(end_module.QUESTIONS_MAX + 1)]
        await self.assertFailure(flood.pop(), Unavailable)
        for question in flood:
            question.addErrback(lambda failure: failure.trap(Unavailable))

    async def test_large_arguments_of_one_worker_are_bounded(self) -> None:
        self.patch(end_module, "ARGUMENTS_MAX", 1_000_000)
        gate: Deferred[Any] = Deferred()
        self.script.answers["request"] = lambda *a: gate
        large = evolve(HELD, redacted="x" * 600_000)
        first = self.approvals.request("s1", TOKEN, large)
        await turns()
        await self.assertFailure(self.approvals.request("s1", TOKEN, large), Unavailable)
        gate.callback(APPROVAL)
        assert await first == APPROVAL
        self.script.answers["request"] = APPROVAL
        assert await self.approvals.request("s1", TOKEN, large) == APPROVAL, "what was answered counts no more"

    async def test_many_descriptors_at_once_are_no_flood(self) -> None:
        # as when a broker comes back to everybody who waited for one
        await self.link.when_attached()
        gate: Deferred[None] = Deferred()

        def admit(*arguments: Any) -> Deferred[Any]:
            waiting: Deferred[Any] = Deferred()
            gate.addCallback(lambda _: waiting.callback(admission(os.memfd_create("recording"))))
            return waiting

        self.script.answers["admit"] = admit
        admits = [self.sessions.admit(PROOF, "orders", "postgres") for _ in range(200)]
        while len(self.script.named("admit")) < len(admits):
            await turns()
        gate.callback(None)
        for found in await gatherResults(admits):
            os.close(found.recording)
        assert self.broker.role.gone == []

    async def test_an_admission_whose_worker_died_meanwhile_is_ended(self) -> None:
        slow: Deferred[Any] = Deferred()
        self.script.answers["admit"] = slow
        admit = self.sessions.admit(PROOF, "orders", "postgres")
        await turns()
        assert self.script.named("admit"), "the broker was asked"
        before = len(descriptors())
        assert self.link._newest is not None
        self.link._newest.transport.abortConnection()
        await self.assertFailure(admit, Unavailable)
        await turns()
        slow.callback(admission(os.memfd_create("recording")))
        await turns()
        assert [call[0] for call in self.script.named("ended")] == ["s1"]
        assert len(descriptors()) <= before - 2

    async def test_descriptors_nobody_asked_for_end_the_connection(self) -> None:
        self.patch(end_module, "DESCRIPTORS_MAX", 16)
        await self.link.when_attached()
        before = descriptors()
        end = self.link._newest
        assert end is not None
        fd = os.memfd_create("junk")
        for _ in range(end_module.DESCRIPTORS_MAX + 1):
            end._sendFileDescriptor(fd)
        os.close(fd)
        end.transport.write(b"\x00\x01x\x00" * 40)
        await end.finished
        await turns()
        assert self.broker.role.gone == ["worker/postgres/1:42"]
        assert len(descriptors()) <= len(before) - 2

    async def test_junk_ends_one_conversation_only(self) -> None:
        await self.link.when_attached()
        other = Link(reactor, "worker/postgres/2", 44, WorkerRole())
        self.broker.attach(other)
        await other.when_attached()
        end = self.link._newest
        assert end is not None
        end.transport.write(b"\xff" * 4096)
        await end.finished
        self.flushLoggedErrors()
        self.script.answers["show"] = APPROVAL
        assert await RemoteApprovals(other).show("a1") == APPROVAL
        other.close()

    async def test_the_broker_gives_the_notifier_deliveries(self) -> None:
        given: list[Any] = []

        class Notifier:
            def deliver(self, delivery: Any) -> Deferred[Any]:
                given.append(delivery)
                return succeed(Outcome(False, "status 429", 7.0))

        notifier = Link(reactor, "notifier", 45)
        notifier.offer_notifier(Notifier())  # type: ignore[arg-type]
        self.broker.attach(notifier, "notifier")
        await notifier.when_attached()
        await turns()
        (remote,) = self.broker.role.notifiers
        # as large as notices get, and larger than an AMP value may be
        post = Post(Secret("https://x.example/s3cret"), (("a", "b"), ("c", "d")), b"\xff" * 300_000, "/ca.pem", True)
        mail = Mail("s", 25, "tls", "u", Secret("pw"), "a@x", ("b@x", "c@x"), b"\r\n" * 50_000, "")
        run = Run(("/bin/true", "-x", "é"), b"{}", 5.0, 1 << 28)
        for delivery in (post, mail, run):
            assert await remote.deliver(delivery) == Outcome(False, "status 429", 7.0)
            assert given[-1] == delivery
        assert given[0].url.reveal() == b"https://x.example/s3cret"
        assert given[1].password.reveal() == b"pw"
        notifier.close()
        await turns()
        await self.assertFailure(remote.deliver(run), Unavailable)

    async def test_a_notifier_that_says_nothing_is_not_waited_for_without_end(self) -> None:
        self.patch(c.Deliver, "deadline", 0.2)
        notifier = Link(reactor, "notifier", 45)
        notifier.offer_notifier(SimpleNamespace(deliver=lambda delivery: Deferred()))  # type: ignore[arg-type]
        self.broker.attach(notifier, "notifier")
        await notifier.when_attached()
        await turns()
        (remote,) = self.broker.role.notifiers
        await self.assertFailure(remote.deliver(Run(("/bin/true",), b"", 5.0, 1)), Unavailable)
        notifier.close()

    async def test_the_broker_asks_the_verifier(self) -> None:
        class Verifier:
            def verify(self, token: Secret) -> Deferred[Any]:
                raise AuthenticationFailed("expired")

            def begin_device(self, provider: str, secret: Secret) -> Deferred[Any]:
                return succeed(DeviceRequest(secret, "WDJB-MJHT", f"https://{provider}.example/", 600.0, 5.0))

            def poll_device(self, provider: str, code: Secret, secret: Secret) -> Deferred[Any]:
                return succeed(DeviceAnswer("granted", Secret(code.reveal() + secret.reveal()), provider))

        verifier = Link(reactor, "verifier", 45)
        verifier.offer_verifier(Verifier())  # type: ignore[arg-type]
        self.broker.attach(verifier, "verifier")
        await verifier.when_attached()
        await turns()
        (remote,) = self.broker.role.verifiers
        await self.assertFailure(remote.verify(TOKEN), AuthenticationFailed)
        request = await remote.begin_device("corp", Secret("s"))
        self.assertEqual(request, DeviceRequest(Secret("s"), "WDJB-MJHT", "https://corp.example/", 600.0, 5.0))
        answer = await remote.poll_device("corp", Secret("code"), Secret("+s"))
        self.assertEqual(answer, DeviceAnswer("granted", Secret("code+s"), "corp"))
        verifier.close()
        await turns()
        await self.assertFailure(remote.verify(TOKEN), Unavailable)
