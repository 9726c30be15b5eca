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
from typing import Any

import attrs
from attrs import frozen
from zope.interface import implementer

from hoopd.config.channels import unknown_channels
from hoopd.config.schema import Config
from hoopd.config.structure import ConfigErrors
from hoopd.errors import ConfigError, Denied
from hoopd.interfaces import IPolicyService
from hoopd.ipc import wire
from hoopd.policy import commands, files, obligations, reasons, unmaskable
from hoopd.policy import paths as path_patterns
from hoopd.policy.rules import PolicyFile, Rule, read, touches
from hoopd.policy.words import BROAD, EVERYTHING, IMPLIED, beside_files, meets, overlaps, uncovered
from hoopd.shell import patterns as command_patterns
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
        made._check_unparsed(errors)
        made._check_ssh(errors)
        if not errors and test:
            from hoopd.policy.testing import run  # it judges by this class

            for result in run(made):
                if not result.passed:
                    errors.append(ConfigError(result.problem, f"{result.file}.toml", f'test."{result.name}"'))
        if errors:
            raise ConfigErrors(errors)
        return made

    def _check_unparsed(self, errors: list[ConfigError]) -> None:
        """What is forwarded unread is bound by no rule: where rules bind, nothing may be."""
        for target in self._targets.values():
            files = self._for(target)
            for file in files:
                binding = [rule.id for each in files for rule in each.rules if rule.verb != "allow"]
                if file.unparsed == "forward" and binding:
                    errors.append(
                        ConfigError(
                            f"statements on {target.name} cannot be forwarded unread: {_listing(binding)} would not hold",
                            f"{file.name}.toml",
                            "unparsed",
                            'leave it "refuse" on targets with masks, holds and denials',
                        )
                    )

    def _check_ssh(self, errors: list[ConfigError]) -> None:
        """What cannot be kept on an SSH host is not promised there: columns are SQL's, and so are rows and changes of them."""
        for target in self._targets.values():
            if target.protocol != "ssh":
                continue
            for file in self._for(target):
                for rule in file.rules:
                    limits = [name for name in _SQL_LIMITS if getattr(rule.table, name, None) is not None]
                    columns = rule.verb == "mask" and rule.table.columns
                    if columns or limits:
                        what = "the mask is of columns" if columns else f"{_listing(limits)} cannot be kept"
                        problem = f"{what}, and {target.name} is an SSH host"
                        advice = "give SSH hosts a policy file of their own; their masks say what to detect"
                        errors.append(ConfigError(problem, f"{file.name}.toml", rule.id.partition(".")[2], advice))

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
        return _in_scope(identity, target) and any(
            rule.concerns(identity)
            and (not rule.table.logins or any(fnmatchcase(login, each) for each in rule.table.logins))
            for rule in allows
        )

    def may_connect(self, identity: Identity, target: Target, now: float) -> Decision:
        """See L{IPolicyService.may_connect}."""
        files = self._for(target)
        if _in_scope(identity, target):
            for file in files:
                for rule in file.rules:
                    if rule.verb == "allow" and rule.concerns(identity):
                        return Decision("allow", (rule.id,), policy=self.version)
            if self._observed(target) and files:
                return Decision("allow", (), policy=self.version, observed="deny")
        return Decision("deny", (), "no rule allows anything there", self._contact(files), policy=self.version)

    def break_glass(self, identity: Identity, target: Target) -> tuple[Rule, ...]:
        """The break_glass rules that give this identity the right on this target; none outside its scopes."""
        if not _in_scope(identity, target) or self._observed(target):
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
                what, minutes = _listing(rule.table.skip), rule.table.lasts / 60
                said = f"in an emergency it lets {identity.name} skip {what} for {minutes:g} min, reviewed afterwards"
                findings.append(Finding(rule.id, "break_glass", False, said))
        around: tuple[str, ...] = ()
        if "shell" in operation.classes and decision.verdict != "deny" and not decision.watched:
            around = _ids(_on_commands(self._for(target), identity, operation))
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
        context = _context(identity, target, None, now)
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
        context = _context(identity, target, operation, now)
        matched: dict[str, list[Rule]] = {"allow": [], "hold": [], "deny": [], "access": []}
        turning: list[Rule] = []
        cacheable = True
        for file in files:
            for rule in file.rules:
                if rule.verb == "mask":
                    continue
                because = _misses(rule, identity, operation, context)
                if rule.condition is not None and rule.condition.reads_clock:
                    cacheable = False
                if not because:
                    matched[rule.verb].append(rule)
                if rule.verb == "allow" and rule.concerns(identity):
                    matched["access"].append(rule)
                if _turns_on_rows(rule, identity, operation, context):
                    turning.append(rule)
                if findings is not None:
                    findings.append(Finding(rule.id, rule.verb, not because, because or _says(rule, context)))
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
        watched = "shell" in operation.classes and _watched(files, matched["allow"], identity, operation)
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
            what = _listing(missing)
            return Decision("deny", (), f"no rule allows {identity.name} to {what} on {target.name}", contact)
        narrowed = _out_of_scope(identity, target, operation)
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


#: limits that only statements have
_SQL_LIMITS = ("max_rows", "max_changes", "max_rows_factor")


def _misses(rule: Rule, identity: Identity, operation: Operation, context: Mapping[str, Any]) -> str:
    """Why the rule does not apply, or C{""}."""
    because = _elsewhere(rule, identity, operation)
    if because:
        return because
    if rule.condition is not None:
        answer = rule.condition.holds(context)
        if answer is False:
            return f"its condition is false: {rule.condition.source}"
        # what is not known of a transfer yet will be when it is judged, inside
        inside = operation.classes == files.OPENING
        if answer is None and (rule.verb == "allow") != inside:
            return f"its condition cannot be told: {rule.condition.source}"
    return ""


def _elsewhere(rule: Rule, identity: Identity, operation: Operation) -> str:
    """Why the rule is not about this, whatever its condition says, or C{""}."""
    if not rule.concerns(identity):
        return f"it does not speak of {identity.name}"
    login = operation.facts.get("login")
    if rule.table.logins and not any(fnmatchcase(str(login or ""), each) for each in rule.table.logins):
        return f"it is only for {_listing(rule.table.logins)}"
    if not _does(rule, operation):
        return f"it is about {_listing(rule.table.do)}, and this does {_listing(sorted(operation.classes))}"
    if rule.table.objects:
        own = [name for name in operation.objects if not name.startswith("pg_catalog.")]
        met = [any(touches(pattern, name) for pattern in rule.table.objects) for name in own]
        if rule.verb == "allow" and not (met and all(met)):
            return "it is only for other relations"
        if rule.verb != "allow" and not any(met) and own:
            return "it is only for other relations"
    return _other_command(rule, operation) or _other_path(rule, operation)


def _other_command(rule: Rule, operation: Operation) -> str:
    """Why C{commands} leave this operation out, or C{""}: what is no command they do not open, and do not leave alone."""
    patterns = rule.table.commands
    if not patterns:
        return ""
    analysis = commands.found(operation)
    if rule.verb == "allow":
        met = analysis is not None and command_patterns.opens(patterns, analysis)
    else:
        met = analysis is None or command_patterns.concerns(patterns, analysis)
    return "" if met else f"it is only for {_listing(patterns)}"


def _other_path(rule: Rule, operation: Operation) -> str:
    """Why C{paths} leave this operation out, or C{""}: as with commands."""
    patterns = rule.table.paths
    if not patterns:
        return ""
    via = str(operation.facts.get("via") or "")
    if operation.classes == files.OPENING:
        met = rule.verb == "allow"
    elif rule.verb == "allow" and via in ("scp", "rsync") and via not in rule.table.do:
        return (
            f"its paths are what the target resolves, and {via} only writes them: with {via} in do they are as written"
        )
    elif rule.verb == "allow":
        met = path_patterns.opens(patterns, files.places(operation))
    else:
        met = path_patterns.concerns(patterns, files.places(operation))
    return "" if met else f"it is only for {_listing(patterns)}"


def _watched(files: Sequence[PolicyFile], allows: Sequence[Rule], identity: Identity, operation: Operation) -> bool:
    """Whether each line of a shell is judged: as the rules that open it say, else where one on commands would not hold."""
    said = [rule.table.watch for rule in allows if "shell" in rule.table.do and rule.table.watch is not None]
    return any(said) if said else bool(_on_commands(files, identity, operation))


def _on_commands(files: Sequence[PolicyFile], identity: Identity, operation: Operation) -> list[Rule]:
    """Hold and deny rules that could speak of what this identity runs under this account."""
    login = str(operation.facts.get("login") or "")
    return [
        rule
        for file in files
        for rule in file.rules
        if rule.verb in ("hold", "deny")
        and rule.concerns(identity)
        and (not rule.table.logins or any(fnmatchcase(login, each) for each in rule.table.logins))
        and (rule.table.commands or meets(rule.table.do, commands.RUNNING))
    ]


def _does(rule: Rule, operation: Operation) -> bool:
    if rule.verb != "allow":
        return overlaps(rule.table.do, operation.classes)
    if beside_files(operation.classes, rule.table.do):
        return True
    broad = {BROAD.get(word, word) for word in operation.classes}
    return any(word in operation.classes or word in broad for word in rule.table.do)


def _turns_on_rows(rule: Rule, identity: Identity, operation: Operation, context: Mapping[str, Any]) -> bool:
    """Whether nothing but the number of rows, which nobody has told, decides about this rule."""
    condition = rule.condition
    if condition is None or not condition.reads_rows or operation.facts.get("rows") is not None:
        return False
    # has(op.rows) answers where there is nothing
    told = condition.holds(context) is not None and "has(" not in condition.source
    return not told and not _elsewhere(rule, identity, operation)


def _says(rule: Rule, context: Mapping[str, Any]) -> str:
    if rule.condition is not None and rule.condition.holds(context) is None:
        return f"its condition cannot be told, which counts as true: {rule.condition.source}"
    if rule.verb == "allow":
        return f"it opens {_listing(rule.table.do)}"
    return rule.table.why or f"it is about {_listing(rule.table.do) or 'everything'}"


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


def _listing(words: Sequence[str]) -> str:
    return ", ".join(words)


def _in_scope(identity: Identity, target: Target) -> bool:
    wanted = [word[7:] for word in identity.scopes or () if word.startswith("target:")]
    return not wanted or any(fnmatchcase(target.name, pattern) for pattern in wanted)


def _out_of_scope(identity: Identity, target: Target, operation: Operation) -> str:
    """Why the proof's scopes leave this operation out, or C{""}."""
    if identity.scopes is None:
        return ""
    if not _in_scope(identity, target):
        return f"the token's scopes leave out {target.name}"
    doing = [word[3:] for word in identity.scopes if word.startswith("do:")]
    if doing:
        missing = uncovered(operation.classes, doing)
        if missing:
            return f"the token's scopes leave out {_listing(missing)}"
    return ""


def _context(identity: Identity, target: Target, operation: Operation | None, now: float) -> dict[str, Any]:
    context: dict[str, Any] = {
        "identity": {
            "name": identity.name,
            "kind": identity.kind,
            "groups": sorted(identity.groups),
            "act": identity.act or "",
        },
        "target": {"name": target.name, "labels": dict(target.labels)},
        "now": now,
    }
    if operation is not None:
        context["op"] = {
            "classes": sorted(operation.classes),
            "objects": list(operation.objects),
            "reason": operation.reason or "",
            "size": len(operation.text),
            # a fact that is not known is left out: asking for it cannot be told
            **{name: value for name, value in operation.facts.items() if value is not None},
        }
    return context


def check(sources: Mapping[str, str], config: Config) -> None:
    """Load as a broker would, tests and all. @raise ConfigErrors"""
    PolicySnapshot.load(sources, config.targets, bytes(32), channels=config.notify)


__all__ = ["Explanation", "Finding", "PolicySnapshot", "Verdict", "check"]
