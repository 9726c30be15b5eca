"""Values and errors as JSON bytes, and back; not how the bytes travel (L{hoopd.ipc.arguments}).

JSON by msgspec, typed by the attrs classes of L{hoopd.values}: bytes are base64, and a value of the wrong type is
refused when it is read. This is the only place where a L{Secret} has a written form.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import msgspec

from hoopd.errors import AuthenticationFailed, Denied, HoopdError, RecordError, TargetError, Unavailable
from hoopd.secret import Secret


class WireError(HoopdError):
    """Bytes that are no value of the expected type: the other process is broken or hostile."""


def _open(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    raise TypeError(f"{type(value).__name__} does not travel between processes")


def _close(kind: type, value: Any) -> Any:
    if kind is Secret:
        return Secret(msgspec.convert(value, bytes, builtin_types=(), strict=False))
    raise TypeError(f"{kind.__name__} does not travel between processes")


# sets in an order of their own, not in that of this process's hashes: what people and scripts see stays the same
_encoder = msgspec.json.Encoder(enc_hook=_open, order="deterministic")


@lru_cache(maxsize=256)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, dec_hook=_close)


def encode(value: Any) -> bytes:
    """@return: the JSON form of a value of L{hoopd.values}, or of plain lists, tuples, mappings and scalars.

    @raise TypeError: the value holds something that has no written form.
    """
    return _encoder.encode(value)


def decode(encoded: bytes, kind: Any) -> Any:
    """@param kind: the type to read, as an annotation: C{Approval}, C{list[Approval]} …

    @raise WireError: the bytes are not such a value. The text tells where and which type, never the bytes.
    """
    try:
        return _decoder(kind).decode(encoded)
    except (msgspec.MsgspecError, ValueError, TypeError) as problem:
        raise WireError(f"not a {getattr(kind, '__name__', kind)}: {problem}") from None


#: error classes that keep their class and text between processes; subclasses before their bases
ERRORS: dict[str, type[Exception]] = {
    "authentication": AuthenticationFailed,
    "denied": Denied,
    "target": TargetError,
    "unavailable": Unavailable,
    "record": RecordError,
    "key": KeyError,
    "value": ValueError,
}

#: a description travels in one AMP value (64 KiB); people read a few lines of it
TEXT_MAX = 8192


def error_to_text(error: BaseException | None) -> str | None:
    """@return: the written form of an error that may cross, or None for any other: that stays where it was."""
    word = next((word for word, kind in ERRORS.items() if isinstance(error, kind)), None)
    if word is None or isinstance(error, UnicodeError):
        # the text of a UnicodeError quotes the bytes it stumbled over, and those may be anything
        return None
    fields: dict[str, Any] = {"error": word}
    if isinstance(error, Denied):
        fields |= {
            "text": error.why[:TEXT_MAX],
            "rules": list(error.rules)[:64],
            "hint": error.hint[:TEXT_MAX],
        }
    elif isinstance(error, KeyError):
        fields["text"] = str(error.args[0])[:TEXT_MAX] if error.args else ""
    else:
        fields["text"] = str(error)[:TEXT_MAX]
    return json.dumps(fields)


def error_from_text(text: str) -> Exception:
    """@return: the error that C{text} describes; L{Unavailable} where it describes none."""
    try:
        fields = json.loads(text)
        kind = ERRORS[fields["error"]]
        if issubclass(kind, Denied):
            return kind(str(fields["text"]), tuple(str(rule) for rule in fields["rules"]), str(fields["hint"]))
        return kind(str(fields["text"]))
    except (ValueError, KeyError, TypeError):
        return Unavailable("the answer of another process of the gateway was not understood")
