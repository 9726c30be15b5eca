"""A recorded session as text for a terminal, with its pauses; not the reading of files, nor the waiting.

Whatever was recorded is shown by L{hoopd.display.visible}: control characters, escape sequences and bidirectional marks
are written out, so that watching a session cannot do anything to who watches.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hoopd.audit.recording import Entry, FrameReader, RecordingError, entries
from hoopd.audit.terminal import text_of
from hoopd.display import visible

#: longest pause that is replayed, seconds: nobody wants to watch lunch
PAUSE_MAX = 5.0
#: widest cell shown; the recording has it whole
CELL_MAX = 60

Step = tuple[float, str]

#: width of the time before a statement
_STAMP = len("2026-01-01 00:00:00Z ")


def load(content: bytes) -> tuple[list[Entry], RecordingError | None]:
    """Read a whole recording.

    @return: its entries as far as they are good, and what is wrong after them: a live session's may end in a part of
        a frame.
    """
    reader = FrameReader()
    frames = reader.feed(content)
    problem = reader.finish()
    found: list[Entry] = []
    try:
        found.extend(entries(frames))
    except RecordingError as error:
        problem = problem or error
    return found, problem


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _cell(value: Any) -> str:
    if value is None:
        return "∅"
    if isinstance(value, Mapping):
        return f"\\x{visible(str(value.get('hex', '?')))}"
    text = visible(str(value))
    return text if len(text) <= CELL_MAX else text[: CELL_MAX - 1] + "…"


def table(columns: Sequence[Any], found: Sequence[Sequence[Any]], masked: Iterable[int] = ()) -> str:
    """Rows as psql shows them; the names of masked columns have a star."""
    stars = set(masked)
    names = [_cell(name) + ("*" if number in stars else "") for number, name in enumerate(columns)]
    cells = [[_cell(value) for value in row] for row in found]
    count = max([len(names), *(len(row) for row in cells)], default=0)
    if not count:
        return ""
    widths = [
        max([_width(each[number]) for each in ([names, *cells]) if number < len(each)], default=0)
        for number in range(count)
    ]
    lines = []
    if names:
        lines += [_joined(names, widths), "-+-".join("-" * width for width in widths)]
    lines += [_joined(row, widths) for row in cells]
    return "".join(f"  {line.rstrip()}\n" for line in lines)


def _joined(row: Sequence[str], widths: Sequence[int]) -> str:
    return " | ".join(text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=False))


def _word(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return "" if value is None else visible(str(value))


def _list(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if isinstance(value, list | tuple):
        return ", ".join(visible(str(each)) for each in value)
    return "" if value is None else visible(str(value))


def _items(fields: Mapping[str, Any], name: str) -> list[Any]:
    """A list, or nothing: a recording is written by a process that hostile bytes passed through."""
    value = fields.get(name)
    return value if isinstance(value, list) else []


def _open(prompt: str, fields: Mapping[str, Any]) -> str:
    behalf = f" for {_word(fields, 'act')}" if fields.get("act") else ""
    return (
        f"session {_word(fields, 'session')}: {_word(fields, 'identity')}{behalf} on {_word(fields, 'target')} "
        f"({_word(fields, 'protocol')}) from {_word(fields, 'peer')}, proven by {_word(fields, 'proof')}\n"
    )


def _operation(prompt: str, fields: Mapping[str, Any]) -> str:
    text = visible(str(fields.get("text") or ""), keep="\n").replace("\n", "\n" + " " * (_STAMP + len(prompt) + 1))
    lines = [f"{prompt} {text}\n"]
    if fields.get("parameters"):
        lines.append(f"  with {_list(fields, 'parameters')}\n")
    verdict = _word(fields, "decision")
    rules = _list(fields, "rules")
    by = f" by {rules}" if rules else ""
    why = f": {_word(fields, 'why')}" if fields.get("why") else ""
    if verdict == "deny":
        lines.append(f"  REFUSED{by}{why}\n")
    elif verdict == "hold":
        lines.append(f"  run as approved in {_word(fields, 'approval')}{by}\n")
    if fields.get("break_glass"):
        past = f", past {_list(fields, 'skipped')}" if fields.get("skipped") else ""
        lines.append(f"  UNDER BREAK GLASS {_word(fields, 'break_glass')}{past}\n")
    if fields.get("observed") and fields["observed"] != verdict:
        lines.append(f"  (observed only: enforcement would {_word(fields, 'observed')}{by})\n")
    if fields.get("reason"):
        lines.append(f"  reason: {_word(fields, 'reason')}\n")
    return "".join(lines)


def _decision(prompt: str, fields: Mapping[str, Any]) -> str:
    return f"  {_word(fields, 'decision').upper()} by {_list(fields, 'rules')}: {_word(fields, 'why')}\n"


def _hold(prompt: str, fields: Mapping[str, Any]) -> str:
    text = f"  held as {_word(fields, 'approval')} by {_list(fields, 'rules')}: {_word(fields, 'state')}\n"
    return text + _votes(fields)


def _approval(prompt: str, fields: Mapping[str, Any]) -> str:
    return f"  {_word(fields, 'approval')} is {_word(fields, 'state')}\n" + _votes(fields)


def _votes(fields: Mapping[str, Any]) -> str:
    votes = [vote for vote in _items(fields, "votes") if isinstance(vote, Mapping)]
    return "".join(
        f"    {_word(vote, 'identity')} said {'yes' if vote.get('approve') else 'no'}: {_word(vote, 'reason')}\n"
        for vote in votes
    )


def _rows(prompt: str, fields: Mapping[str, Any]) -> str:
    found = [row for row in _items(fields, "rows") if isinstance(row, list)]
    return table(_items(fields, "columns"), found, [each for each in _items(fields, "masked") if isinstance(each, int)])


def _result(prompt: str, fields: Mapping[str, Any]) -> str:
    rows, kept = fields.get("rows"), fields.get("kept")
    more = (
        f" ({kept} of {rows} rows recorded)" if isinstance(kept, int) and isinstance(rows, int) and kept < rows else ""
    )
    seconds = fields.get("duration")
    took = f" in {seconds:.3f} s" if isinstance(seconds, int | float) else ""
    return f"  {_word(fields, 'tag')}{more}{took}\n"


def _said(prompt: str, fields: Mapping[str, Any]) -> str:
    code = f" {_word(fields, 'code')}" if fields.get("code") else ""
    source = f" (from the {_word(fields, 'from')})" if fields.get("from") else ""
    return f"  {_word(fields, 'severity') or 'NOTICE'}{code}: {_word(fields, 'text')}{source}\n"


def _input(prompt: str, fields: Mapping[str, Any]) -> str:
    if "stream" in fields:
        return "<" + _output(prompt, fields)
    return f"  {_word(fields, 'bytes')} bytes were sent: {_word(fields, 'text')}\n"


def _cancel(prompt: str, fields: Mapping[str, Any]) -> str:
    return f"  cancelled: {_word(fields, 'why')}\n"


def _output(prompt: str, fields: Mapping[str, Any]) -> str:
    text = visible(text_of(fields.get("text")), keep="\n\t")
    kept, octets = fields.get("kept"), fields.get("bytes")
    if isinstance(kept, int) and isinstance(octets, int):
        text += f"[{kept} of {octets} bytes of {_word(fields, 'stream')} recorded, sha256 {_word(fields, 'sha256')}]"
    return text if text.endswith("\n") else text + "\n"


def _state(prompt: str, fields: Mapping[str, Any]) -> str:
    return f"  {_word(fields, 'name')} is now {_word(fields, 'value')}\n"


def _close(prompt: str, fields: Mapping[str, Any]) -> str:
    return f"session ended: {_word(fields, 'why')}\n"


def _torn(prompt: str, fields: Mapping[str, Any]) -> str:
    return f"  [{_word(fields, 'bytes')} bytes could not be written here]\n"


def _transfer(prompt: str, fields: Mapping[str, Any]) -> str:
    size = fields.get("bytes")
    count = f"{size:,}" if isinstance(size, int) else _word(fields, "bytes")
    part = "" if fields.get("whole") else " (a part, or not for certain the whole)"
    name = f" ({_word(fields, 'name')})" if fields.get("name") else ""
    known = f", sha256 {_word(fields, 'sha256')}" if fields.get("sha256") else ""
    return f"  {_word(fields, 'direction')} of {_word(fields, 'path')}{name}: {count} bytes{part}{known}; {_word(fields, 'tag')}\n"


_SHOWN: Mapping[str, Callable[[str, Mapping[str, Any]], str]] = {
    "open": _open,
    "operation": _operation,
    "decision": _decision,
    "hold": _hold,
    "approval": _approval,
    "rows": _rows,
    "input": _input,
    "result": _result,
    "notice": _said,
    "error": _said,
    "cancel": _cancel,
    "output": _output,
    "state": _state,
    "close": _close,
    "torn": _torn,
    "transfer": _transfer,
}
#: kinds that say nothing to who watches
_SILENT = frozenset({"resize"})


class Transcript:
    """A session's entries as lines, one after another."""

    def __init__(self) -> None:
        self._prompt = "=>"

    def line(self, entry: Entry) -> str:
        """What is shown of it; empty where it says nothing."""
        if entry.kind in _SILENT:
            return ""
        if entry.kind == "open":
            self._prompt = f"{_word(entry.fields, 'identity')}@{_word(entry.fields, 'target')}=>"
        return _line(entry, self._prompt)


def render(frames: Iterable[Entry], speed: float = 1.0, idle: float = PAUSE_MAX) -> Iterator[Step]:
    """
    @param frames: as L{load} gives them.
    @param speed: 2.0 is twice as fast; 0 without pauses. @param idle: longest pause, seconds.
    @return: pairs of seconds to wait before, and text to show then.
    """
    said = Transcript()
    last: float | None = None
    for entry in frames:
        text = said.line(entry)
        if not text:
            continue
        # the end that the broker writes has no place on the worker's clock
        since = last if last is not None and entry.since < last else entry.since
        delay = min(idle, since - (last if last is not None else since)) / speed if speed > 0 else 0.0
        last = since
        yield max(0.0, delay), text


def _line(entry: Entry, prompt: str) -> str:
    if not entry.complete:
        return f"  [a record of kind {entry.kind} is not complete]\n"
    show = _SHOWN.get(entry.kind)
    if show is None:
        return f"  [{visible(entry.kind)}]\n"
    text = show(prompt, entry.fields)
    if entry.kind in ("open", "operation", "close", "hold"):
        return f"{datetime.fromtimestamp(entry.at, UTC):%Y-%m-%d %H:%M:%S}Z {text}"
    return text
