"""What people and recordings may see of a statement's text; not masks of results (L{hoopd.masking}).

Literals are taken out where the statement names a masked column, or where its meaning is not known; passwords always.
The scanner follows PostgreSQL's lexical structure (manual, section 4.1): quotes, escapes, dollar quotes, nested comments.
"""

from __future__ import annotations

import re

from hoopd.sql.analysis import Analysis, SessionSettings, Statement, undecodable
from hoopd.sql.catalogue import Catalogue
from hoopd.sql.lineage import output_plan
from hoopd.values import Mask

#: statements whose literals may be secrets whatever the masks say
_SECRET_KINDS = frozenset(
    """
    CreateRoleStmt AlterRoleStmt CreateUserMappingStmt AlterUserMappingStmt CreateForeignServerStmt
    AlterForeignServerStmt CreateSubscriptionStmt AlterSubscriptionStmt AlterSystemStmt AlterRoleSetStmt
    CreateFdwStmt AlterFdwStmt CreateForeignTableStmt ImportForeignSchemaStmt
    """.split()
)

#: functions that take keys, passwords or connection strings, besides those of the class C{network}
_SECRET_FUNCTIONS = frozenset(
    """
    crypt hmac encrypt decrypt encrypt_iv decrypt_iv pgp_sym_encrypt pgp_sym_decrypt pgp_sym_encrypt_bytea
    pgp_sym_decrypt_bytea pgp_pub_decrypt pgp_pub_decrypt_bytea
    """.split()
)

#: where somebody writes this word a secret is near: DO blocks and function bodies with ALTER USER, connection strings,
#: comparisons with a column of that name
_SECRET_WORD = re.compile(rb"passw(?:or)?d|passphrase|secret|api_?key|private_?key|credential", re.IGNORECASE)

_TOKEN = re.compile(
    r"""
    (?P<comment>--[^\n\r]*)
  | (?P<block>/\*)
  | (?P<escape>[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z))
  | (?P<string>(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*(?:'|\Z))
  | (?P<dollar>\$(?P<tag>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_\x80-\U0010ffff]*)?\$)
  | (?P<quoted>"(?:[^"]|"")*(?:"|\Z))
  | (?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)
  | (?P<parameter>\$[0-9]+)
  | (?P<number>[0-9][0-9A-Za-z_]*(?:\.[0-9_]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9][0-9_]*(?:[eE][+-]?[0-9]+)?)
  | (?P<other>[\s,()=<>*+;:\[\]]+|.)
    """,
    re.VERBOSE | re.DOTALL,
)

#: bytes shown of a text that could not be read: as much takes a millisecond
START = 8192

_QUOTE = re.compile(r"['$0-9]|[^\x00-\x7f]")
_COMMENT_END = re.compile(r"/\*|\*/")


def redact_tokens(text: str) -> str:
    """C{text} with every string, number and comment replaced; names, keywords and operators stay.

    What is not closed (a quote, a comment) is taken out to the end.
    """
    out: list[str] = []
    at = 0
    closed = False
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise AssertionError("the last alternative takes any character")
        kind = match.lastgroup if match.lastgroup != "tag" else "dollar"
        at = match.end()
        if kind == "word" and closed:
            # 'it's: a quote that was not doubled leaves the rest of a value outside
            kind = "number"
        closed = kind in ("escape", "string", "dollar") or (closed and kind == "number")
        if kind == "comment":
            out.append("--…")
        elif kind == "block":
            at = _block_end(text, at)
            out.append("/*…*/")
        elif kind in ("escape", "string"):
            out.append("'…'")
        elif kind == "dollar":
            end = text.find(match.group("dollar"), at)
            at = len(text) if end < 0 else end + len(match.group("dollar"))
            out.append("'…'")
        elif kind == "number":
            out.append("…")
        else:
            out.append(match.group())
    return "".join(out)


def redact_start(text: bytes) -> str:
    """The beginning of a text that nobody has read, with its literals taken out."""
    shown = redact_tokens(text[:START].decode("utf-8", "replace"))
    return shown if len(text) <= START else f"{shown}… ({len(text)} bytes, not read)"


def _block_end(text: str, at: int) -> int:
    depth = 1
    for match in _COMMENT_END.finditer(text, at):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return match.end()
    return len(text)


def redact(
    analysis: Analysis,
    masks: tuple[Mask, ...],
    catalogue: Catalogue | None,
    settings: SessionSettings,
    trusted_functions: tuple[str, ...] = (),
) -> str:
    """The text of C{analysis} as it may be recorded and shown."""
    if masks in analysis.redacted:
        return analysis.redacted[masks]
    text = analysis.text.decode(errors="replace")
    if analysis.refused and undecodable(analysis.text, settings):
        # where strings end is not known
        return text[: _first_quote(text)] + ("…" if _first_quote(text) < len(text) else "")
    if not analysis.statements:
        return redact_tokens(text) if analysis.refused else text
    # people see what a name stands for
    meant = [each.source.text.decode(errors="replace") for each in analysis.statements if each.source is not None]
    parts = [text, *dict.fromkeys(meant)]
    if any(_sensitive(each, masks, catalogue, settings, trusted_functions) for each in analysis.statements):
        parts = [redact_tokens(each) for each in parts]
    return "\n-- which is: ".join(parts)


def _first_quote(text: str) -> int:
    found = _QUOTE.search(text)
    return found.start() if found else len(text)


def _sensitive(
    statement: Statement,
    masks: tuple[Mask, ...],
    catalogue: Catalogue | None,
    settings: SessionSettings,
    trusted_functions: tuple[str, ...],
) -> bool:
    if statement.known is not None:
        return statement.known.sensitive.get(masks, True)
    if statement.kind in _SECRET_KINDS or "network" in statement.classes or _SECRET_WORD.search(statement.text):
        return True
    if any(name.rpartition(".")[2] in _SECRET_FUNCTIONS for name in statement.facts.get("called", ())):
        return True
    return bool(masks) and output_plan(statement, masks, catalogue, settings, trusted_functions).suspicious


def parameters_to_redact(
    statement: Statement,
    masks: tuple[Mask, ...],
    catalogue: Catalogue | None,
    settings: SessionSettings,
    trusted_functions: tuple[str, ...] = (),
) -> frozenset[int] | str:
    """Numbers (from 1) of the bind parameters that must not be recorded in clear, or C{"all"}."""
    if _sensitive(statement, masks, catalogue, settings, trusted_functions):
        return "all"
    return frozenset()
