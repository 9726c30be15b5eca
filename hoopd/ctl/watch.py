"""Watching a session while it runs: pieces of its recording from the gateway, shown as they come."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.failures import Failure
from hoopd.ctl.printing import as_json
from hoopd.display import visible


class _Watch:
    """
    @ivar over: why nothing more comes, once nothing does.
    """

    def __init__(self, gateway: Gateway, session: str) -> None:
        self._gateway = gateway
        begun = gateway.call("sessions.watch", id=session)
        self.id: str = begun["watch"]
        self.size: int = begun["size"]
        self.over = ""
        self.read = 0

    def pieces(self) -> Iterator[bytes]:
        while not self.over:
            found = self._gateway.call("sessions.watch-more", id=self.id, offset=self.read)
            piece = base64.b64decode(found["bytes"])
            self.read += len(piece)
            self.over = found["over"]
            yield piece

    def leave(self) -> None:
        if not self.over:
            # who cannot say it is taken to be gone in a while
            with contextlib.suppress(Failure):
                self._gateway.call("sessions.watch-end", id=self.id)


@click.command("watch")
@click.argument("id")
@click.option("--operation", type=int, help="Only the terminal of this one, where the session has several.")
@as_json
@click.pass_obj
def command(gateway: Gateway, id: str, operation: int | None, json_: bool) -> None:
    """Show what is said in session ID while it runs: its terminal where it has one. Ctrl-C leaves; the session goes on.

    Auditors watch anybody's, others their own; beginning and end are in the ledger. --json prints a frame a line.
    """
    from hoopd.audit import live
    from hoopd.audit.recording import RecordingError

    watch = _Watch(gateway, id)
    view = live.View(operation)
    try:
        _show(watch, view, json_)
        said = f"{id} is over: {visible(watch.over)}"
    except RecordingError as problem:
        raise Failure(
            f"the recording is no recording from here on: {problem}",
            ["it was changed while it was written, or is of a newer hoopd"],
            "hoopctl audit verify says whether what is sealed is whole",
        ) from None
    except KeyboardInterrupt:
        said = "left; the session goes on"
    finally:
        click.echo(view.end(), nl=False, color=True)
        watch.leave()
    click.echo(f"hoopctl: {said}", err=True)


def _show(watch: _Watch, view: Any, json_: bool) -> None:
    from hoopd.audit import live

    reader = live.Reader()
    before = True
    for piece in watch.pieces():
        for entry in reader.feed(piece):
            if json_:
                click.echo(json.dumps({"kind": entry.kind, "at": entry.at, **entry.fields}))
            else:
                click.echo(view.take(entry), nl=False, color=True)
        if before and not json_ and (watch.read >= watch.size or watch.over):
            before = False
            click.echo(view.now(), nl=False, color=True)
