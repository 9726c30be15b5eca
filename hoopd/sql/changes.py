"""What SET, set_config(), transactions, DISCARD and DEALLOCATE change in a session, and which of it cannot be followed.

Not whether it happened: the server's replies say so (L{hoopd.sql.variables} keeps it then).
"""

from __future__ import annotations

from typing import Any

from hoopd.sql import settings as session_settings
from hoopd.sql.grammar import Node, names, only, walk
from hoopd.sql.variables import FOLLOWED, Effect, path_of

_TRANSACTION = {
    "TRANS_STMT_BEGIN": "begin",
    "TRANS_STMT_START": "begin",
    "TRANS_STMT_COMMIT": "commit",
    "TRANS_STMT_ROLLBACK": "rollback",
    "TRANS_STMT_SAVEPOINT": "savepoint",
    "TRANS_STMT_RELEASE": "release",
    "TRANS_STMT_ROLLBACK_TO": "rollback-to",
}

#: what a SELECT of set_config() may have besides: nothing that could keep it from running once
_BARE = frozenset({"targetList", "limitOption", "op"})

_OFF = frozenset({"off", "false", "no", "0", "f", "n", "of"})

#: they let a session write that was not to
_READ_ONLY = frozenset({"default_transaction_read_only", "transaction_read_only"})


def variable_set(found: Any, node: Node) -> None:
    """SET and RESET. @param found: L{hoopd.sql.analysis._Findings}"""
    name = node.get("name", "").lower()
    kind = node.get("kind", "")
    if kind == "VAR_RESET_ALL":
        found.classes.add("session")
        found.effect = Effect("reset", None)
        return
    if kind == "VAR_SET_MULTI":
        found.classes.add("transaction" if name == "transaction" else "session")
        if name not in ("transaction", "session characteristics"):
            found.refused = "a snapshot cannot be followed"
        _modes(found, node.get("args", []))
        return
    values = _arguments(node)
    value = ", ".join(values) if values else None
    reset = kind in ("VAR_RESET", "VAR_SET_DEFAULT")
    local = bool(node.get("is_local"))
    if name in session_settings.OWN:
        found.classes.add("session")
        found.effect = Effect("reset" if reset else "set", name, None if reset else value, local=local)
        return
    if kind == "VAR_SET_CURRENT":
        found.classes.add("session")
        found.refused = "SET … FROM CURRENT cannot be followed"
        return
    path = tuple(values) if name == "search_path" and not reset else None
    _changed(found, name, None if reset else value, path, local)


def _changed(found: Any, name: str, value: str | None, path: tuple[str, ...] | None, local: bool) -> None:
    """A setting gets a value; None is what the session began with."""
    found.effect = Effect("reset" if value is None and path is None else "set", name, value, path, local)
    if name == "role":
        found.classes.add("session-privileged")
        if value is not None and value.lower() == "none":
            # SET ROLE NONE and RESET ROLE differ only where the connection was opened with a role: ours are not
            found.effect = Effect("reset", name, local=local)
        return
    if name in session_settings.PRIVILEGED:
        found.classes.add("session-privileged")
        if found.effect.kind != "reset":
            found.refused = f"SET {name} changes whose rights the session has; hoopd cannot follow it"
        return
    found.classes.add("session")
    if name == "search_path":
        _path(found, path)
        return
    fixed = session_settings.FIXED.get(name)
    if name not in session_settings.HARMLESS:
        found.refused = f"SET {name} is not among the settings that hoopd follows (docs/sql.md lists them)"
    elif fixed and value is not None and value.lower() not in fixed:
        found.refused = f"{name} can only be set to {fixed[0]} through hoopd"
    if name in _READ_ONLY and (value is None or value.lower() in _OFF):
        found.classes.add("read-write")


def _path(found: Any, path: tuple[str, ...] | None) -> None:
    if path is None:
        return
    if "pg_catalog" in path[1:]:
        # names of the server's own functions, types and catalogs would mean the users' first
        found.refused = "pg_catalog may only stand first in search_path, or be left out, which means the same"
    elif any(len(each.encode()) > 63 for each in path):
        found.refused = "a schema's name has at most 63 bytes"


def _modes(found: Any, options: list[Node]) -> None:
    """SET TRANSACTION, SET SESSION CHARACTERISTICS, BEGIN: a session that is read-only may be made to write."""
    for each in options:
        body = only(each)[1]
        if body.get("defname") == "transaction_read_only":
            value = only(body.get("arg"))[1].get("ival", {})
            if not value.get("ival", 0):
                found.classes.add("read-write")


def _arguments(node: Node) -> list[str]:
    """The values of SET, as text."""
    values = []
    for each in node.get("args", ()):
        tag, body = only(each)
        if tag == "TypeCast":
            tag, body = only(body.get("arg"))
        if "sval" in body:
            values.append(body["sval"].get("sval", ""))
        elif "ival" in body:
            values.append(str(body["ival"].get("ival", 0)))
        elif "fval" in body:
            values.append(body["fval"].get("fval", ""))
        elif "boolval" in body:
            values.append("on" if body["boolval"].get("boolval") else "off")
    return values


def variable_show(found: Any, node: Node) -> None:
    found.classes.add("introspect")
    found.effect = Effect("show", node.get("name", "").lower())


def transaction(found: Any, node: Node) -> None:
    found.classes.add("transaction")
    kind = node.get("kind", "")
    if kind not in _TRANSACTION:
        found.refused = "two-phase commit outlives the session: hoopd cannot attribute it"
        return
    _modes(found, node.get("options", []))
    found.effect = Effect(_TRANSACTION[kind], node.get("savepoint_name"), "chain" if node.get("chain") else None)


def discard(found: Any, node: Node) -> None:
    found.classes.add("session")
    found.effect = Effect("discard", node.get("target", "").removeprefix("DISCARD_").lower())


def deallocate(found: Any, node: Node) -> None:
    found.classes.add("session")
    found.effect = Effect("deallocate", node.get("name") or None)


def close_portal(found: Any, node: Node) -> None:
    found.classes.add("session")
    found.effect = Effect("close", node.get("portalname") or None)


def configured(found: Any, kind: str, node: Node) -> None:
    """set_config() in a statement: harmless names anywhere, those that must be followed where they surely run once.

    Sets C{found.refused} for every other use.
    """
    calls = [body for tag, body in walk({kind: node}) if tag == "FuncCall" and _is_set_config(body)]
    for call in calls:
        if any(each in call for each in ("agg_filter", "over", "agg_order", "agg_distinct", "func_variadic")):
            found.refused = "set_config() cannot be followed here"
            return
        arguments = [_text(each) for each in call.get("args", ())]
        name = (arguments[0] or "").lower() if arguments and arguments[0] is not None else _listed(found, kind, node)
        if name in session_settings.HARMLESS and name not in session_settings.FIXED:
            # cost, timing, how values are written: wherever, and however often
            found.classes.add("session")
            if name in _READ_ONLY:
                found.classes.add("read-write")
            continue
        once = len(calls) == 1 and kind == "SelectStmt" and not set(node) - _BARE and _is_target(node, call)
        value, local = (arguments[1], _boolean(call["args"][2])) if len(arguments) == 3 else (None, None)
        if name not in FOLLOWED or not once or value is None or local is None:
            found.classes.add("session-privileged")
            found.refused = "set_config() changes settings in a way hoopd cannot follow; use SET"
            return
        path = path_of(value) if name == "search_path" else None
        if name == "search_path" and path is None:
            found.refused = "this search_path cannot be read"
            return
        _changed(found, name, value, path, local)


def _is_set_config(body: Node) -> bool:
    return names(body.get("funcname")) in (("set_config",), ("pg_catalog", "set_config"))


def _is_target(node: Node, call: Node) -> bool:
    return any(only(only(each)[1].get("val"))[1] is call for each in node.get("targetList", ()))


def _listed(found: Any, kind: str, node: Node) -> str:
    """The one name that C{set_config(name, …) FROM pg_settings WHERE name = 'x'} is called with, as pg_dump asks."""
    if kind != "SelectStmt" or set(node) - _BARE - {"fromClause", "whereClause"} or found.settings.temporary:
        return ""
    tables, where = node.get("fromClause", []), only(node.get("whereClause"))
    tag, table = only(tables[0]) if len(tables) == 1 else ("", {})
    if (
        tag != "RangeVar"
        or table.get("relname") != "pg_settings"
        or table.get("schemaname", "") not in ("", "pg_catalog")
    ):
        return ""
    if table.get("alias") or where[0] != "A_Expr" or names(where[1].get("name")) != ("=",):
        return ""
    if names(only(where[1].get("lexpr"))[1].get("fields")) != ("name",):
        return ""
    return (_text(where[1].get("rexpr")) or "").lower()


def _text(node: Any) -> str | None:
    tag, body = only(node)
    return body["sval"].get("sval", "") if tag == "A_Const" and "sval" in body else None


def _boolean(node: Any) -> bool | None:
    tag, body = only(node)
    if tag == "TypeCast":
        tag, body = only(body.get("arg"))
    if tag == "A_Const" and "boolval" in body:
        return bool(body["boolval"].get("boolval", False))
    return None
