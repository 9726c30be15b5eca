"""What is known of one SQL text before it may run: its statements, the decision, the plans of its masks.

Pure; not the parsing (L{hoopd.sql}) nor the rules (L{hoopd.policy}), which it brings together. A L{Judgement} is
good as long as its fingerprint: policy and catalogue versions, identity, settings, text, parameter types, reason.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cached_property
from typing import Any

from attrs import evolve, frozen

from hoopd.flow.judge import Judgements, merged, unmasked
from hoopd.policy.snapshot import OPAQUE
from hoopd.policy.statements import operation
from hoopd.sql import settings as session_settings
from hoopd.sql.analysis import Analysis, Question, Reading, SessionSettings, Statement, analyse
from hoopd.sql.catalogue import Catalogue
from hoopd.sql.coverage import derived
from hoopd.sql.grammar import ParseTree, Unparsed, parse
from hoopd.sql.lineage import OutputPlan, output_plan
from hoopd.sql.named import NOBODY, Definition, Named
from hoopd.sql.scrub import parameters_to_redact, redact, redact_start
from hoopd.values import Decision, Identity, Mask, Opening, Operation, Target, Unreasoned

#: a statement that says nothing, as drivers send for a ping
_NOTHING = Decision("allow", why="an empty statement does nothing")


@frozen
class Refusal:
    """Why a text does not run, ready to be told. @ivar position: of a syntax error, in characters from 1, or None."""

    sqlstate: str
    why: str
    rules: tuple[str, ...] = ()
    hint: str = ""
    position: int | None = None


_MASKED_HINT = "Masked columns may be selected; docs/sql.md says what else may be done with them."


@frozen
class Judged:
    """One statement of a text.

    @ivar plan: how the identity's masks apply to what it returns.
    @ivar record_plan: how masks apply to what is recorded of it: exceptions of identities do not count there.
    """

    statement: Statement
    decision: Decision
    plan: OutputPlan
    record_plan: OutputPlan
    #: masks in force, if the statement may show what they cover; empty if it surely does not
    masks: tuple[Mask, ...]
    #: masks in force for the identity, whatever the statement
    in_force: tuple[Mask, ...] = ()
    #: rules of masks that enforcement would have applied to this statement
    observed_masks: tuple[str, ...] = ()
    #: why, and by which rules, masks would have refused it
    observed_refusal: tuple[str, tuple[str, ...]] | None = None
    #: what is looked for in the text that it returns, as the client sees it and as it is recorded
    detect: tuple[Mask, ...] = ()
    record_detect: tuple[Mask, ...] = ()

    @property
    def opaque(self) -> bool:
        """Whether its rows may have to be changed on their way, to the client or to the recording."""
        shown = self.plan.untouched and self.record_plan.untouched
        return not shown or bool(self.detect or self.record_detect)

    @property
    def masked(self) -> bool:
        return bool(self.masks)


@frozen(eq=False)
class Judgement:
    """
    @ivar decision: on the whole text; it runs wholly or not at all.
    @ivar refusal: set if it does not run, whatever else.
    @ivar own: the statement is answered by the gateway: C{"set"}, C{"reset"}, C{"show"} of the setting C{setting}.
    @ivar reason: what it sets, or the session's reason.
    @ivar opening: break glass that is in use.
    @ivar unreasoned: set where the refusal is for want of a reason alone, which what was asked for ahead has.
    """

    text: bytes
    analysis: Analysis
    statements: tuple[Judged, ...]
    decision: Decision
    refusal: Refusal | None
    redacted: str
    hide_parameters: bool
    catalogue: str = ""
    own: str = ""
    reason: str | None = None
    setting: str = ""
    opening: Opening | None = None
    unreasoned: Unreasoned | None = None
    #: the session's reason before the text, which may set it
    asked_with: str | None = None
    #: what the target expects the text to touch, once it was asked; None where that is not known
    rows: int | None = None

    @property
    def outright(self) -> Refusal | None:
        """Why it does not run, whatever was asked for ahead."""
        return self.refusal if self.unreasoned is None else None

    @cached_property
    def classes(self) -> frozenset[str]:
        return frozenset(word for each in self.statements for word in each.statement.classes)

    @cached_property
    def objects(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for each in self.statements for name in each.statement.objects))

    @property
    def meanings(self) -> tuple[str, ...]:
        """The texts that names in it stand for: what is approved is what they mean."""
        sources = [each.statement.source for each in self.statements]
        return tuple(each.text.decode("utf-8", "replace") for each in sources if each is not None)

    @property
    def weight(self) -> int:
        """Bytes of memory, roughly; a tree takes 110 to 260 for each byte of its text."""
        elsewhere = any(each.known is not None for each in self.analysis.statements)
        return 10_000 + len(self.text) * (8 if elsewhere else 200)

    def effects(self, kind: str) -> bool:
        """Whether a statement has an effect of C{kind}."""
        return any(each.statement.effect is not None and each.statement.effect.kind == kind for each in self.statements)


class Judge:
    """Judges the texts of one session.

    @param worker: policy and the clock are read from it at every judgement: they change under a session.
    @param cache: shared by the sessions of a worker.
    @param now: the present in epoch seconds.
    """

    def __init__(self, worker: Any, identity: Identity, target: Target, cache: Judgements[Judgement], now: Any) -> None:
        self._worker = worker
        self._identity = identity
        self._target = target
        self._cache = cache
        self._now = now

    def masks(self) -> tuple[Mask, ...]:
        """Masks on what this identity sees, whatever break glass lets one statement or another show; a target that is
        only observed shows what it always showed."""
        found = self._worker.policy.masks(self._identity, self._target, self._now())
        return tuple(mask for mask in found if mask.columns)

    def detectors(self) -> tuple[Mask, ...]:
        """What is looked for in all text that this identity sees."""
        found = self._worker.policy.masks(self._identity, self._target, self._now())
        return tuple(mask for mask in found if mask.detect)

    def record_detectors(self) -> tuple[Mask, ...]:
        """The same in what is recorded."""
        return tuple(mask for mask in self._worker.policy.record_masks(self._target) if mask.detect)

    @property
    def trusted_functions(self) -> tuple[str, ...]:
        """Functions of the target that configuration vouches for."""
        return self._target.trusted_functions

    def opening(self) -> Opening | None:
        """Break glass that this identity uses on this target now."""
        found: Opening | None = self._worker.opening(self._identity, self._target.name, self._now())
        return found

    def record_masks(self) -> tuple[Mask, ...]:
        """Masks on what is recorded."""
        return tuple(mask for mask in self._worker.policy.record_masks(self._target) if mask.columns)

    def judge(
        self,
        text: bytes,
        settings: SessionSettings,
        catalogue: Catalogue,
        types: tuple[int, ...],
        reason: str | None,
        uncertain: bool = False,
        tree: ParseTree | Reading | None = None,
        inner: bool = False,
        names: Named | None = None,
    ) -> Judgement:
        """
        @param inner: the text is a PREPARE or DECLARE, and the statement in it is meant.
        @param names: the session's, where the text may use them.
        @param uncertain: the session changed definitions in an open transaction: the catalogue is not what its own
            statements see, so every output column counts as unknown.
        """
        fingerprint = self._fingerprint(text, settings, catalogue, types, reason, uncertain, inner)
        if names is not None:
            # what a name means is this session's, and changes
            return self._make(text, settings, catalogue, types, reason, uncertain, tree, inner, names)
        return self._cache.find(
            fingerprint,
            lambda: self._make(text, settings, catalogue, types, reason, uncertain, tree, inner, NOBODY),
            lambda made: made.decision.cacheable,
        )

    def known(
        self,
        text: bytes,
        settings: SessionSettings,
        catalogue: Catalogue,
        types: tuple[int, ...],
        reason: str | None,
        uncertain: bool,
        inner: bool,
    ) -> bool:
        """Whether L{judge} would answer without parsing."""
        return self._fingerprint(text, settings, catalogue, types, reason, uncertain, inner) in self._cache

    def _fingerprint(self, *depends: object) -> Hashable:
        text, settings, catalogue, *rest = depends
        version = catalogue.version if isinstance(catalogue, Catalogue) else ""
        opening = self.opening()
        glass = opening.id if opening is not None else ""
        return (text, settings, version, *rest, self._worker.policy.version, self._identity, self._target.name, glass)

    def question(
        self,
        settings: SessionSettings,
        catalogue: Catalogue,
        types: tuple[int, ...],
        inner: bool,
        names: tuple[tuple[str, str, Definition | None], ...],
    ) -> Question:
        """What L{judge} will want to know of a text that is read elsewhere."""
        masks, record = self.masks(), self.record_masks()
        would = tuple(self._worker.policy.observed_masks(self._identity, self._target, self._now()))
        sets = dict.fromkeys(each for each in (masks, record, would, *((mask,) for mask in would)) if each)
        trusted = self._target.trusted_functions
        return Question(settings, catalogue.version, types, inner, tuple(sets), record or masks, trusted, names)

    def unparsed(self, text: bytes, problem: Unparsed) -> Judgement:
        """The judgement on a text that could not be read elsewhere."""
        redacted = problem.redacted if problem.redacted is not None else redact_start(text)
        return self._refused(Analysis((), str(problem), problem.syntax, text), redacted)

    def _refused(self, analysis: Analysis, redacted: str) -> Judgement:
        said = self._opaque(analysis.text)
        if said.verdict == "allow":
            return Judgement(analysis.text, analysis, (), said, None, redacted, True)
        refusal = Refusal(
            "42601" if analysis.syntax else "42501",
            analysis.refused,
            position=_position(analysis) if analysis.syntax else None,
        )
        decision = Decision("deny", why=analysis.refused, policy=said.policy)
        return Judgement(analysis.text, analysis, (), decision, refusal, redacted, True)

    def _refusal(self, analysis: Analysis, statements: list[Judged], decision: Decision) -> Refusal | None:
        if decision.verdict == "deny":
            return Refusal("42501", decision.why or "no rule allows this", decision.rules, decision.hint)
        if analysis.refused and self._opaque(analysis.text).verdict != "allow":
            missing = analysis.refused.startswith("prepared statement ")
            return Refusal(
                "26000" if missing else "42501",
                analysis.refused,
                hint="" if missing else "See docs/sql.md for what can be followed.",
            )
        for each in statements:
            effect = each.statement.effect
            if effect is not None and effect.name == "hoopd.break_glass":
                return Refusal("42501", "SET hoopd.break_glass stands by itself: send it alone")
            if each.plan.refused is not None:
                why, rules = each.plan.refused
                return Refusal("42501", why, rules, _MASKED_HINT)
            if each.masked and "copy-out" in each.statement.classes and each.plan.copy is None:
                return Refusal("42501", "COPY of what may hold masked columns cannot be masked; use SELECT")
        return None

    def hopeless(self, judgement: Judgement) -> Refusal | None:
        """Why it does not run, however many rows it would touch."""
        best = judgement.decision.best
        if best is None or judgement.outright is None:
            return judgement.outright
        return self._refusal(judgement.analysis, list(judgement.statements), evolve(judgement.decision, verdict=best))

    def with_rows(self, judgement: Judgement, rows: tuple[int | None, ...]) -> Judgement:
        """The same text, decided anew by what the target expects of each statement.

        @param rows: of each statement; empty where nothing is known
        """
        if not rows:
            return judgement
        opening, masks, reason = judgement.opening, self.masks(), judgement.asked_with
        statements: list[Judged] = []
        for each, number in zip(judgement.statements, rows, strict=True):
            asked = operation(each.statement, reason, {} if number is None else {"rows": number})
            decision = self._worker.policy.decide(self._identity, self._target, asked, self._now(), opening)
            if opening is not None and masks and not each.in_force and self._unmasks(opening):
                decision = unmasked(decision, opening, masks)
            statements.append(evolve(each, decision=_observed_deny(decision, each.observed_refusal)))
            reason = _reason_after(each.statement, reason)
        decision = merged([each.decision for each in statements])
        known = [number for number in rows if number is not None]
        return evolve(
            judgement,
            statements=tuple(statements),
            decision=decision,
            refusal=self._refusal(judgement.analysis, statements, decision),
            unreasoned=self._unreasoned(judgement.analysis, statements, decision),
            rows=sum(known) if len(known) == len(rows) else None,
        )

    def _unreasoned(self, analysis: Analysis, statements: list[Judged], decision: Decision) -> Unreasoned | None:
        if decision.unreasoned is None:
            return None
        otherwise = self._refusal(analysis, statements, evolve(decision, verdict="hold"))
        return decision.unreasoned if otherwise is None else None

    def _opaque(self, text: bytes) -> Decision:
        """What policy says of what nobody understands: no, unless it only observes, or forwards such things unread."""
        asked = Operation("postgres", OPAQUE, text.decode("utf-8", "replace"))
        said: Decision = self._worker.policy.decide(self._identity, self._target, asked, self._now())
        return said

    def _make(
        self,
        text: bytes,
        settings: SessionSettings,
        catalogue: Catalogue,
        types: tuple[int, ...],
        reason: str | None,
        uncertain: bool,
        tree: ParseTree | Reading | None,
        inner: bool,
        names: Named,
    ) -> Judgement:
        analysis = analyse(text, settings, catalogue, tree, types, names, inner)
        masks, record = self.masks(), self.record_masks()
        trusted = self._target.trusted_functions
        redacted = redact(analysis, record or masks, catalogue, settings, trusted)
        if analysis.refused and not analysis.statements:
            return self._refused(analysis, redacted)
        own = _own(analysis)
        if own is not None:
            effect = analysis.statements[0].effect
            assert effect is not None
            return Judgement(
                text, analysis, (), _NOTHING, None, redacted, False, catalogue.version, effect.kind, effect.value,
                effect.name or "",
            )  # fmt: skip
        opening, asked_with = self.opening(), reason
        seen = self._worker.policy.observed_masks(self._identity, self._target, self._now())
        would = tuple(mask for mask in seen if mask.columns)
        statements: list[Judged] = []
        for statement in analysis.statements:
            asked = operation(statement, reason)
            decision = self._worker.policy.decide(self._identity, self._target, asked, self._now(), opening)
            plan = _plan(statement, masks, catalogue, settings, trusted, uncertain)
            kept = plan if record == masks else _plan(statement, record, catalogue, settings, trusted, uncertain)
            in_force = masks
            if not plan.untouched and opening is not None and self._unmasks(opening):
                decision, in_force = unmasked(decision, opening, masks), ()
                plan = _plan(statement, (), catalogue, settings, trusted, uncertain)
            barred, hidden = self._observed(statement, would, settings, catalogue, uncertain)
            decision = _observed_deny(decision, barred)
            shown = () if plan.untouched else in_force
            detect = self.detectors(), self.record_detectors()
            statements.append(Judged(statement, decision, plan, kept, shown, in_force, hidden, barred, *detect))
            reason = _reason_after(statement, reason)
            # what a DDL statement did is not in the catalogue that those behind it in the same text are judged by
            uncertain = uncertain or "ddl" in statement.classes
        hide = any(
            parameters_to_redact(each, record or masks, catalogue, settings, trusted) for each in analysis.statements
        )
        decision = merged([each.decision for each in statements]) if statements else _NOTHING
        return Judgement(
            text,
            analysis,
            tuple(statements),
            decision,
            self._refusal(analysis, statements, decision),
            redacted,
            hide,
            catalogue.version,
            reason=reason,
            opening=opening,
            unreasoned=self._unreasoned(analysis, statements, decision),
            asked_with=asked_with,
        )

    def _observed(
        self,
        statement: Statement,
        would: tuple[Mask, ...],
        settings: SessionSettings,
        catalogue: Catalogue,
        uncertain: bool,
    ) -> tuple[tuple[str, tuple[str, ...]] | None, tuple[str, ...]]:
        """What the masks C{would} do to a statement where policy only observes.

        @return: why, and by which rules, they would refuse it, or None; and else the rules that would hide something.
        """
        if not would:
            return None, ()
        trusted = self._target.trusted_functions
        refused = _plan(statement, would, catalogue, settings, trusted, uncertain).refused
        if refused is not None:
            return refused, ()
        each = [(mask.rule, _plan(statement, (mask,), catalogue, settings, trusted, uncertain)) for mask in would]
        return None, tuple(rule for rule, plan in each if plan.hides)

    def _unmasks(self, opening: Opening) -> bool:
        return "masks" in self._worker.policy.skips(opening, self._identity, self._target, self._now())


def _observed_deny(decision: Decision, barred: tuple[str, tuple[str, ...]] | None) -> Decision:
    """C{decision} where only observation lets pass what masks would refuse."""
    if barred is None or decision.observed == "deny":
        return decision
    return evolve(decision, observed="deny", rules=barred[1], why=barred[0])


def _reason_after(statement: Statement, reason: str | None) -> str | None:
    effect = statement.effect
    if effect is not None and effect.name == "hoopd.reason" and effect.kind in ("set", "reset"):
        return effect.value
    return reason


def _plan(
    statement: Statement,
    masks: tuple[Mask, ...],
    catalogue: Catalogue,
    settings: SessionSettings,
    trusted: tuple[str, ...],
    uncertain: bool,
) -> OutputPlan:
    plan = output_plan(statement, masks, catalogue, settings, trusted)
    if uncertain and masks and plan.refused is None:
        return OutputPlan(fallback=derived(masks), suspicious=plan.suspicious)
    return plan


def _own(analysis: Analysis) -> str | None:
    if len(analysis.statements) != 1:
        return None
    effect = analysis.statements[0].effect
    if effect is None or effect.name not in session_settings.OWN or effect.kind not in ("set", "reset", "show"):
        return None
    return effect.kind


def _position(analysis: Analysis) -> int | None:
    """Where the syntax error is, as the server counts: characters, from 1."""
    try:
        parse(analysis.text)
    except Unparsed as problem:
        if problem.position is not None:
            return len(analysis.text[: problem.position].decode("utf-8", "replace")) + 1
    return None
