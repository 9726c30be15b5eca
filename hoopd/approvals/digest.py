"""What an approval is bound to: a keyed digest of the exact operation; pure.

HMAC-SHA-256 (RFC 2104) over length-prefixed parts, so that no two operations have one encoding. Keyed, because what
is digested may be short and secret: without the broker's key nobody finds a password by trying.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable

from hoopd.values import HeldOperation, HoldTerms

_CONTEXT = b"hoopd approval 1"
_JOINT = b"hoopd approvals together 1"
_LENGTH = struct.Struct(">Q")


def operation_digest(key: bytes, identity: str, act: str | None, target: str, held: HeldOperation) -> str:
    """
    @param key: the broker's, at least 32 bytes.
    @param identity: name of the requester; C{act} on whose behalf.
    @return: 64 hexadecimal digits.
    @raise ValueError: the key is too short.
    """
    if len(key) < 32:
        raise ValueError("the key of approval digests has at least 32 bytes")
    mac = hmac.new(key, digestmod=hashlib.sha256)
    parts = [
        _CONTEXT,
        identity.encode(),
        b"" if act is None else b"act " + act.encode(),
        target.encode(),
        held.protocol.encode(),
        held.context.encode(),
        held.statement,
        held.parameters,
        # who must agree: when the rules change, what was approved under the old ones is not joined
        *(_terms(terms) for terms in sorted(held.holds, key=lambda terms: terms.rule)),
        # what break glass lets pass beside them: an approval of the operation alone is not one of that
        *(b"skipped " + rule.encode() for rule in sorted(held.skipped)),
    ]
    for part in parts:
        mac.update(_LENGTH.pack(len(part)))
        mac.update(part)
    return mac.hexdigest()


def joint_digest(key: bytes, parts: Iterable[str]) -> str:
    """One digest of what is asked for together: of several operations' digests, or of what a window is for.

    @return: 64 hexadecimal digits. @raise ValueError: the key is too short.
    """
    if len(key) < 32:
        raise ValueError("the key of approval digests has at least 32 bytes")
    mac = hmac.new(key, _JOINT, hashlib.sha256)
    for part in parts:
        mac.update(_LENGTH.pack(len(part.encode())))
        mac.update(part.encode())
    return mac.hexdigest()


def _terms(terms: HoldTerms) -> bytes:
    words = (terms.rule, str(terms.quorum), *sorted(terms.by))
    return b"".join(_LENGTH.pack(len(word.encode())) + word.encode() for word in words)


def same(one: str, other: str) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(one, other)
