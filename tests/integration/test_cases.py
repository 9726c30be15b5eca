"""The acceptance cases of tests/cases/postgres, each on twin databases through a whole gateway.

The rule is their README's: no byte of a raw value in any message of the server, the same bytes on both twins, nothing changed
where it is blocked; what is allowed looks as it does without a gateway; what is held runs once, after somebody agreed.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.integration import wire
from tests.integration.tiny.running import until
from tests.integration.twins import CASES, Twins, raw_forms
from tests.integration.wire import Wire, error_code, message, messages

pytestmark = pytest.mark.integration

_ALL: list[dict[str, Any]] = [json.loads(line) for line in (CASES / "cases.jsonl").read_text().split("\n") if line]
_HELD = [each["id"] for each in _ALL if each["intent"] == "approve"]

#: SQLSTATEs of a session or statement that somebody else ended
_INTERRUPTED = frozenset({"57014", "57P01"})


#: their client writes a raw value itself, in a comment on a table or as a name, which touches no masked column
_OWN_WORDS = frozenset({"cat-05", "err-20"})

_REQUEST = re.compile(rb"A-[0-9A-Z]+")


def _copy_of(case: str, side: str = "gateway") -> str:
    return f"held_{case.replace('-', '_')}_{side}"


@pytest.fixture(scope="module")
def twins() -> Iterator[Twins]:
    made = Twins(tuple(_copy_of(each) for each in _HELD))
    yield made
    made.close()


@pytest.fixture
def administered(twins: Twins, request: pytest.FixtureRequest) -> Iterator[None]:
    """A case's own objects are there while it runs."""
    case = request.getfixturevalue("case")
    databases = (twins.a, twins.b) if case["intent"] != "approve" else ()
    for each in databases:
        if "setup" in case:
            twins.admin(each).rows(case["setup"])
    yield
    for each in databases:
        if "cleanup" in case:
            twins.admin(each).rows(case["cleanup"])
        if "setup" in case:
            names = re.findall(r"CREATE (SCHEMA|SERVER) (\w+)", case["setup"])
            twins.admin(each).rows(";".join(f"DROP {kind} {name} CASCADE" for kind, name in names))


class Conversation:
    """The steps of one case on one database.

    @ivar heard: per step, what the server sent.
    @ivar openings: what came before the first step of each session.
    @ivar refused: the server answered with an error, or closed, at some step.
    """

    def __init__(self, open_session: Callable[[dict[str, Any] | None], Wire], address: tuple[str, int]) -> None:
        self._open = open_session
        self._address = address
        self._sessions: dict[int, Wire] = {}
        #: sessions that were sent something whose answer was not read
        self._owed: set[int] = set()
        self.heard: list[bytes] = []
        self.openings: list[bytes] = []
        self.refused = False
        self._functions: Callable[[str], int] = lambda _: 0

    def run(self, case: dict[str, Any], function: Callable[[str], int]) -> Conversation:
        self._functions = function
        steps = case.get("steps") or [{"simple": case["sql"]}]
        try:
            for step in steps:
                found = self._step(step)
                self.heard.append(found)
                if any(kind == "E" for kind, _ in messages(found)):
                    self.refused = True
            for session in self._sessions.values():
                self.heard.append(session.rest(0.01) if not session.closed else b"closed")
        finally:
            for session in self._sessions.values():
                session.close()
        self.refused = self.refused or any(session.closed for session in self._sessions.values())
        return self

    def _session(self, number: int, startup: dict[str, Any] | None = None) -> Wire:
        if number not in self._sessions:
            session = self._sessions[number] = self._open(startup)
            # the gateway's own keys are its own each time
            self.openings.append(
                b"".join(message(kind.encode(), body) for kind, body in messages(session.opening) if kind != "K")
            )
            if session.closed or any(kind == "E" for kind, _ in messages(session.opening)):
                self.refused = True
        return self._sessions[number]

    def _step(self, step: dict[str, Any]) -> bytes:
        if "sleep" in step:
            time.sleep(step["sleep"])
            return b""
        if "rawopen" in step:
            found, closed = wire.raw(self._address, bytes.fromhex(step["rawopen"]))
            self.refused = self.refused or closed
            return found
        number = step.get("conn", 1)
        if "startup" in step:
            return self._session(number, step["startup"]).opening[:0]
        session = self._session(number)
        if session.closed:
            return b"closed"
        owed = session.ask(b"") if number in self._owed and "cancel_of" not in step else b""
        self._owed.discard(number)
        return owed + self._send(step, number, session)

    def _send(self, step: dict[str, Any], number: int, session: Wire) -> bytes:
        patience = step.get("maxt", wire.PATIENCE)
        if "simple" in step:
            return session.query(step["simple"], step.get("copy_in", ()), patience)
        if "extended" in step:
            name = step.get("name", "")
            return session.ask(
                wire.parse(step["extended"], name)
                + wire.bind(name, "", step.get("params", ()), step.get("rfmt", ()))
                + wire.describe("P", "")
                + wire.execute()
                + wire.SYNC
            )
        if "pipeline" in step:
            octets = b"".join(_low(each) for each in step["pipeline"])
            if any("Sync" in each or "Q" in each for each in step["pipeline"]):
                return session.ask(octets)
            session.send(octets)
            return session.rest()
        if "fcall" in step:
            return session.ask(wire.function_call(self._functions(step["fcall"]), step["args"]))
        if "send_only" in step:
            session.send(message(b"Q", step["send_only"].encode() + b"\0"))
            self._owed.add(number)
            time.sleep(0.2)
            return b""
        if "cancel_of" in step:
            target = self._sessions[step["cancel_of"]]
            length = (8 + len(target.key)).to_bytes(4, "big")
            wire.raw(self._address, length + (80877102).to_bytes(4, "big") + target.key)
            return target.ask(b"")
        if "terminate" in step:
            session.send(wire.TERMINATE)
            return session.rest(2.0)
        session.send(bytes.fromhex(step["raw"]))
        return session.rest()


def _low(step: dict[str, Any]) -> bytes:
    ((kind, given),) = step.items()
    made: dict[str, Callable[[], bytes]] = {
        "Parse": lambda: wire.parse(given["sql"], given.get("name", "")),
        "Bind": lambda: wire.bind(
            given.get("stmt", ""), given.get("portal", ""), given.get("params", ()), given.get("rfmt", ())
        ),
        "Describe": lambda: wire.describe(*given),
        "Execute": lambda: wire.execute(given.get("portal", ""), given.get("max", 0)),
        "Sync": lambda: wire.SYNC,
        "Flush": lambda: wire.FLUSH,
        "Q": lambda: message(b"Q", wire.text_of(given) + b"\0"),
    }
    return made[kind]()


def _through(twins: Twins, case: dict[str, Any], database: str) -> Conversation:
    superuser = "superuser" in case["run_as"]
    conversation = Conversation(
        lambda startup: twins.through(database, superuser, startup), ("127.0.0.1", twins.gateway.port)
    )
    return conversation.run(case, lambda name: _oid(twins, database, name))


def _decided(
    twins: Twins, verb: str, work: Callable[[], Conversation], first: Callable[[str], None]
) -> tuple[Conversation, int]:
    """Run C{work}; what is held meanwhile is decided by C{verb}, after C{first} was given the first request's text.

    @return: the conversation, and the number of requests
    """
    done: list[Conversation | BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as problem:
            done.append(problem)

    session = threading.Thread(target=run)
    session.start()
    asked = 0
    session.join(0.1)
    while session.is_alive():
        for each in twins.lee.call("approvals.list", state="pending"):
            if not asked:
                first(twins.lee.call("approvals.show", id=each["id"])["redacted"])
            twins.lee.call(verb, id=each["id"], reason="looked at it")
            asked += 1
        session.join(0.05)
    (conversation,) = done
    assert isinstance(conversation, Conversation), conversation
    return conversation, asked


def _direct(twins: Twins, case: dict[str, Any], database: str) -> Conversation:
    superuser = "superuser" in case["run_as"]
    conversation = Conversation(
        lambda startup: twins.direct(database, superuser, startup), ("127.0.0.1", twins.server.port)
    )
    return conversation.run(case, lambda name: _oid(twins, database, name))


def _oid(twins: Twins, database: str, name: str) -> int:
    return int(twins.admin(database).rows(f"SELECT '{name}'::regprocedure::oid")[0][0] or 0)


def _no_raw_byte(case: dict[str, Any], twin: str, conversation: Conversation) -> None:
    octets = b"".join([*conversation.openings, *conversation.heard])
    found = [each for each in raw_forms(twin) if each in octets]
    if case["id"] in _OWN_WORDS:
        # what the client itself wrote a moment ago
        found = [each for each in found if each != b"123-45-6789"]
    assert not found, (found, octets[:2000])
    marker = case.get("marker")
    if marker and twin == "a":
        values = [body for heard in conversation.heard for kind, body in messages(heard) if kind in "DdVENA"]
        assert not any(re.search(marker.encode(), each) for each in values), values


def _masked_or_blocked(twins: Twins, case: dict[str, Any]) -> None:
    before = [twins.digest(each) for each in (twins.a, twins.b)]
    said = [
        # nobody agrees to what may not happen
        _decided(twins, "approvals.deny", partial(_through, twins, case, each), lambda _: None)[0]
        for each in (twins.a, twins.b)
    ]
    for twin, conversation in zip("ab", said, strict=True):
        _no_raw_byte(case, twin, conversation)
    heard = [[_REQUEST.sub(b"A-", each) for each in conversation.heard] for conversation in said]
    assert heard[0] == heard[1]
    after = [twins.digest(each) for each in (twins.a, twins.b)]
    assert before == after, [new for old, new in zip(before[0], after[0], strict=False) if old != new]
    if case["intent"] == "block":
        # what only tells may be masked wholly instead, which looks the same whatever the values are
        assert said[0].refused or case["class"] == "oracle", said[0].heard
        codes = {error_code(body) for heard in said[0].heard for kind, body in messages(heard) if kind == "E"}
        assert not codes & _INTERRUPTED, codes


def _allowed(twins: Twins, case: dict[str, Any]) -> None:
    assert _through(twins, case, twins.a).heard == _direct(twins, case, twins.a).heard


def _held(twins: Twins, case: dict[str, Any]) -> None:
    database, other = _copy_of(case["id"]), _copy_of(case["id"], "direct")
    for each in (database, other):
        twins.copy("tpla", each)
        if "setup" in case:
            twins.admin(each).rows(case["setup"])
    try:
        before = twins.digest(database)
        logged = len(twins.server.statements())

        def nothing_ran(text: str) -> None:
            assert twins.digest(database) == before
            assert text not in twins.server.statements()[logged:]

        conversation, approved = _decided(
            twins, "approvals.approve", lambda: _through(twins, case, database), nothing_ran
        )
        bare = _direct(twins, case, other)
        ran = _tags(conversation)
        assert ran == _tags(bare), conversation.heard
        executes = sum("Execute" in each for step in case.get("steps", ()) for each in step.get("pipeline", ()))
        assert approved == max(executes, 1)
        lines = twins.server.statements()[logged:].splitlines()
        log = "\n".join(each for each in lines if "hoopd-catalogue" not in each)
        for text in _texts(case):
            assert log.count(text) == 2 * max(executes, 1), (text, log)
    finally:
        twins.drop(database)
        twins.drop(other)


def _tags(conversation: Conversation) -> list[bytes]:
    return [body for heard in conversation.heard for kind, body in messages(heard) if kind == "C"]


def _texts(case: dict[str, Any]) -> list[str]:
    """The texts that must have run."""
    if "sql" in case:
        return [case["sql"]]
    found = [step["simple"] for step in case["steps"] if "simple" in step]
    return found + [
        each["Parse"]["sql"] for step in case["steps"] for each in step.get("pipeline", ()) if "Parse" in each
    ]


@pytest.mark.usefixtures("administered")
@pytest.mark.parametrize("case", _ALL, ids=[each["id"] for each in _ALL])
def test_case(case: dict[str, Any], twins: Twins) -> None:
    {"mask": _masked_or_blocked, "block": _masked_or_blocked, "allow": _allowed, "approve": _held}[case["intent"]](
        twins, case
    )


def test_the_record_has_no_raw_value(twins: Twins) -> None:
    """After all of the above: recordings, store and log."""
    until(lambda: not twins.lee.call("approvals.list", state="pending"), "nothing waits")
    files = [each for each in twins.gateway.directory.rglob("*") if each.is_file()]
    assert files
    own = [json.dumps(text)[1:-1].encode() for each in _ALL if each["id"] in _OWN_WORDS for text in _texts(each)]
    # the server repeats the name that err-20 writes
    own.append(json.dumps('column "123-45-6789" does not exist')[1:-1].encode())
    wanted = [each for twin in "ab" for each in raw_forms(twin) if len(each) > 8]
    for path in files:
        octets = path.read_bytes()
        for each in own:
            octets = octets.replace(each, b"")
        assert not [line[-500:] for line in octets.splitlines() if any(each in line for each in wanted)], path
