"""Signing in and looking around: login, bootstrap, whoami, status, reload."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hoopd.ctl.connection import Gateway, write_token
from hoopd.ctl.failures import Failure
from hoopd.ctl.printing import Duration, as_json, moment, pairs, print_json, value_from_stdin_or_prompt, words
from hoopd.identity import recovery_codes
from hoopd.secret import Secret


@click.command()
@click.option("--name", help="Sign in as this person, by password; otherwise a token is asked for.")
@click.option("--lifetime", type=Duration(), help="With --name: how long, such as 8h; 12h otherwise.")
@click.option("--show", is_flag=True, help="Print the token instead of keeping it: psql takes it as password.")
@click.pass_obj
def login(gateway: Gateway, name: str | None, lifetime: float | None, show: bool) -> None:
    """Sign in for the next calls, by a token, a password or a recovery code, from a prompt or standard input.

    What is kept, in ~/.config/hoopd/token (mode 0600) or --token-file, is a token that was tried.
    """
    if name is not None:
        password = value_from_stdin_or_prompt("Password")
        if recovery_codes.shaped(password.encode()) and recovery_codes.parse(password.encode()) is None:
            # found here it costs no pause, and tells whoever listens nothing
            raise click.UsageError("the recovery code is mistyped: one of its letters is not what is on the sheet")
        who = name if ":" in name else f"user:{name}"
        issued = gateway.call("login", Secret("-"), name=who, password=password, lifetime=lifetime)
        who, token = issued["entry"]["identity"], Secret(issued["token"])
        if "remaining" in issued:
            until = moment(issued["entry"]["expires_at"])
            click.echo(f"a recovery code was used; {issued['remaining']} remain; good until {until}", err=True)
    else:
        token = Secret(value_from_stdin_or_prompt("Token").strip())
        who = gateway.call("whoami", token)["name"]
    if show:
        click.echo(token.reveal().decode())
        return
    write_token(gateway.token_file, token)
    click.echo(f"signed in as {who}; the token is kept in {gateway.token_file}")


@click.command("bootstrap-token")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    default="/var/lib/hoopd",
    show_default=True,
    help="The gateway's state directory (paths.state).",
)
def bootstrap_token(state: Path) -> None:
    """Print the one-time token that makes the first administrator.

    Only the user who runs the gateway can read it. It is there until it is used, for a day after a start.
    """
    path = state / "bootstrap-token"
    try:
        token = path.read_text().strip()
    except FileNotFoundError:
        raise Failure(
            "there is no one-time token",
            [f"{path} is not there: there is an administrator already, or hoopd never ran with this state directory"],
            "restart hoopd to make one, if there really is no administrator; or name --state",
        ) from None
    except PermissionError:
        why = [f"{path} is for the user that runs hoopd alone"]
        raise Failure("the one-time token is not for this user", why, "sudo -u hoopd hoopctl bootstrap-token") from None
    except OSError as problem:
        raise Failure(f"the one-time token cannot be read: {problem.strerror}", [str(path)]) from None
    click.echo(token)


@click.command()
@click.option("--name", required=True, help="Who becomes the first administrator: user:NAME, or just NAME.")
@click.option("--show", is_flag=True, help="Print the administrator's token instead of keeping it.")
@click.option("--replace", is_flag=True, help="Replace the token that is kept here already.")
@click.pass_obj
def bootstrap(gateway: Gateway, name: str, show: bool, replace: bool) -> None:
    """Become the first administrator, once, by the one-time token from a prompt or standard input.

    \b
    hoopctl bootstrap-token | hoopctl bootstrap --name user:ada
    """
    if not show and not replace and gateway.token_file.exists():
        # found before the one-time token is spent
        why = [f"{gateway.token_file} would be lost"]
        raise Failure("there is a token already", why, "--replace, or --token-file PATH, or --show")
    token = Secret(value_from_stdin_or_prompt("One-time token").strip())
    issued = gateway.call("bootstrap", token, name=name if ":" in name else f"user:{name}")
    given, entry = issued["token"], issued["entry"]
    if show:
        click.echo(given)
        return
    try:
        write_token(gateway.token_file, Secret(given))
    except Failure as failure:
        # the one-time token is spent: this one must not be lost
        click.echo(given)
        raise Failure(f"{failure.message}; it is printed above, once", failure.why, "hoopctl login") from None
    click.echo(f"{entry['identity']} is the first administrator; the token, good until {moment(entry['expires_at'])},")
    click.echo(f"is kept in {gateway.token_file}")


@click.command()
@as_json
@click.pass_obj
def whoami(gateway: Gateway, json_: bool) -> None:
    """Say who your token makes you, and what you may do."""
    caller = gateway.call("whoami")
    if json_:
        print_json(caller)
        return
    scopes = caller.get("scopes")
    pairs(
        [
            ("identity", f"{caller['name']} ({caller['kind']})"),
            ("groups", words(caller.get("groups"))),
            ("duties", words(caller.get("duties"))),
            (
                "do not count",
                words(caller["withheld"]) + " (they exclude each other)" if caller.get("withheld") else "",
            ),
            ("scopes", "not narrowed" if scopes is None else words(scopes)),
            ("on behalf of", caller.get("act") or ""),
            ("proof", caller.get("proof") or ""),
            ("proof lapses", moment(caller.get("expires_at"))),
        ]
    )


@click.command()
@click.pass_obj
def reload(gateway: Gateway) -> None:
    """Check the configuration on disk and run with it; a wrong one changes nothing."""
    gateway.call("reload")
    click.echo("the new configuration is good: reloading; sessions go on", file=sys.stdout)
