"""Asking for approval ahead: for statements, or for a time; and giving it up. Deciding is L{hoopd.ctl.approvals}."""

from __future__ import annotations

from typing import Any

import click

from hoopd.ctl.connection import Gateway
from hoopd.ctl.printing import Duration, as_json, moment, print_json, span
from hoopd.display import visible

_reason = click.option("--reason", prompt="Reason", help="Why, for those who decide. Asked for if left out.")


@click.group("request")
def command() -> None:
    """Ask for approval before it is needed."""


@command.command("run")
@click.argument("target")
@click.argument("statement", required=False)
@click.option("--file", "-f", "file", type=click.File("rb"), help="Statements from a file; - is standard input.")
@click.option("--database", help="If not the target's first.")
@_reason
@as_json
@click.pass_obj
def run(
    gateway: Gateway,
    target: str,
    statement: str | None,
    file: Any,
    database: str | None,
    reason: str,
    json_: bool,
) -> None:
    """Ask for STATEMENT, or those of a file, exactly as they will be run on TARGET.

    Each may be run once, in this order and in one session, once all of them are approved together. They are judged as
    your own session would: run them with the same identity, database and session settings, and change nothing.
    """
    if (statement is None) == (file is None):
        raise click.UsageError("give one of STATEMENT and --file")
    try:
        text = statement if statement is not None else file.read().decode()
    except UnicodeDecodeError:
        raise click.UsageError("the file is not UTF-8") from None
    _with_reason(reason)
    found = gateway.call("request.statements", target=target, database=database, text=text, reason=reason)
    if json_:
        print_json(found)
        return
    approval = found["approval"]
    if approval is None:
        click.echo("nothing of this needs approval: run it")
        return
    held = [text for text, verdict, _ in found["statements"] if verdict == "hold"]
    one = len(held) == 1
    click.echo(f"{approval['id']}: {approval['state']}; open until {moment(approval['deadline'])}")
    click.echo(
        f"{len(held)} of {len(found['statements'])} statement{'s' if len(found['statements']) > 1 else ''} "
        f"need{'s' if one else ''} it, by {', '.join(terms['rule'] for terms in approval['holds'])}"
    )
    click.echo(f"once approved (hoopctl approvals show {approval['id']}), run exactly the same")


@command.command("window")
@click.argument("target")
@click.option("--do", "do", required=True, help="What it is for: write,ddl. The words are those of docs/policy.md.")
@click.option("--objects", help="Only these relations: public.orders,public.audit_*. All if left out.")
@click.option("--for", "lasts", type=Duration(), required=True, help="For how long, from approval: 30m.")
@_reason
@as_json
@click.pass_obj
def window(gateway: Gateway, target: str, do: str, objects: str | None, lasts: float, reason: str, json_: bool) -> None:
    """Ask for a time in which to run on TARGET what would be held: for a migration, or an evening's work."""
    _with_reason(reason)
    found = gateway.call(
        "request.window", target=target, do=_list(do), objects=_list(objects), lasts=lasts, reason=reason
    )
    if json_:
        print_json(found)
        return
    approval = found["approval"]
    click.echo(f"{approval['id']}: {approval['state']}; open until {moment(approval['deadline'])}")
    click.echo(visible(f"it asks, {approval['redacted']}, under {', '.join(t['rule'] for t in approval['holds'])}"))
    if found["beside"]:
        click.echo(f"not covered, as these allow no window: {', '.join(found['beside'])}")
    click.echo(f"its {span(approval['lasts'])} begin when it is approved")


@command.command("withdraw")
@click.argument("id")
@click.option("--reason", default="withdrawn", show_default=True, help="Why.")
@as_json
@click.pass_obj
def withdraw(gateway: Gateway, id: str, reason: str, json_: bool) -> None:
    """Give up a request of your own, or what you were granted."""
    found = gateway.call("request.withdraw", id=id, why=reason)
    if json_:
        print_json(found)
    else:
        click.echo(f"{id}: {found['state']}")


def _with_reason(reason: str) -> None:
    if not reason.strip():
        raise click.UsageError("--reason is empty: who decides must know why")


def _list(words: str | None) -> list[str] | None:
    return None if words is None else [word.strip() for word in words.split(",") if word.strip()]
