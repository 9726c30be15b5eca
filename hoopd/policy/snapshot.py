"""All policy of one moment, judging purely; DESIGN: only allow opens, deny beats hold beats allow, all that match apply.

The clock, the target and the identity are arguments. What a condition cannot tell (an unknown number of rows) closes: a
deny, hold or mask then matches, an allow does not.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

import attrs
from attrs import frozen
from zope.interface import implementer

from hoopd.config.channels import unknown_channels
from hoopd.config.schema import Config
from hoopd.config.structure import ConfigErrors
from hoopd.errors import ConfigError, Denied
from hoopd.interfaces import IPolicyService
from hoopd.ipc import wire
from hoopd.policy import files, matching, obligations, reasons, unmaskable
from hoopd.policy.rules import PolicyFile, Rule, read
from hoopd.policy.scopes import in_scope, out_of_scope
from hoopd.policy.unkept import unkept
from hoopd.policy.words import EVERYTHING, IMPLIED, listing, meets, uncovered
from hoopd.values import Decision, HoldTerms, Identity, Limits, Mask, Opening, Operation, Target, Unreasoned, Verdict

#: class of an operation that could not be read
OPAQUE = frozenset({"opaque"})

#: verbs and the words of break_glass.NAME.skip for them
_SKIPPED = (("deny", "denies"), ("hold", "holds"))


@frozen
class Finding:
    """What one rule says of one operation. @ivar matched: whether it applies. @ivar because: why or why not."""

    rule: str
    verb: str
    matched: bool
    because: str


@frozen
class Explanation:
    """A decision with the finding of every rule that was looked at, and the masks."""

    decision: Decision
    findings: tuple[Finding, ...]
    masks: tuple[Mask, ...]
    #: hold and deny rules that a shell, which is not watched, goes around
    around: tuple[str, ...] = ()


@implementer(IPolicyService)
class PolicySnapshot:
    """
    @ivar mask_key: key of this installation's C{hash} masks.
    """

    def __init__(
        self, sources: Mapping[str, str], files: Sequence[PolicyFile], targets: Mapping[str, Target], mask_key: bytes
    ) -> None:
        self._sources = dict(sources)
        self._files = tuple(files)
        self._targets = dict(targets)
        self.mask_key = mask_key
        digest = hashlib.sha256()
        for name in sorted(sources):
            digest.update(f"{name}\0{sources[name]}\0".encode())
        for name in sorted(targets):
            digest.update(wire.encode(targets[name]))
        digest.update(hashlib.sha256(b"mask key" + mask_key).digest())
        self.version = digest.hexdigest()[:24]
        self._selected: dict[str, tuple[PolicyFile, ...]] = {}

    # -- making one --------------------------------------------------------------------------------------------

    @classmethod
    def load(
        cls,
        sources: Mapping[str, str],
        targets: Mapping[str, Target],
        mask_key: bytes,
        test: bool = True,
        channels: Collection[str] | None = None,
    ) -> PolicySnapshot:
        """
        @param sources: file name to text.
        @param test: also run the tests inside the files; one that fails is an error
        @param channels: names that C{notify} may say; None where they were checked before
        @raise ConfigErrors: everything wrong in every file
        """
        errors: list[ConfigError] = []
        files = []
        for name in sorted(sources):
            found = read(name, sources[name], errors)
            if found is not None:
                files.append(found)
                for pattern in found.targets:
                    if not any(fnmatchcase(each, pattern) for each in targets) and pattern.isidentifier():
                        errors.append(ConfigError(f"there is no target {pattern!r}", name, "targets"))
                for rule in (*found.rules, *found.break_glass) if channels is not None else ():
                    where = f"{rule.id.removeprefix(found.name + '.')}.notify"
                    errors += unknown_channels(getattr(rule.table, "notify", ()), channels or (), name, where)
        made = cls(sources, files, targets, mask_key)
        for target in targets.values():
            errors += unkept(target, made._for(target))
        if not errors and test:
            from hoopd.policy.testing import run  # it judges by this class

            for result in run(made):
                if not result.passed:
                    errors.append(ConfigError(result.problem, f"{result.file}.toml", f'test."{result.name}"'))
        if errors:
            raise ConfigErrors(errors)
        return made

    def document(self) -> bytes:
        """This snapshot as bytes, for another process of the gateway."""
        return json.dumps(
            {
                "sources": self._sources,
                "targets": wire.encode(self._targets).decode(),
                "mask_key": base64.b64encode(self.mask_key).decode(),
            }
        ).encode()

    @classmethod
    def from_document(cls, document: bytes) -> PolicySnapshot:
        """@raise ConfigErrors, ValueError: not such a document"""
        fields = json.loads(document)
        targets = wire.decode(fields["targets"].encode(), dict[str, Target])
        return cls.load(fields["sources"], targets, base64.b64decode(fields["mask_key"]), test=False)

    # -- looking -----------------------------------------------------------------------------------------------

    @property
    def files(self) -> tuple[PolicyFile, ...]:
        return self._files

    def targets(self) -> Mapping[str, Target]:
        return self._targets

    def _for(self, target: Target) -> tuple[PolicyFile, ...]:
        # labels and name select: a target of the same name with other labels is another key
        key = repr((target.name, sorted(target.labels.items())))
        if key not in self._selected:
            self._selected[key] = tuple(each for each in self._files if each.selects(target))
        return self._selected[key]

    def _observed(self, target: Target) -> bool:
        return target.mode == "observe" or any(each.mode == "observe" for each in self._for(target))

    # -- judging -----------------------------------------------------------------------------------------------

    def may_login(self, identity: Identity, target: Target, login: str) -> bool:
        """Whether any rule could allow something there under this account."""
        if login != target.username and not any(fnmatchcase(login, each) for each in target.ssh.logins):
            return False
        allows = (rule for file in self._for(target) for rule in file.rules if rule.verb == "allow")
        return in_scope(identity, target) and any(
            rule.concerns(identity)
            and (not rule.table.logins or any(fnmatchcase(login, each) for each in rule.table.logins))
            for rule in allows
        )

    def may_connect(self, identity: Identity, target: Target, now: float) -> Decision:
        """See L{IPolicyService.may_connect}."""
        files = self._for(target)
        if in_scope(identity, target):
            for file in files:
                for rule in file.rules:
                    if rule.verb == "allow" and rule.concerns(identity):
                        return Decision("allow", (rule.id,), policy=self.version)
            if self._observed(target) and files:
                return Decision("allow", (), policy=self.version, observed="deny")
        return Decision("deny", (), "no rule allows anything there", self._contact(files), policy=self.version)

    def break_glass(self, identity: Identity, target: Target) -> tuple[Rule, ...]:
        """The break_glass rules that give this identity the right on this target; none outside its scopes."""
        if not in_scope(identity, target) or self._observed(target):
            return ()
        return tuple(rule for file in self._for(target) for rule in file.break_glass if rule.arms(identity))

    def skips(self, opening: Opening | None, identity: Identity, target: Target, now: float) -> frozenset[str]:
        """What C{opening} lets this identity skip here and now, by the rules as they are now."""
        if opening is None or (opening.identity, opening.act) != (identity.name, identity.act):
            return frozenset()
        if opening.target != target.name or now >= opening.until:
            return frozenset()
        if opening.scopes is not None and opening.scopes != identity.scopes:
            return frozenset()
        rule = next((each for each in self.break_glass(identity, target) if each.id == opening.rule), None)
        return frozenset() if rule is None else frozenset(opening.skip) & frozenset(rule.table.skip)

    def approvers(self, target: Target) -> tuple[str, ...]:
        """Whoever a hold rule of this target names as an approver."""
        holds = [rule for file in self._for(target) for rule in file.rules if rule.verb == "hold"]
        return tuple(dict.fromkeys(name for rule in holds for name in rule.table.by))

    def holds_over(
        self, identity: Identity, target: Target, classes: Collection[str], reason: str
    ) -> tuple[HoldTerms, ...]:
        """The terms of every hold rule that could hold something of C{classes} that this identity does there.

        @raise Denied: C{reason} is not what one of them asks for
        """
        holds = [
            rule
            for file in self._for(target)
            for rule in file.rules
            if rule.verb == "hold" and rule.concerns(identity) and meets(rule.table.do, classes)
        ]
        for rule in holds:
            if rule.table.reason and not reasons.fits(rule.table.reason, reason):
                why, _ = reasons.missing(rule.table.reason, rule.table.reason_hint)
                raise Denied(why, (rule.id,))
        return tuple(_terms(rule) for rule in holds)

    def decide(
        self, identity: Identity, target: Target, operation: Operation, now: float, opening: Opening | None = None
    ) -> Decision:
        """See L{IPolicyService.decide}."""
        return self._judge(identity, target, operation, now, None, opening)

    def explain(self, identity: Identity, target: Target, operation: Operation, now: float) -> Explanation:
        """The decision with what every rule said."""
        findings: list[Finding] = []
        decision = self._judge(identity, target, operation, now, findings)
        if decision.verdict != "allow":
            for rule in self.break_glass(identity, target):
                what, minutes = listing(rule.table.skip), rule.table.lasts / 60
                said = f"in an emergency it lets {identity.name} skip {what} for {minutes:g} min, reviewed afterwards"
                findings.append(Finding(rule.id, "break_glass", False, said))
        around: tuple[str, ...] = ()
        if "shell" in operation.classes and decision.verdict != "deny" and not decision.watched:
            around = _ids(matching.on_commands(self._for(target), identity, operation))
        return Explanation(decision, tuple(findings), self._masks(identity, target, now), around)

    def masks(self, identity: Identity, target: Target, now: float, opening: Opening | None = None) -> tuple[Mask, ...]:
        """See L{IPolicyService.masks}; an observed target's output is not masked."""
        if self._observed(target) or "masks" in self.skips(opening, identity, target, now):
            return ()
        return self._masks(identity, target, now)

    def observed_masks(self, identity: Identity, target: Target, now: float) -> tuple[Mask, ...]:
        """See L{IPolicyService.observed_masks}."""
        return self._masks(identity, target, now) if self._observed(target) else ()

    def record_masks(self, target: Target) -> tuple[Mask, ...]:
        """The masks of what is recorded and shown to others: everyone's, whoever may see the values."""
        return tuple(
            Mask(rule.id, rule.table.columns, rule.table.show, rule.table.find, rule.table.detect)
            for file in self._for(target)
            for rule in file.rules
            if rule.verb == "mask"
        )

    def _masks(self, identity: Identity, target: Target, now: float) -> tuple[Mask, ...]:
        return tuple(
            Mask(rule.id, rule.table.columns, rule.table.show, rule.table.find, rule.table.detect)
            for rule in self._masking(identity, target, now)
        )

    def _masking(self, identity: Identity, target: Target, now: float) -> tuple[Rule, ...]:
        context = matching.context(identity, target, None, now)
        return tuple(
            rule
            for file in self._for(target)
            for rule in file.rules
            if rule.verb == "mask"
            and rule.concerns(identity)
            and (rule.condition is None or rule.condition.holds(context) is not False)
        )

    def _judge(
        self,
        identity: Identity,
        target: Target,
        operation: Operation,
        now: float,
        findings: list[Finding] | None,
        opening: Opening | None = None,
    ) -> Decision:
        files = self._for(target)
        if operation.classes == OPAQUE and any(file.unparsed == "forward" for file in files):
            operation = attrs.evolve(operation, classes=EVERYTHING)
        context = matching.context(identity, target, operation, now)
        matched: dict[str, list[Rule]] = {"allow": [], "hold": [], "deny": [], "access": []}
        turning: list[Rule] = []
        cacheable = True
        for file in files:
            for rule in file.rules:
                if rule.verb == "mask":
                    continue
                because = matching.misses(rule, identity, operation, context)
                if rule.condition is not None and rule.condition.reads_clock:
                    cacheable = False
                if not because:
                    matched[rule.verb].append(rule)
                if rule.verb == "allow" and rule.concerns(identity):
                    matched["access"].append(rule)
                if matching.turns_on_rows(rule, identity, operation, context):
                    turning.append(rule)
                if findings is not None:
                    findings.append(Finding(rule.id, rule.verb, not because, because or matching.says(rule, context)))
        contact = self._contact(files)
        decision = self._outcome(identity, target, operation, matched, contact, now, opening)
        if decision.verdict != "deny" and unmaskable.passes_by(operation):
            decision = self._unless_masked(decision, identity, target, now, opening)
        if turning:
            wished = {verb: [rule for rule in rules if rule not in turning] for verb, rules in matched.items()}
            wished["allow"] += [rule for rule in turning if rule.verb == "allow"]
            best = self._outcome(identity, target, operation, wished, contact, now, opening)
            # one that only lacks a reason may have been asked for ahead
            verdict: Verdict = "hold" if best.unreasoned is not None else best.verdict
            decision = attrs.evolve(decision, best=None if best == decision else verdict)
        watched = "shell" in operation.classes and matching.watched(files, matched["allow"], identity, operation)
        decision = attrs.evolve(decision, cacheable=cacheable, policy=self.version, watched=watched)
        if self._observed(target):
            # nothing is cut off either
            decision = attrs.evolve(decision, limits=Limits())
            if decision.verdict != "allow":
                return attrs.evolve(decision, verdict="allow", observed=decision.verdict, holds=(), unreasoned=None)
        return decision

    def _unless_masked(
        self, decision: Decision, identity: Identity, target: Target, now: float, opening: Opening | None
    ) -> Decision:
        """C{decision} on what masks cannot look into: no, while there are any."""
        if "masks" in self.skips(opening, identity, target, now):
            return decision
        masks = [rule for rule in self._masking(identity, target, now) if rule.table.transfers == "refuse"]
        if not masks:
            return decision
        why = f"what comes of it cannot be masked, and masks apply to {identity.name} on {target.name}"
        return Decision("deny", _ids(masks), why, unmaskable.HINT)

    def _outcome(
        self,
        identity: Identity,
        target: Target,
        operation: Operation,
        matched: Mapping[str, list[Rule]],
        contact: str,
        now: float,
        opening: Opening | None,
    ) -> Decision:
        """What the rules that match come to, and what break glass makes of it."""
        skips = self.skips(opening, identity, target, now)
        skipped = [rule for verb, word in _SKIPPED for rule in matched[verb] if word in skips]
        if skipped:
            matched = {verb: [rule for rule in rules if rule not in skipped] for verb, rules in matched.items()}
        decision = self._weigh(identity, target, operation, matched, contact)
        if skipped and opening is not None and decision.verdict != "deny":
            decision = _let_pass(decision, opening, skipped)
        return decision

    def _weigh(
        self,
        identity: Identity,
        target: Target,
        operation: Operation,
        matched: Mapping[str, list[Rule]],
        contact: str,
    ) -> Decision:
        denies, holds, allows = matched["deny"], matched["hold"], matched["allow"]
        if denies:
            why = next((rule.table.why for rule in denies if rule.table.why), "a rule refuses it")
            return Decision("deny", _ids(denies), why, contact)
        words = {word for rule in allows for word in rule.table.do}
        missing = uncovered(operation.classes, words)
        if not allows and not (operation.classes - IMPLIED):
            # what comes along with any access needs some access
            missing = [] if self.may_connect(identity, target, 0).verdict == "allow" else sorted(operation.classes)
        if missing:
            what = listing(missing)
            return Decision("deny", (), f"no rule allows {identity.name} to {what} on {target.name}", contact)
        narrowed = out_of_scope(identity, target, operation)
        if narrowed:
            return Decision("deny", (), narrowed, "use a token with wider scopes")
        # what comes along with any access takes no longer than that may; what it shows are no rows of anybody's
        limits = obligations.of_rules(allows) if allows else obligations.time_of(matched["access"])
        terms = tuple(_terms(rule) for rule in holds)
        # each transfer inside sftp asks for its own
        asked = holds if operation.classes == files.OPENING else (*allows, *holds)
        asking = [rule for rule in asked if rule.table.reason]
        unfit = [rule for rule in asking if not reasons.fits(rule.table.reason, operation.reason)]
        if unfit:
            why, hint = reasons.missing(unfit[0].table.reason, unfit[0].table.reason_hint)
            patterns = tuple(dict.fromkeys(rule.table.reason for rule in asking))
            unreasoned = Unreasoned(patterns, why, hint) if holds else None
            return Decision("deny", (unfit[0].id,), why, hint, terms, limits, unreasoned=unreasoned)
        if holds:
            why = next((each.why for each in terms if each.why), "it needs approval")
            return Decision("hold", _ids(holds), why, contact, terms, limits)
        return Decision("allow", _ids(allows), limits=limits)

    @staticmethod
    def _contact(files: Sequence[PolicyFile]) -> str:
        found = next((file.contact for file in files if file.contact), "")
        return f"ask {found}" if found else ""


def _terms(rule: Rule) -> HoldTerms:
    table = rule.table
    return HoldTerms(
        rule.id,
        table.by,
        table.quorum,
        table.wait,
        table.in_transaction,
        table.notify,
        table.why,
        table.max_rows,
        table.max_rows_factor,
        scope=table.scope,
        scopes=table.scopes,
        window_max=table.window_max,
    )


def _let_pass(decision: Decision, opening: Opening, skipped: Sequence[Rule]) -> Decision:
    """What break glass makes of a decision: held still where a rule remains that it does not skip."""
    held = decision.rules if decision.verdict == "hold" else ()
    why = decision.why or f"break glass {opening.id}: {opening.reason}"
    return attrs.evolve(
        decision,
        verdict="hold",
        rules=(*held, opening.rule),
        why=why,
        skipped=_ids(skipped),
        break_glass=opening.id,
    )


def _ids(rules: Sequence[Rule]) -> tuple[str, ...]:
    return tuple(rule.id for rule in rules)


def check(sources: Mapping[str, str], config: Config) -> None:
    """Load as a broker would, tests and all. @raise ConfigErrors"""
    PolicySnapshot.load(sources, config.targets, bytes(32), channels=config.notify)


__all__ = ["Explanation", "Finding", "PolicySnapshot", "Verdict", "check"]
