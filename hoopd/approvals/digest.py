"""Binds an approval to one operation: HMAC-SHA-256 (RFC 2104) over everything that makes it that one.

Each part is preceded by its length, so that no two different operations have the same bytes. The key stays with the
broker: the digest in store and ledger tells nothing about the statement to whoever guesses.
"""

from __future__ import annotations

import hashlib
import hmac

from hoopd.values import HeldOperation


def digest(key: bytes, identity: str, act: str | None, target: str, held: HeldOperation) -> str:
    """@return: 64 hexadecimal digits"""
    state = hmac.new(key, b"hoopd held operation 1\0", hashlib.sha256)
    parts = (
        identity.encode(),
        b"" if act is None else b"\1" + act.encode(),
        target.encode(),
        held.protocol.encode(),
        held.context.encode(),
        held.statement,
        held.parameters,
    )
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.hexdigest()
