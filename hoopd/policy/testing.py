"""The tests that stand beside the rules: C{test."user:priya DROP TABLE orders" = ["deny.drop"]}."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from hoopd.policy.rules import PolicyFile, TestTable
from hoopd.policy.statements import read
from hoopd.values import Decision, Identity, Opening, Target

if TYPE_CHECKING:
    from hoopd.policy.snapshot import PolicySnapshot

_WEIGHT = {"allow": 0, "hold": 1, "deny": 2}


@frozen
class TestResult:
    __test__ = False
    file: str
    name: str
    passed: bool
    problem: str = ""


def identity(name: str, groups: tuple[str, ...] = (), scopes: tuple[str, ...] | None = None) -> Identity:
    """An identity as C{user:priya} or C{agent:ci}. @raise ValueError: neither"""
    kind, colon, subject = name.partition(":")
    if kind not in ("user", "agent") or not colon or not subject:
        raise ValueError(f"{name!r} is no identity: write user:NAME or agent:NAME")
    return Identity(subject, "human" if kind == "user" else "agent", frozenset(groups), scopes)


def run(snapshot: PolicySnapshot) -> list[TestResult]:
    """Every test of every file."""
    return [_one(snapshot, file, name, test) for file in snapshot.files for name, test in file.tests.items()]


def _one(snapshot: PolicySnapshot, file: PolicyFile, name: str, test: TestTable) -> TestResult:
    def failed(problem: str) -> TestResult:
        return TestResult(file.name, name, False, problem)

    who, _, text = name.partition(" ")
    target = _target(snapshot, file, test.target)
    if target is None:
        return failed(f"no target to test on{': ' + test.target if test.target else ''}")
    declared = file.identities.get(who)
    try:
        subject = identity(who, declared.groups if declared else (), declared.scopes if declared else None)
    except ValueError as problem:
        return failed(str(problem))
    facts = {} if test.rows is None else {"rows": test.rows}
    reading = read(text, target, test.reason or None, facts)
    if reading.refused:
        return failed(f"the statement is refused before any rule: {reading.refused}")
    if not reading.operations:
        return failed("there is no statement")
    try:
        opening = _opening(file, test.break_glass, subject, target)
    except ValueError as problem:
        return failed(str(problem))
    decisions = [snapshot.decide(subject, target, each, 0.0, opening) for each in reading.operations]
    rules = _deciding(decisions)
    expected = [each if each.count(".") > 1 else f"{file.name}.{each}" for each in test.expect]
    if sorted(rules) != sorted(expected):
        worst = max(decisions, key=lambda each: _WEIGHT[each.observed or each.verdict])
        said = f" ({worst.why})" if worst.why else ""
        return failed(f"expected {sorted(expected)}, decided by {sorted(rules)}: {worst.verdict}{said}")
    return TestResult(file.name, name, True)


def _opening(file: PolicyFile, name: str, identity: Identity, target: Target) -> Opening | None:
    """Break glass as the test supposes it. @raise ValueError: there is no such rule, or not for this identity"""
    if not name:
        return None
    rule = next((each for each in file.break_glass if each.id == f"{file.name}.break_glass.{name}"), None)
    if rule is None:
        raise ValueError(f"there is no rule break_glass.{name} in this file")
    if not rule.arms(identity):
        raise ValueError(f"break_glass.{name} gives {identity.name} no right")
    skip, lasts = rule.table.skip, rule.table.lasts
    return Opening(
        "test", identity.name, identity.act, target.name, rule.id, skip, "a test", 0.0, lasts, identity.scopes
    )


def _deciding(decisions: list[Decision]) -> set[str]:
    worst = max(_WEIGHT[each.observed or each.verdict] for each in decisions)
    return {rule for each in decisions if _WEIGHT[each.observed or each.verdict] == worst for rule in each.rules}


def _target(snapshot: PolicySnapshot, file: PolicyFile, name: str) -> Target | None:
    if name:
        return snapshot.targets().get(name)
    found = next((each for each in snapshot.targets().values() if file.selects(each)), None)
    if found is None and file.targets:
        # a file may come before its targets: test it on one as it describes them
        return Target(file.targets[0].replace("*", "x"), _protocol(file), "127.0.0.1", 1, file.labels)
    return found


def _protocol(file: PolicyFile) -> str:
    """Of targets that are not there yet: what speaks of commands, accounts and paths is about SSH hosts."""
    ssh = ("commands", "logins", "paths")
    return "ssh" if any(getattr(rule.table, name, ()) for rule in file.rules for name in ssh) else "postgres"
