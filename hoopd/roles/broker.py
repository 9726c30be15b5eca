"""The broker process: everything that must be kept or kept secret; composition only.

Store, vault, identities, approvals, ledger and recordings are made here, in the order in which they need one another,
and offered to workers and control (L{hoopd.ipc.interfaces.IBrokerRole}).
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

import hoopd
from hoopd.administration import Administration
from hoopd.administration_condition import Condition
from hoopd.approvals.service import Approvals
from hoopd.approvals.tables import MIGRATIONS as APPROVALS_TABLES
from hoopd.audit.index import SessionIndex
from hoopd.audit.ledger import Ledger
from hoopd.audit.log import JsonLog
from hoopd.audit.observed import ObservedIndex
from hoopd.audit.pending import Pending
from hoopd.audit.sealing import Recordings
from hoopd.audit.tables import MIGRATIONS as AUDIT_TABLES
from hoopd.audit.transfers import TransferIndex
from hoopd.audit.views import Views
from hoopd.audit.watching import Watches
from hoopd.breakglass.service import BreakGlass
from hoopd.breakglass.sessions import WorkerBreakGlass
from hoopd.breakglass.tables import MIGRATIONS as BREAK_GLASS_TABLES
from hoopd.emergency.exports import Exports
from hoopd.emergency.officers import Officers
from hoopd.emergency.tables import MIGRATIONS as EMERGENCY_TABLES
from hoopd.errors import RecordError, Unavailable
from hoopd.flow.admission import Admissions
from hoopd.flow.lobby import Lobby, WorkerLobby
from hoopd.flow.login_links import LoginLinks, WorkerLinks
from hoopd.flow.tables import MIGRATIONS as FLOW_TABLES
from hoopd.flow.worker_views import WorkerApprovals, WorkerSessions
from hoopd.governance.service import RuleSets
from hoopd.governance.tables import MIGRATIONS as GOVERNANCE_TABLES
from hoopd.identity.bootstrap import Bootstrap
from hoopd.identity.provider import Identities
from hoopd.identity.recovery import Recovery
from hoopd.identity.ssh_keys import MIGRATIONS as SSH_KEYS_TABLES
from hoopd.identity.ssh_keys import SshKeys
from hoopd.identity.tables import MIGRATIONS as IDENTITY_TABLES
from hoopd.identity.values import Revocation
from hoopd.ipc.interfaces import IBrokerRole
from hoopd.notices import held, rule_sets
from hoopd.notices.service import Notices
from hoopd.notices.tables import MIGRATIONS as NOTICES_TABLES
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.roles.context import ChildContext
from hoopd.secret import Secret
from hoopd.store.settings import installation_id
from hoopd.store.sqlite import SqliteStore
from hoopd.values import Asked, Opening, Target, Vote
from hoopd.vault.master import master_source
from hoopd.vault.ssh_authorities import MIGRATIONS as SSH_AUTHORITIES_TABLES
from hoopd.vault.ssh_authorities import Authorities
from hoopd.vault.ssh_credentials import SshCredentials
from hoopd.vault.ssh_hosts import MIGRATIONS as SSH_HOSTS_TABLES
from hoopd.vault.ssh_hosts import HostKeys, own_keys
from hoopd.vault.tables import MIGRATIONS as VAULT_TABLES
from hoopd.vault.vault import Vault

TABLES = (
    *VAULT_TABLES,
    *SSH_AUTHORITIES_TABLES,
    *SSH_HOSTS_TABLES,
    *SSH_KEYS_TABLES,
    *IDENTITY_TABLES,
    *APPROVALS_TABLES,
    *AUDIT_TABLES,
    *FLOW_TABLES,
    *NOTICES_TABLES,
    *BREAK_GLASS_TABLES,
    *GOVERNANCE_TABLES,
    *EMERGENCY_TABLES,
)

#: no vowels, nothing that looks like another: ids are read aloud
_LETTERS = "23456789BCDFGHJKLMNPQRSTVWXZ"


def new_id(prefix: str, length: int) -> str:
    """Such as C{S-7KQ2M9…}: 28 letters, so that C{length} of 12 has 57 bits."""
    return prefix + "".join(secrets.choice(_LETTERS) for _ in range(length))


def _evenly() -> float:
    """@return: a number from 0 to 1."""
    return secrets.randbelow(1 << 32) / (1 << 32)


@frozen
class WorkerServices:
    """What one worker may reach."""

    sessions: Any
    approvals: Any
    break_glass: Any
    vault: Any
    ssh: Any
    lobby: Any
    login_links: Any
    targets: Any


class _Verifier:
    """The verifier, whichever process it is; away until one is attached."""

    def __init__(self) -> None:
        self.remote: Any = None

    def verify(self, token: Any) -> Deferred[Any]:
        answer: Deferred[Any] = self._there().verify(token)
        return answer

    def begin_device(self, provider: str, secret: Any) -> Deferred[Any]:
        answer: Deferred[Any] = self._there().begin_device(provider, secret)
        return answer

    def poll_device(self, provider: str, code: Any, secret: Any) -> Deferred[Any]:
        answer: Deferred[Any] = self._there().poll_device(provider, code, secret)
        return answer

    def _there(self) -> Any:
        if self.remote is None:
            raise Unavailable("the verifier is away")
        return self.remote


@implementer(IBrokerRole)
class Broker:
    log = Logger()

    def __init__(self, context: ChildContext) -> None:
        self.context = context
        self.config = context.config
        self.clock = context.reactor
        self._json = JsonLog(self.config.paths.log)
        self._verifier = _Verifier()
        self._policy: Any = None
        self._started = False
        self._state = Path(self.config.paths.state)
        self._state.mkdir(mode=0o700, parents=True, exist_ok=True)

    def event(self, name: str, fields: dict[str, Any]) -> None:
        self._json.event(name, fields)

    # -- IRole -------------------------------------------------------------------------------------------------

    def start(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        state = self._state
        reactor = self.clock
        self.store = SqliteStore(str(state / "store.sqlite"), reactor)
        await self.store.migrate(TABLES)
        installation = await installation_id(self.store, os.urandom)
        source = master_source(self.config.vault.master_key, os.environ)
        self.vault = Vault(self.store, source, installation, reactor)
        await self.vault.unlock()
        pepper = await self.vault.internal("token-pepper")
        authorities = Authorities(self.store, self.vault, reactor)
        await authorities.start()
        self.ssh = SshCredentials(
            self.vault,
            authorities,
            HostKeys(self.store),
            reactor,
            os.urandom,
            self._may_login,
            lambda: self._policy.targets(),
            own_keys(self.config.listen),
        )
        rules, needed = self.context.rules, self.config.policy.signatures
        self.rule_sets = RuleSets(
            self.store, lambda: self.pending.send(), reactor, self.config.policy.authors_approve, self.event
        )
        endorsed = await self.rule_sets.judge(rules.papers, rules.policies, needed)
        self._policy = PolicySnapshot.load(
            rules.policies, self.config.targets, await self.vault.internal("mask-key"), test=False
        )
        audit = self.config.audit
        self.ledger = Ledger(
            state / "ledger", await self.vault.internal("ledger-seed"), audit, reactor, event=self.event
        )
        await self.ledger.start()
        self.recordings = Recordings(
            state / "recordings",
            self.ledger,
            audit,
            reactor,
            event=self.event,
            tampered=self._reach_end,
            sealed=lambda session, end, closed: self.observed.sealed(session, end, closed),
        )
        self.pending = Pending(self.store, self.ledger, reactor, self.event)
        self.index = SessionIndex(self.store)
        self.observed = ObservedIndex(self.store, state / "recordings", reactor)
        conflicts = self.config.duties.conflicts
        self.identities = Identities(
            self.store, self._verifier, self.config.identity, reactor, pepper, conflicts=conflicts
        )
        self.bootstrap = Bootstrap(
            self.store,
            state / "bootstrap-token",
            reactor,
            pepper,
            self.config.identity.token_lifetime,
            conflicts=conflicts,
        )
        self.notices = Notices(
            self.store,
            self.config.notify,
            self.config.notifications,
            installation,
            reactor,
            reveal=self.vault.reveal_channel,
            ledger=self.ledger,
            event=self.event,
            jitter=_evenly,
        )
        self.approvals = Approvals(
            self.store,
            await self.vault.internal("approval-digest"),
            self.ledger,
            reactor,
            self.config.approvals,
            policy_version=lambda: self._policy.version,
            identity_of=self._identity_of,
            target_of=self._target_of,
            new_id=lambda: new_id("A-", 6),
            event=self.event,
            still=self._may_still_approve,
            barred=self.rule_sets.barred,
        )
        self.recovery = self.identities.recovery = Recovery(
            self.store,
            self.pending,
            self.notices,
            reactor,
            pepper,
            os.urandom,
            self.event,
            self._revoked,
            whose=self.config.identity.recovery_for,
            lapse=self.config.identity.recovery_lapse,
            new_id=lambda: new_id("R-", 6),
        )
        emergency = self.config.emergency
        self.officers = Officers(self.store, self.pending, self.notices, reactor, emergency, conflicts, self.event)
        self.exports = Exports(
            self.store,
            self.vault,
            self.officers,
            self.notices,
            reactor,
            emergency,
            await self.vault.internal("export-digest"),
            targets=lambda: self._policy.targets(),
            new_id=lambda: new_id("E-", 6),
            event=self.event,
            record=self.pending.send,
        )
        self.break_glass = BreakGlass(
            self.store,
            self.pending,
            reactor,
            policy=lambda: self._policy,
            new_id=lambda: new_id("G-", 6),
            locked=self.identities.locked,
            event=self.event,
            notices=self.notices,
            changed=self._openings_changed,
        )
        self.rule_sets.within = rule_sets.within(self.notices, reactor)
        self.rule_sets.told = self.notices.wake
        self.approvals.within(held.within(self.notices))
        self.approvals.observe(lambda approval: self.notices.wake())
        self.admissions = Admissions(
            store=self.store,
            identities=self.identities,
            policy=lambda: self._policy,
            vault=self.vault,
            recordings=self.recordings,
            index=self.index,
            approvals=self.approvals,
            clock=reactor,
            event=self.event,
            randomness=os.urandom,
            new_id=lambda: new_id("S-", 12),
            reach_cancel=self._reach_cancel,
            reach_end=self._reach_end,
            resume_within=self.config.processes.broker_grace,
        )
        self.ssh_keys = self.identities.ssh_keys = SshKeys(
            self.store,
            authorities,
            reactor,
            os.urandom,
            self.config.identity.ssh_key_lifetime,
            lambda identity, id, why: self._revoked(Revocation(identity, id, why)),
            conflicts,
        )
        self.login_links = self.identities.login_links = LoginLinks(
            self._verifier, self.vault.reveal_login, self.config.identity, reactor, self.event, os.urandom
        )
        self.identities.observe(self._revoked)
        await self.admissions.recover()
        await self.recordings.recover(self.admissions.recovered())
        self.recordings.start()
        live = set(self.admissions.recovered())
        await self.observed.start(live.__contains__)
        await self.notices.start()
        await self.approvals.start()
        # what waits for the ledger goes before anything new; if it cannot be written, it is told and tried again
        await self.pending.send().addErrback(lambda failure: failure.trap(RecordError) and None)
        await self.rule_sets.begin(
            rules.papers, rules.policies, needed, endorsed, self._policy.version, rules.by, rules.author
        )
        await self.break_glass.start()
        await self.recovery.start()
        await self.bootstrap.ensure()
        views = Views(self.ledger, reactor, self.event)
        self.watches = Watches(
            views,
            lambda session: self.admissions.identity_of(session) is not None,
            self.index.get,
            str(state / "recordings"),
            reactor,
            new_id=lambda: new_id("W-", 12),
        )
        self.administration = Administration(
            identities=self.identities,
            bootstrap=self.bootstrap,
            vault=self.vault,
            approvals=self.approvals,
            break_glass=self.break_glass,
            recovery=self.recovery,
            ssh=self.ssh,
            ssh_keys=self.ssh_keys,
            notices=self.notices,
            officers=self.officers,
            exports=self.exports,
            admissions=self.admissions,
            index=self.index,
            observed=self.observed,
            transfers=TransferIndex(self.store),
            ledger=self.ledger,
            views=views,
            watches=self.watches,
            policy=lambda: self._policy,
            rule_sets=self.rule_sets,
            ask_ahead=self._ask_ahead,
            recordings=str(state / "recordings"),
            clock=reactor,
            event=self.event,
            reload=self._reload,
            condition=Condition(
                self.config,
                self.ledger,
                self.admissions,
                reactor,
                self._processes,
                self.notices.problems,
                reactor.seconds(),
                self.exports,
            ),
        )
        self.lobby = Lobby(self.identities, self.administration.act, reactor, os.urandom)
        await self.ledger.append("started", {"version": hoopd.__version__, "policy": self._policy.version})
        for name, clashing in (await self.identities.clashing()).items():
            self.event("identity.duties-clash", {"identity": name, "duties": clashing})
        self.event("policy.loaded", {"policy": self._policy.version, "targets": sorted(self.config.targets)})
        self._started = True

    def drain(self, limit: float | None) -> Deferred[None]:
        peers = self.context.peers
        assert peers is not None
        return peers.when_lonely()

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if not self._started:
            return
        self._started = False
        self.admissions.stop()
        await self.watches.stop()
        self.notices.stop()
        await self.approvals.stop()
        self.break_glass.stop()
        self.recovery.stop()
        self.pending.stop()
        await self.recordings.stop()
        await self.observed.stop()
        await self.ledger.stop()
        await self.store.close()

    # -- IBrokerRole -------------------------------------------------------------------------------------------

    def worker_services(self, worker: str) -> WorkerServices:
        return WorkerServices(
            sessions=WorkerSessions(worker, self.admissions),
            approvals=WorkerApprovals(worker, self.admissions, self.approvals),
            break_glass=WorkerBreakGlass(worker, self.admissions, self.break_glass),
            vault=self.vault,
            ssh=self.ssh,
            lobby=WorkerLobby(worker, self.lobby),
            login_links=WorkerLinks(worker, self.login_links),
            targets=self._policy.targets(),
        )

    def worker_gone(self, worker: str) -> None:
        if self._started:
            self.lobby.worker_gone(worker)
            self.login_links.worker_gone(worker)
            gone = Deferred.fromCoroutine(self.admissions.worker_gone(worker))
            gone.addErrback(lambda failure: self.log.failure("ending {worker}", failure=failure, worker=worker))

    def control_services(self) -> Administration:
        return self.administration

    def verifier_attached(self, verifier: Any) -> None:
        self._verifier.remote = verifier

    def notifier_attached(self, notifier: Any) -> None:
        self.notices.attached(notifier)

    def policy_document(self) -> bytes:
        document: bytes = self._policy.document()
        return document

    def openings(self) -> list[Opening]:
        return self.break_glass.openings()

    # -- between the parts -------------------------------------------------------------------------------------

    def _identity_of(self, session: str) -> Any:
        return self.admissions.identity_of(session)

    def _target_of(self, session: str) -> str:
        return self.admissions.target_of(session)

    def _reach_cancel(self, session: str) -> None:
        assert self.context.peers is not None
        self.context.peers.cancel(session).addErrback(self._unreached, session)

    def _reach_end(self, session: str, why: str) -> None:
        assert self.context.peers is not None
        self.context.peers.end(session, why).addErrback(self._unreached, session)

    def _unreached(self, failure: Any, session: str) -> None:
        self.log.failure("the worker of {session} was not reached", failure=failure, session=session)

    def _openings_changed(self, openings: list[Opening]) -> None:
        if self.context.peers is not None:
            self.context.peers.openings_changed()

    def _revoked(self, revocation: Revocation) -> None:
        identity, token, why = revocation.identity, revocation.token, revocation.why
        self.admissions.revoke(identity, token, why)
        self.lobby.revoke(identity, token)
        self.watches.revoke(identity, token)
        resting = Deferred.fromCoroutine(self._end_resting(identity, token, why))
        resting.addErrback(lambda failure: self.log.failure("SSH keys of {who}", failure=failure, who=identity))
        ended = self.break_glass.revoked(identity, token, why)
        ended.addErrback(lambda failure: self.log.failure("break glass of {who}", failure=failure, who=identity))

    def _may_login(self, session: str, target: Target, login: str) -> bool:
        identity = self.admissions.identity_of(session)
        return identity is not None and self._policy.may_login(identity, target, login)

    async def _end_resting(self, identity: str, token: str, why: str) -> None:
        """Sessions on SSH certificates that were made on a token end with it."""
        for id in await self.ssh_keys.made_on(identity, token) if token else ():
            self.admissions.revoke(identity, id, why)
            self.lobby.revoke(identity, id)
            self.watches.revoke(identity, id)

    def _processes(self) -> Deferred[Any]:
        assert self.context.processes is not None
        return self.context.processes()

    def _ask_ahead(self, token: Secret, target: Target, database: str, text: bytes, reason: str) -> Deferred[Asked]:
        assert self.context.peers is not None
        asked = self.context.peers.ask_ahead(target.protocol, token, target.name, database, text, reason)
        return Deferred.fromCoroutine(asked)

    def _reload(self, by: str, author: str) -> Deferred[None]:
        assert self.context.reload is not None
        return self.context.reload(by, author)

    def _may_still_approve(self, vote: Vote) -> Any:
        if self.rule_sets.barred(vote.identity):
            return False
        return self.identities.may_still_approve(vote.identity, vote.groups)


def start(context: ChildContext) -> Broker:
    return Broker(context)
