"""Files that went to and from targets in recorded sessions: which, how much of each, and their hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.printing import as_json, between, moment, print_json, table
from hoopd.ctl.recordings import pieces


def _state(one: Mapping[str, Any]) -> str:
    if one["tag"] != "closed":
        return str(one["tag"])
    return "whole" if one["whole"] else f"part: {_parts(one.get('ranges'))}"


def _parts(ranges: Any) -> str:
    if ranges is None:
        return "which is not told"
    if not ranges:
        return "nothing of it"
    return ", ".join(f"{first}-{last}" for first, last in ranges)


_COLUMNS = (
    ("ENDED", lambda one: moment(one["at"])),
    ("DIRECTION", lambda one: one["direction"]),
    ("BYTES", lambda one: str(one["bytes"])),
    ("SHA256", lambda one: one["sha256"] or "-"),
    ("STATE", _state),
    ("PATH", lambda one: one["path"] + (f" ({one['name']})" if one.get("name") else "")),
)
_WHOSE = (
    ("SESSION", lambda one: one["session"]),
    ("IDENTITY", lambda one: one["identity"] + (f" for {one['act']}" if one["act"] else "")),
    ("TARGET", lambda one: one["target"]),
)


def found(frames: Sequence[Any]) -> list[dict[str, Any]]:
    """The transfers among the frames of a recording."""
    return [{"at": frame.at, **frame.fields} for frame in frames if frame.kind == "transfer" and frame.complete]


@click.command("transfers")
@click.argument("id", required=False)
@click.option("--path", help="Only of this path at the target; * and ? stand for anything.")
@click.option("--sha256", help="Only files with this hash.")
@click.option("--identity", help="Only this one's: user:priya.")
@click.option("--target", help="Only on this target.")
@between
@as_json
@click.pass_obj
def command(gateway: Gateway, id: str | None, json_: bool, **wanted: Any) -> None:
    """List the files that went to a target or came from it: all of session ID, so far if it runs; without ID those of the last 90
    days, of sealed recordings, the latest 500. Auditors see everybody's, others their own."""
    if id is None:
        listed = gateway.call("sessions.transfers", **wanted)
    elif any(value is not None for value in wanted.values()):
        raise click.UsageError("what is looked for goes with no session's ID")
    else:
        from hoopd.audit import replay as replaying

        listed = found(replaying.load(b"".join(pieces(gateway, id)))[0])
    if json_:
        print_json(listed)
    else:
        table(_COLUMNS if id else (*_WHOSE, *_COLUMNS), listed, "no such file went either way")
