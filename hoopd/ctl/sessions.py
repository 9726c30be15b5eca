"""The record of sessions: which there were, and what was said in them."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from hoopd.ctl import transfers, watch
from hoopd.ctl.connection import Gateway
from hoopd.ctl.failures import UNVERIFIED, Failure
from hoopd.ctl.printing import Duration, as_json, between, moment, pairs, print_json, span, table
from hoopd.ctl.recordings import pieces


def _how_long(session: Mapping[str, Any]) -> str:
    if session["ended_at"] is None:
        return "running"
    return span(session["ended_at"] - session["started_at"])


_COLUMNS = (
    ("SESSION", lambda one: one["id"]),
    ("STARTED", lambda one: moment(one["started_at"])),
    ("LASTED", _how_long),
    ("IDENTITY", lambda one: one["identity"] + (f" for {one['act']}" if one["act"] else "")),
    ("TARGET", lambda one: one["target"]),
    ("OPERATIONS", lambda one: str(one["operations"])),
    ("DENIED", lambda one: str(one["denied"])),
    ("HELD", lambda one: str(one["held"])),
)


@click.group("sessions")
def command() -> None:
    """Sessions and their recordings."""


command.add_command(transfers.command)


@command.command("list")
@click.option("--identity", help="Only this one's: user:priya.")
@click.option("--target", help="Only on this target.")
@between
@as_json
@click.pass_obj
def list_(
    gateway: Gateway,
    identity: str | None,
    target: str | None,
    since: float | None,
    until: float | None,
    json_: bool,
) -> None:
    """List sessions, newest first; auditors see everybody's, others their own."""
    found = gateway.call("sessions.list", identity=identity, target=target, since=since, until=until)
    if json_:
        print_json(found)
    else:
        table(_COLUMNS, found, "there are no such sessions")


@command.command("show")
@click.argument("id")
@as_json
@click.pass_obj
def show(gateway: Gateway, id: str, json_: bool) -> None:
    """Show one session's facts."""
    found = gateway.call("sessions.show", id=id)
    if json_:
        print_json(found)
        return
    ended = found["ended_at"]
    pairs(
        [
            ("session", found["id"]),
            ("identity", f"{found['identity']} ({found['kind']})"),
            ("on behalf of", found["act"] or ""),
            ("target", f"{found['target']} ({found['protocol']})"),
            ("from", found["peer"]),
            ("started", moment(found["started_at"])),
            ("ended", f"{moment(ended)}: {found['ended_why']}" if ended else "it runs"),
            ("operations", f"{found['operations']}, {found['denied']} refused, {found['held']} held"),
            ("recording", found["recording"]),
        ]
    )


@command.command("end")
@click.argument("id")
@click.option("--reason", prompt="Reason", help="Why; the client is told, and it is kept for ever.")
@click.pass_obj
def end(gateway: Gateway, id: str, reason: str) -> None:
    """End session ID now, whatever it does. Its identity may connect again: see identities disable, tokens revoke."""
    if not reason.strip():
        raise click.UsageError("--reason is empty: say why, for its user and for the record")
    gateway.call("sessions.end", id=id, reason=reason)
    click.echo(f"{id} was told to end")


command.add_command(watch.command)


@command.command("replay")
@click.argument("id")
@click.option("--speed", type=click.FloatRange(0.01, 1000), default=1.0, help="So many times as fast.")
@click.option("--at-once", is_flag=True, help="Without pauses; so it is when the output is no terminal.")
@click.option(
    "--terminal", is_flag=True, help="Play what an SSH terminal showed, with colours and cursor; nothing else."
)
@click.option("--operation", type=int, help="With --terminal: which one, where the session had several.")
@click.option("--idle", type=Duration(), default="5s", show_default=True, help="Longest pause.")
@click.option("--from", "start", type=Duration(), default="0s", help="With --terminal: begin so far in.")
@as_json
@click.pass_obj
def replay(
    gateway: Gateway,
    id: str,
    speed: float,
    at_once: bool,
    terminal: bool,
    operation: int | None,
    idle: float,
    start: float,
    json_: bool,
) -> None:
    """Show what was said in session ID, as it was said; --json prints a frame a line."""
    from hoopd.audit import replay as replaying

    frames, problem = replaying.load(b"".join(pieces(gateway, id)))
    if json_:
        import json

        for frame in frames:
            click.echo(json.dumps({"kind": frame.kind, "at": frame.at, **frame.fields}))
    else:
        paused = speed if not at_once and sys.stdout.isatty() else 0.0
        steps = replaying.render(frames, paused, idle)
        if terminal:
            from hoopd.audit import terminal as screen

            steps = screen.played(screen.moments(frames, _terminal(frames, operation)), paused, idle, start)
        for delay, text in steps:
            if delay > 0:
                time.sleep(delay)
            click.echo(text, nl=False)
        if terminal and sys.stdout.isatty():
            click.echo(screen.RESTORED, nl=False)
    if problem is not None:
        click.echo(f"hoopctl: the recording is not whole after this: {problem}", err=True)
        if gateway.call("sessions.show", id=id)["ended_at"] is not None:
            raise Failure(
                "the recording of a session that is over ends in a part of a frame",
                ["its worker was killed while it wrote, or the file was changed"],
                "hoopctl audit verify says whether what is sealed is whole",
                UNVERIFIED,
            )


@command.command("export")
@click.argument("id")
@click.option("--operation", type=int, help="Which one, where the session had several terminals.")
@click.pass_obj
def export(gateway: Gateway, id: str, operation: int | None) -> None:
    """Write the terminal of SSH session ID as asciicast v2, for asciinema's players, to standard output."""
    from hoopd.audit import replay as replaying
    from hoopd.audit import terminal as screen

    frames, _ = replaying.load(b"".join(pieces(gateway, id)))
    chosen = _terminal(frames, operation)
    began = next(frame.at for frame in frames if frame.fields.get("operation") == chosen)
    for line in screen.asciicast(screen.moments(frames, chosen), began, f"{id} operation {chosen}"):
        click.echo(line)


def _terminal(frames: Sequence[Any], operation: int | None) -> int:
    from hoopd.audit import terminal as screen

    found = screen.operations(frames)
    if operation is None and len(found) > 1:
        raise click.UsageError(f"the session had several terminals: --operation {' or '.join(map(str, found))}")
    if not found or operation not in (None, *found):
        raise Failure("the session had no such terminal", [], "hoopctl sessions replay without --terminal shows it all")
    return found[0] if operation is None else operation
