"""How COPY … TO STDOUT writes its rows, as far as masks need it: format, delimiter, quotes; not the rows themselves.

Specification: PostgreSQL documentation, COPY. What is not listed here is refused where columns are masked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from hoopd.sql.grammar import Node, only
from hoopd.values import Mask

_TRUE = frozenset(("true", "on", "1"))
_FALSE = frozenset(("false", "off", "0"))
#: change neither where a value ends nor how it is written
_HARMLESS = frozenset(("force_quote", "freeze"))
_UTF8 = frozenset(("utf8", "utf-8", "unicode"))


@frozen
class CopyFormat:
    """@ivar kind: text, csv or binary. @ivar header: the first line has the columns' names."""

    kind: str = "text"
    delimiter: bytes = b"\t"
    null: bytes = b"\\N"
    quote: bytes = b'"'
    escape: bytes = b'"'
    header: bool = False


@frozen
class CopyPlan:
    """Of the columns in order: their masks (None: shown), types (0: not known) and names."""

    masks: tuple[Mask | None, ...]
    types: tuple[int, ...]
    names: tuple[str, ...]
    format: CopyFormat


def copy_format(options: Sequence[Any], utf8: bool) -> CopyFormat:
    """
    @param utf8: the client's encoding is UTF-8, where no byte of a longer character looks like a delimiter
    @raise ValueError: an option that is not known, with words for the client
    """
    given: dict[str, Node] = {}
    for each in options:
        body = only(each)[1]
        name = body.get("defname", "")
        if name in given:
            raise ValueError(f"the option {name} comes twice")
        given[name] = only(body.get("arg"))[1]
    kind = _text(given.pop("format", {}), "text")
    if kind not in ("text", "csv", "binary"):
        raise ValueError(f"the format {kind} is not known")
    header = _header(given.pop("header")) if "header" in given else False
    if _text(given.pop("encoding", {}), "utf8").lower() not in _UTF8:
        raise ValueError("only the encoding UTF8 is possible")
    default = CopyFormat(kind, b",", b"") if kind == "csv" else CopyFormat(kind)
    characters = {
        name: _text(given.pop(name), "").encode() for name in ("delimiter", "quote", "escape") if name in given
    }
    null = _text(given.pop("null"), "").encode() if "null" in given else default.null
    unknown = sorted(set(given) - _HARMLESS)
    if unknown:
        raise ValueError(f"the option {unknown[0]} is not known")
    if any(len(each) != 1 for each in characters.values()):
        raise ValueError("delimiter, quote and escape are single bytes")
    if not utf8 and (characters or null != default.null):
        raise ValueError("with a client encoding other than UTF8 only default options are possible")
    quote = characters.get("quote", default.quote)
    return CopyFormat(
        kind, characters.get("delimiter", default.delimiter), null, quote, characters.get("escape", quote), header
    )


def _text(node: Node, default: str) -> str:
    value: str = node.get("sval", default)
    return value


def _header(node: Node) -> bool:
    if not node:
        return True
    word = str(node.get("sval", node.get("boolval", node.get("ival", 0)))).lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(f"header cannot be {word}")
