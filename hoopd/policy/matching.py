"""Whether one rule speaks of one operation, and why not; what a rule's condition is told. Pure.

It weighs nothing: what the rules that match come to is L{hoopd.policy.snapshot}'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from hoopd.policy import commands, files
from hoopd.policy import paths as path_patterns
from hoopd.policy.rules import PolicyFile, Rule, touches
from hoopd.policy.words import BROAD, beside_files, listing, meets, overlaps
from hoopd.shell import patterns as command_patterns
from hoopd.values import Identity, Operation, Target


def misses(rule: Rule, identity: Identity, operation: Operation, context: Mapping[str, Any]) -> str:
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
        return f"it is only for {listing(rule.table.logins)}"
    if not _does(rule, operation):
        return f"it is about {listing(rule.table.do)}, and this does {listing(sorted(operation.classes))}"
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
    return "" if met else f"it is only for {listing(patterns)}"


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
    return "" if met else f"it is only for {listing(patterns)}"


def watched(files: Sequence[PolicyFile], allows: Sequence[Rule], identity: Identity, operation: Operation) -> bool:
    """Whether each line of a shell is judged: as the rules that open it say, else where one on commands would not hold."""
    said = [rule.table.watch for rule in allows if "shell" in rule.table.do and rule.table.watch is not None]
    return any(said) if said else bool(on_commands(files, identity, operation))


def on_commands(files: Sequence[PolicyFile], identity: Identity, operation: Operation) -> list[Rule]:
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


def turns_on_rows(rule: Rule, identity: Identity, operation: Operation, context: Mapping[str, Any]) -> bool:
    """Whether nothing but the number of rows, which nobody has told, decides about this rule."""
    condition = rule.condition
    if condition is None or not condition.reads_rows or operation.facts.get("rows") is not None:
        return False
    # has(op.rows) answers where there is nothing
    told = condition.holds(context) is not None and "has(" not in condition.source
    return not told and not _elsewhere(rule, identity, operation)


def says(rule: Rule, context: Mapping[str, Any]) -> str:
    if rule.condition is not None and rule.condition.holds(context) is None:
        return f"its condition cannot be told, which counts as true: {rule.condition.source}"
    if rule.verb == "allow":
        return f"it opens {listing(rule.table.do)}"
    return rule.table.why or f"it is about {listing(rule.table.do) or 'everything'}"


def context(identity: Identity, target: Target, operation: Operation | None, now: float) -> dict[str, Any]:
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
