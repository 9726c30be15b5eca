"""Promises of a policy that nothing would keep on a target that it selects: refused when it is loaded, not when it runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hoopd.errors import ConfigError
from hoopd.policy.rules import PolicyFile
from hoopd.policy.words import listing
from hoopd.values import Target

#: limits that only statements have
_SQL_LIMITS = ("max_rows", "max_changes", "max_rows_factor")


def unkept(target: Target, files: Sequence[PolicyFile]) -> Iterator[ConfigError]:
    """@param files: those that select C{target}"""
    yield from _unparsed(target, files)
    if target.protocol == "ssh":
        yield from _of_statements(target, files)


def _unparsed(target: Target, files: Sequence[PolicyFile]) -> Iterator[ConfigError]:
    """What is forwarded unread is bound by no rule: where rules bind, nothing may be."""
    binding = [rule.id for file in files for rule in file.rules if rule.verb != "allow"]
    for file in files:
        if file.unparsed == "forward" and binding:
            problem = f"statements on {target.name} cannot be forwarded unread: {listing(binding)} would not hold"
            advice = 'leave it "refuse" on targets with masks, holds and denials'
            yield ConfigError(problem, f"{file.name}.toml", "unparsed", advice)


def _of_statements(target: Target, files: Sequence[PolicyFile]) -> Iterator[ConfigError]:
    """Columns are SQL's, and so are rows and changes of them: an SSH host has none."""
    for file in files:
        for rule in file.rules:
            limits = [name for name in _SQL_LIMITS if getattr(rule.table, name, None) is not None]
            columns = rule.verb == "mask" and rule.table.columns
            if columns or limits:
                what = "the mask is of columns" if columns else f"{listing(limits)} cannot be kept"
                problem = f"{what}, and {target.name} is an SSH host"
                advice = "give SSH hosts a policy file of their own; their masks say what to detect"
                yield ConfigError(problem, f"{file.name}.toml", rule.id.partition(".")[2], advice)
