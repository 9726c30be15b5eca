"""Signatures of webhooks as Standard Webhooks has them (specification 1.0.0, symmetric scheme C{v1}); pure.

A secret is C{whsec_} and the base64 of 24 to 64 bytes. While one is replaced by another the vault's value has both,
separated by white space: a message then carries a signature by each.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

PREFIX = b"whsec_"
KEY_MIN, KEY_MAX = 24, 64


def keys(value: bytes) -> list[bytes]:
    """@return: the keys in a vault secret. @raise ValueError: there is something else in it; the text quotes none of it."""
    found = []
    for word in value.split():
        try:
            key = base64.b64decode(word.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            key = b""
        if not word.startswith(PREFIX) or not KEY_MIN <= len(key) <= KEY_MAX:
            raise ValueError(f"the secret is no signing key: whsec_ and base64 of {KEY_MIN} to {KEY_MAX} bytes")
        found.append(key)
    if not found:
        raise ValueError("the secret is empty")
    return found


def signature(signing: Sequence[bytes], id: str, timestamp: int, body: bytes) -> str:
    """@param timestamp: of this attempt, whole epoch seconds; signed, so that receivers may bound it.

    @return: the value of the header C{webhook-signature}.
    """
    signed = f"{id}.{timestamp}.".encode() + body
    made = (base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in signing)
    return " ".join(f"v1,{each}" for each in made)
