"""How answers look: tables for people, JSON for programs; not what is in them.

On a terminal tables are drawn by rich, which is imported only then (it costs more than all the rest of hoopctl).
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from hoopd.display import visible

Column = tuple[str, Callable[[Mapping[str, Any]], str]]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON, for programs.")


def moment(seconds: float | None) -> str:
    """@return: a time as C{2026-11-21 03:27:15Z}, C{-} for none. Always UTC: gateway, target and witness agree."""
    if seconds is None:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def span(seconds: float) -> str:
    """@return: a duration as people say it: C{45 s}, C{12 min}, C{3 h 20 min}, C{5 d}."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * 86400:
        hours, rest = divmod(round(seconds / 60), 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{seconds / 86400:.0f} d"


class Duration(click.ParamType):
    """C{90s}, C{15m}, C{12h}, C{30d}, C{2w}: seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = _DURATION.fullmatch(value)
        if not found:
            self.fail(f"{value!r} is no duration: write 90s, 15m, 12h, 30d or 2w", param, ctx)
        return float(found.group(1)) * _UNITS[found.group(2)]


class Moment(click.ParamType):
    """A time: ISO 8601 (UTC unless it says otherwise), or a duration ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if _DURATION.fullmatch(value):
            return time.time() - Duration().convert(value, param, ctx)
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time: write 2026-11-21, 2026-11-21T03:00 (UTC), or 2h for two hours ago")
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def between(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options C{--since} and C{--until}: arguments C{since} and C{until}, seconds since the epoch or None."""
    until = click.option("--until", type=Moment(), help="Likewise.")
    since = click.option("--since", type=Moment(), help="Such as 2h or 7d (ago), 2026-11-21 or 2026-11-21T03:00 (UTC).")
    return since(until(command))


def print_json(value: Any) -> None:
    """Print C{value}; ASCII only, so that no terminal is led astray by what is in it."""
    click.echo(json.dumps(value, indent=2, sort_keys=False))


def table(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], empty: str) -> None:
    """Print C{rows}; C{empty} to standard error if there are none."""
    cells = [[visible(cell(row)) for _, cell in columns] for row in rows]
    if not cells:
        click.echo(empty, err=True)
        return
    titles = [title for title, _ in columns]
    if sys.stdout.isatty():
        _drawn(titles, cells)
        return
    widths = [max(len(row[at]) for row in [titles, *cells]) for at in range(len(titles))]
    for row in [titles, *cells]:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _drawn(titles: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*titles, box=SIMPLE_HEAD, pad_edge=False)
    for row in cells:
        # Text, not markup: brackets in a name are brackets
        drawn.add_row(*(Text(text, overflow="fold") for text in row))
    Console().print(drawn)


def pairs(fields: Iterable[tuple[str, str]]) -> None:
    """Print names and values, one a line; empty values are left out."""
    shown = [(name, visible(value)) for name, value in fields if value]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name.ljust(width)}  {value}")


def words(values: Iterable[str] | None) -> str:
    """@return: C{values} in one cell, C{-} for none."""
    return ", ".join(values or ()) or "-"


def value_from_stdin_or_prompt(what: str, twice: bool = False) -> str:
    """A secret: hidden prompt on a terminal, else all of standard input without its last end of line.

    @raise click.UsageError: nothing was given.
    """
    if sys.stdin.isatty():
        given: str = click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True)
    else:
        given = sys.stdin.read(1024 * 1024)
        given = given.removesuffix("\n").removesuffix("\r")
    if not given:
        raise click.UsageError(f"{what} is empty: type it at the prompt, or pipe it in")
    return given
