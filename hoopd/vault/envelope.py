"""Envelope encryption: a value under its own data key, the data key under the master key; pure, no storage.

AES-256-GCM (NIST SP 800-38D) twice. The associated data binds both to installation, name and version, and the
wrapped key to its master key, so that a row copied to another name, another installation or another version does not
open. Each ciphertext begins with a byte that says its format; there is one so far::

    0x01 · nonce (12) · AES-256-GCM ciphertext and tag

Nonces and data keys are given by the caller and used once. A data key seals one value, so its nonce cannot
collide; a master key wraps far fewer than the 2^32 keys up to which random nonces are safe (SP 800-38D 8.3).
"""

from __future__ import annotations

import hashlib

from attrs import field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hoopd.errors import HoopdError
from hoopd.secret import Secret

KEY_BYTES = 32
NONCE_BYTES = 12
_FORMAT = b"\x01"


class EnvelopeError(HoopdError):
    """It does not open: damaged, moved from its place, or sealed with another key. Which one cannot be told."""


@frozen
class MasterKey:
    """A master key and its public id."""

    key: Secret
    id: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        if len(self.key.reveal()) != KEY_BYTES:
            raise ValueError(f"a master key has {KEY_BYTES} bytes")
        mark = hashlib.sha256(b"hoopd master key id\0" + self.key.reveal()).hexdigest()
        object.__setattr__(self, "id", f"mk-{mark[:16]}")


@frozen
class Place:
    """Where a secret belongs."""

    installation: str
    name: str
    version: int


@frozen
class Envelope:
    """What is stored."""

    wrapped: bytes
    sealed: bytes


def _bound(*parts: str) -> bytes:
    """Associated data: each part with its length, so that no two lists of parts read the same."""
    return b"hoopd vault 1" + b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


def _for_value(place: Place) -> bytes:
    return _bound("value", place.installation, place.name, str(place.version))


def _for_key(place: Place, master: MasterKey) -> bytes:
    return _bound("data key", place.installation, place.name, str(place.version), master.id)


def _encrypt(key: bytes, nonce: bytes, text: bytes, bound: bytes) -> bytes:
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
    return _FORMAT + nonce + AESGCM(key).encrypt(nonce, text, bound)


def _decrypt(key: bytes, text: bytes, bound: bytes, place: Place) -> bytes:
    if text[:1] != _FORMAT:
        raise EnvelopeError(f"secret {place.name} is sealed in a format that this version does not know")
    try:
        return AESGCM(key).decrypt(text[1 : 1 + NONCE_BYTES], text[1 + NONCE_BYTES :], bound)
    except (InvalidTag, ValueError):
        raise EnvelopeError(f"secret {place.name} does not open: damaged, moved, or another master key") from None


def seal(master: MasterKey, place: Place, value: bytes, data_key: bytes, nonces: tuple[bytes, bytes]) -> Envelope:
    """
    @param data_key: 32 fresh random bytes.
    @param nonces: two times 12 fresh random bytes, for the value and for the key.
    """
    if len(data_key) != KEY_BYTES:
        raise ValueError(f"a data key has {KEY_BYTES} bytes")
    return Envelope(
        wrapped=_encrypt(master.key.reveal(), nonces[1], data_key, _for_key(place, master)),
        sealed=_encrypt(data_key, nonces[0], value, _for_value(place)),
    )


def unseal(master: MasterKey, place: Place, envelope: Envelope) -> bytes:
    """@return: the value. @raise EnvelopeError: it does not open."""
    data_key = _decrypt(master.key.reveal(), envelope.wrapped, _for_key(place, master), place)
    return _decrypt(data_key, envelope.sealed, _for_value(place), place)


def rewrap(old: MasterKey, new: MasterKey, place: Place, wrapped: bytes, nonce: bytes) -> bytes:
    """@return: the data key, wrapped by C{new}; the value stays as it is. @raise EnvelopeError"""
    data_key = _decrypt(old.key.reveal(), wrapped, _for_key(place, old), place)
    return _encrypt(new.key.reveal(), nonce, data_key, _for_key(place, new))
