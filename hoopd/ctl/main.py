"""C{hoopctl}: its options, and which module has which verb; the verbs are in the modules beside this one.

Modules are imported when they are needed: C{hoopctl vault list} does not pay for the parser that C{policy test} needs.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import click

import hoopd
from hoopd.ctl.connection import SOCKET, Gateway, token_path
from hoopd.secret import Secret

#: command to module; each has it as C{command}, or under the name that follows the colon
_COMMANDS = {
    "approvals": "hoopd.ctl.approvals",
    "audit": "hoopd.ctl.audit",
    "bootstrap": "hoopd.ctl.access:bootstrap",
    "bootstrap-token": "hoopd.ctl.access:bootstrap_token",
    "break-glass": "hoopd.ctl.break_glass",
    "config": "hoopd.ctl.config",
    "identities": "hoopd.ctl.identities",
    "login": "hoopd.ctl.access:login",
    "notify": "hoopd.ctl.notify",
    "officer-keys": "hoopd.ctl.officer_keys",
    "policy": "hoopd.ctl.policy",
    "recovery-codes": "hoopd.ctl.recovery",
    "reload": "hoopd.ctl.access:reload",
    "request": "hoopd.ctl.request",
    "sessions": "hoopd.ctl.sessions",
    "setup": "hoopd.ctl.setup",
    "ssh": "hoopd.ctl.ssh",
    "status": "hoopd.ctl.status",
    "tokens": "hoopd.ctl.tokens",
    "vault": "hoopd.ctl.vault",
    "whoami": "hoopd.ctl.access:whoami",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name or "command")
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 well, 1 refused or failed, 2 wrong usage, 3 gateway not reached, 4 verification failed.",
)
@click.option(
    "--socket",
    envvar="HOOPD_SOCKET",
    default=SOCKET,
    show_default=True,
    help="The gateway's control socket; or HOOPD_SOCKET.",
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Whose token to use, mode 0600; otherwise HOOPD_TOKEN, HOOPD_TOKEN_FILE, or what hoopctl login kept.",
)
@click.version_option(hoopd.__version__, prog_name="hoopctl")
@click.pass_context
def main(ctx: click.Context, socket: str, token_file: Path | None) -> None:
    """Administer hoopd, decide what waits for approval, and read the record."""
    ctx.obj = gateway(socket, token_file, dict(os.environ))


def gateway(socket: str, token_file: Path | None, environment: dict[str, str]) -> Gateway:
    """@return: the gateway as it will be asked, and by whom."""
    given = environment.get("HOOPD_TOKEN", "").strip()
    token = Secret(given) if given and token_file is None else None
    kept = Path(environment["HOOPD_TOKEN_FILE"]) if environment.get("HOOPD_TOKEN_FILE") else token_path(environment)
    return Gateway(socket, token_file or kept, token)


if __name__ == "__main__":
    main()
