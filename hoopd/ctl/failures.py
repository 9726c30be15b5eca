"""What goes wrong, said to a person at three in the morning: what happened, why, what to do; and the exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from hoopd.display import visible

#: hoopctl's exit codes; 0 is well. Scripts rely on them: docs/hoopctl.md lists them.
REFUSED = 1
USAGE = 2
UNREACHABLE = 3
UNVERIFIED = 4


class Failure(click.ClickException):
    """
    @param what: what happened, one line.
    @param why: reasons, a line each.
    @param do: what to do now.
    """

    def __init__(self, what: str, why: Iterable[str] = (), do: str = "", code: int = REFUSED) -> None:
        super().__init__(what)
        self.why = tuple(why)
        self.do = do
        self.exit_code = code  # type: ignore[misc] # click reads it from the instance

    def show(self, file: object = None) -> None:
        lines = [f"hoopctl: {visible(self.message)}", *(f"  {visible(line)}" for line in self.why if line)]
        if self.do:
            lines.append(f"  → {self.do}")
        click.echo("\n".join(lines), file=sys.stderr)
