"""Asking ahead: statements judged as a session of their author would judge them, and what is held asked for; nothing runs.

A session is opened for it, with its recording, target connection and catalogue, so that names, masks, rules and the
context that an approval is bound to are those of the session that will run the statements. Not the asking itself
(L{hoopd.approvals}).
"""

from __future__ import annotations

from typing import Any

from hoopd.errors import Denied, PeerError
from hoopd.protocols.postgres import startup
from hoopd.protocols.postgres.judgement import Judge, Judgement
from hoopd.protocols.postgres.opening import Opening
from hoopd.protocols.postgres.permission import asks_rows, exact, held_operation, question
from hoopd.protocols.postgres.session import AskParse
from hoopd.protocols.postgres.state import State
from hoopd.secret import Secret
from hoopd.sql.grammar import Unparsed, parse
from hoopd.values import Asked, HeldOperation, Peer, Proof, Verdict

#: where hoopctl is, as far as a worker can say
_HERE = Peer("127.0.0.1", 0, True)


class Ahead:
    """One such session.

    @param factory: L{hoopd.protocols.postgres.plugin.PostgresFactory}
    """

    def __init__(self, factory: Any, target: str, database: str, reason: str) -> None:
        named = f"{target}/{database}" if database else target
        # as psql connects: what the context of an approval has in it is then the same
        settings = {
            "user": "hoopctl",
            "database": named,
            "application_name": "hoopctl request",
            "client_encoding": "UTF8",
            "hoopd.reason": reason,
        }
        packet = b"".join(f"{name}\0{value}\0".encode() for name, value in settings.items()) + b"\0"
        try:
            self._login = startup.login(0, packet)
        except PeerError as error:
            raise ValueError(str(error)) from None
        self._factory = factory
        self._opening = Opening(factory, self._login, self)
        self._over = ""

    # -- what a worker does with its sessions ------------------------------------------------------------------

    @property
    def session(self) -> str | None:
        """Its id, once it is admitted."""
        return self._opening.admission.session if self._opening.admission is not None else None

    @property
    def identified(self) -> tuple[str, Secret]:
        """Session id and token."""
        assert self._opening.admission is not None
        return self._opening.admission.session, self._opening.admission.token

    def cancel(self) -> None:
        """Nobody has a key to cancel it by."""

    def broken(self) -> None:
        """Break glass makes no difference: nothing runs here."""

    def end(self, why: str) -> None:
        """It must end: what is being judged is not asked for."""
        self._over = why

    def catalogue_changed(self, catalogue: Any) -> None:
        """It is judged by the snapshot that it began with."""

    # -- asking ------------------------------------------------------------------------------------------------

    async def ask(self, token: Secret, text: bytes) -> Asked:
        """
        @param text: one statement or several.
        @raise Denied: one of them is refused, or its author is. @raise ValueError: nothing in it.
        @raise AuthenticationFailed, TargetError, Unavailable, RecordError
        """
        worker = self._factory.worker
        worker.opened(self)
        try:
            await self._opening.run(Proof("", token, _HERE))
            return await self._asked(text)
        finally:
            self._opening.close("asked ahead")
            worker.closed(self)

    async def _asked(self, text: bytes) -> Asked:
        opening, worker = self._opening, self._factory.worker
        plan: list[HeldOperation] = []
        told: list[tuple[str, Verdict, tuple[str, ...]]] = []
        state = self._state()
        statements = await self._statements(text)
        for number, statement in enumerate(statements, 1):
            judgement = await self._judged(state, statement)
            if judgement.refusal is not None:
                refusal = judgement.refusal
                raise Denied(f"statement {number} of {len(statements)}: {refusal.why}", refusal.rules, refusal.hint)
            held = judgement.decision.verdict == "hold" and bool(judgement.decision.holds)
            verdict: Verdict = "hold" if held else "allow"
            told.append((judgement.redacted, verdict, judgement.decision.rules if held else ()))
            if held:
                plan.append(held_operation(state, judgement, statement))
            _run(state, judgement)
        if self._over:
            raise Denied(f"the session that asked has ended: {self._over}")
        if not plan:
            return Asked(None, tuple(told))
        admission, route = opening.admission, opening.route
        assert admission is not None
        assert route is not None
        shown = plan[0].redacted if len(statements) == 1 else ";\n".join(each for each, _, _ in told) + ";"
        approval = await worker.approvals.request_several(admission.session, admission.token, plan, shown)
        for held_one in plan:
            route.held += 1
            route.hold_frame(route.next_operation(), held_one, approval)
        return Asked(approval, tuple(told))

    def _state(self) -> State:
        opening, worker = self._opening, self._factory.worker
        admission, ready, catalogue, route = opening.admission, opening.ready, opening.catalogue, opening.route
        assert admission is not None
        assert ready is not None
        assert catalogue is not None
        began = worker.reactor.seconds()
        judge = Judge(
            worker,
            admission.identity,
            admission.target,
            self._factory.cache,
            lambda: admission.started_at + worker.reactor.seconds() - began,
        )
        return State(
            judge,
            route,
            self._factory.limits,
            catalogue,
            lambda: worker.masker,
            admission.session,
            opening.database,
            ready.parameters,
            self._login.reason,
            worker.reactor.seconds,
            self._login.search_path,
        )

    async def _statements(self, text: bytes) -> list[bytes]:
        """Each statement of C{text}, without what clients add and drop around it. @raise Denied, ValueError"""
        if len(text) > self._factory.limits.statement_max:
            raise ValueError(f"more than {self._factory.limits.statement_max} bytes at once")
        try:
            places = await self._places(text)
        except Unparsed as problem:
            raise Denied(str(problem), (), "Only SQL is understood: no psql commands, and no data of COPY.") from None
        found = [exact(text[start:end]) for start, end in places]
        if not any(found):
            raise ValueError("there is no statement in it")
        return [each for each in found if each]

    async def _places(self, text: bytes) -> list[tuple[int, int]]:
        """Where the statements begin and end. @raise Unparsed"""
        if len(text) <= self._factory.limits.statement_inline:
            return [(each.start, each.end) for each in parse(text).statements]
        found: list[tuple[int, int]] = await self._factory.pool.split(text)
        return found

    async def _judged(self, state: State, statement: bytes) -> Judgement:
        judgement = state.judged(statement, ())
        while judgement is None:
            # a long one is read where that can be stopped
            asks, state.asks = state.asks, []
            (ask,) = [each for each in asks if isinstance(each, AskParse)]
            try:
                state.parsed(await self._factory.pool.read(ask.text, ask.question, ask.catalogue))
            except Unparsed as problem:
                state.parsed(problem)
            judgement = state.judged(statement, ())
        return await self._estimated(state, judgement)

    async def _estimated(self, state: State, judgement: Judgement) -> Judgement:
        """The same by what the target expects, where that matters."""
        ask = question(state, judgement) if asks_rows(judgement) else None
        if ask is None or state.judge.hopeless(judgement) is not None:
            return judgement
        assert self._opening.shared is not None
        return state.judge.with_rows(judgement, await self._opening.shared.estimator.ask(ask))


def _run(state: State, judgement: Judgement) -> None:
    """What later statements find if this one is run before them and succeeds."""
    for each in judgement.statements:
        state.forwarded(each.statement)
        # what a definition makes is not in the catalogue yet
        state.uncertain = state.uncertain or "ddl" in each.statement.classes
        if each.statement.effect is not None and each.statement.effect.kind == "temporary":
            state.temporary += 1
        state.did(each.statement)
