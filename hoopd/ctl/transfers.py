"""Files that went to and from targets in recorded sessions: which, how much of each, and their hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.printing import as_json, moment, print_json, table
from hoopd.ctl.recordings import pieces


def _state(one: Mapping[str, Any]) -> str:
    if one["tag"] != "closed":
        return str(one["tag"])
    return "whole" if one["whole"] else f"part: {_parts(one.get('ranges'))}"


def _parts(ranges: Any) -> str:
    if not ranges:
        return "which is not told"
    return ", ".join(f"{first}-{last}" for first, last in ranges)


_COLUMNS = (
    ("ENDED", lambda one: moment(one["at"])),
    ("DIRECTION", lambda one: one["direction"]),
    ("BYTES", lambda one: str(one["bytes"])),
    ("SHA256", lambda one: one["sha256"] or "-"),
    ("STATE", _state),
    ("PATH", lambda one: one["path"] + (f" ({one['name']})" if one.get("name") else "")),
)


def found(frames: Sequence[Any]) -> list[dict[str, Any]]:
    """The transfers among the frames of a recording."""
    return [{"at": frame.at, **frame.fields} for frame in frames if frame.kind == "transfer" and frame.complete]


@click.command("transfers")
@click.argument("id")
@as_json
@click.pass_obj
def command(gateway: Gateway, id: str, json_: bool) -> None:
    """List the files that went to the target or came from it in session ID, so far if it runs."""
    from hoopd.audit import replay as replaying

    frames, _ = replaying.load(b"".join(pieces(gateway, id)))
    listed = found(frames)
    if json_:
        print_json(listed)
    else:
        table(_COLUMNS, listed, "no file went either way")
