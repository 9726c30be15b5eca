"""The binary packet protocol, one direction at a time: sealing and opening of packets, bytes in, bytes out.

Pure; not the key exchange nor what packets mean (L{hoopd.protocols.ssh.transport}). Specification: RFC 4253 section 6;
AES-GCM as in RFC 5647 under OpenSSH's names, and encrypt-then-MAC as in OpenSSH's PROTOCOL, sections 1.5 and 1.6. Modes that
MAC the plaintext are not here: they let a peer act on unverified lengths.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from struct import Struct

from attrs import frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hoopd.errors import PeerError

#: RFC 4253 section 6.1 wants 35,000 at least; OpenSSH sends and takes 256 KiB
PACKET_MAX = 256 * 1024
#: RFC 4253 section 9: keys are renewed after 1 GiB; far below 2^32 packets, where sequence numbers come again
OCTETS_MAX = 1 << 30
PACKETS_MAX = 1 << 28

_LENGTH = Struct(">I")
_SEQUENCE_MASK = 0xFFFFFFFF


@frozen
class Algorithm:
    """A cipher. @ivar key, iv: octets it takes of what the exchange gives. @ivar aead: it authenticates by itself."""

    key: int
    iv: int
    aead: bool


CIPHERS: dict[bytes, Algorithm] = {
    b"aes256-gcm@openssh.com": Algorithm(32, 12, True),
    b"aes128-gcm@openssh.com": Algorithm(16, 12, True),
    b"aes256-ctr": Algorithm(32, 16, False),
    b"aes192-ctr": Algorithm(24, 16, False),
    b"aes128-ctr": Algorithm(16, 16, False),
}

#: name to hash and size of key and tag
MACS: dict[bytes, tuple[Callable[..., hashlib._Hash], int]] = {
    b"hmac-sha2-256-etm@openssh.com": (hashlib.sha256, 32),
    b"hmac-sha2-512-etm@openssh.com": (hashlib.sha512, 64),
}


class Clear:
    """No protection yet: only before the first keys."""

    block = 8
    tag = 0

    def seal(self, sequence: int, length: bytes, body: bytes) -> bytes:
        return length + body

    def open(self, sequence: int, length: bytes, body: bytes, tag: bytes) -> bytes:
        return body


class Gcm:
    """AES-GCM: the length is sent in clear and authenticated (RFC 5647 section 7.3)."""

    block = 16
    tag = 16

    def __init__(self, algorithm: Algorithm, key: bytes, iv: bytes) -> None:
        self._cipher = AESGCM(key[: algorithm.key])
        self._fixed = iv[:4]
        self._counter = int.from_bytes(iv[4:12], "big")

    def _nonce(self) -> bytes:
        nonce = self._fixed + self._counter.to_bytes(8, "big")
        self._counter = (self._counter + 1) & 0xFFFFFFFFFFFFFFFF
        return nonce

    def seal(self, sequence: int, length: bytes, body: bytes) -> bytes:
        return length + self._cipher.encrypt(self._nonce(), body, length)

    def open(self, sequence: int, length: bytes, body: bytes, tag: bytes) -> bytes:
        try:
            return self._cipher.decrypt(self._nonce(), body + tag, length)
        except InvalidTag:
            raise PeerError("a packet was altered on its way") from None


class CounterEtm:
    """AES-CTR with encrypt-then-MAC: the length is in clear, and the tag is over number, length and ciphertext."""

    block = 16

    def __init__(self, algorithm: Algorithm, key: bytes, iv: bytes, mac: bytes, mac_key: bytes, seals: bool) -> None:
        cipher = Cipher(algorithms.AES(key[: algorithm.key]), modes.CTR(iv[: algorithm.iv]))
        context = cipher.encryptor() if seals else cipher.decryptor()
        self._update = context.update
        self._hash, size = MACS[mac]
        self._key = mac_key[:size]
        self.tag = size

    def _digest(self, sequence: int, octets: bytes) -> bytes:
        return hmac.digest(self._key, _LENGTH.pack(sequence) + octets, self._hash)

    def seal(self, sequence: int, length: bytes, body: bytes) -> bytes:
        octets = length + self._update(body)
        return octets + self._digest(sequence, octets)

    def open(self, sequence: int, length: bytes, body: bytes, tag: bytes) -> bytes:
        if not hmac.compare_digest(self._digest(sequence, length + body), tag):
            raise PeerError("a packet was altered on its way")
        return self._update(body)


Protection = Clear | Gcm | CounterEtm


def protection(cipher: bytes, mac: bytes, key: bytes, iv: bytes, mac_key: bytes, seals: bool) -> Protection:
    """
    @param key, iv, mac_key: what the exchange derived (RFC 4253 section 7.2); longer than needed.
    @param seals: for the outgoing direction.
    """
    algorithm = CIPHERS[cipher]
    if algorithm.aead:
        return Gcm(algorithm, key, iv)
    return CounterEtm(algorithm, key, iv, mac, mac_key, seals)


class Direction:
    """One direction of a connection: its protection, its sequence number, and how much it has carried.

    @ivar octets, packets: since the last keys.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.octets = 0
        self.packets = 0
        self._protection: Protection = Clear()

    @property
    def worn(self) -> bool:
        """The keys have been used as much as they should."""
        return self.octets >= OCTETS_MAX or self.packets >= PACKETS_MAX

    @property
    def protected(self) -> bool:
        return not isinstance(self._protection, Clear)

    def renew(self, protection: Protection, reset: bool) -> None:
        """New keys. @param reset: begin numbering at 0 again (strict key exchange)."""
        self._protection = protection
        self.octets = self.packets = 0
        if reset:
            self.sequence = 0

    def _carried(self, octets: int) -> None:
        self.sequence = (self.sequence + 1) & _SEQUENCE_MASK
        self.packets += 1
        self.octets += octets

    def seal(self, payload: bytes, padding: Callable[[int], bytes]) -> bytes:
        """One packet. @param padding: gives so many random octets."""
        block = self._protection.block
        # lengths in clear do not count towards the blocks where something is encrypted
        counted = 1 + len(payload) + (0 if self.protected else 4)
        pad = block - counted % block
        if pad < 4:
            pad += block
        length = _LENGTH.pack(1 + len(payload) + pad)
        sealed = self._protection.seal(self.sequence, length, bytes((pad,)) + payload + padding(pad))
        self._carried(len(sealed))
        return sealed

    def open(self, buffer: bytearray, at: int) -> tuple[bytes, int] | None:
        """Read one packet of C{buffer[at:]}.

        @return: its payload and where the next begins; None if it is not all there.
        @raise PeerError: malformed, too long, or altered.
        """
        if len(buffer) - at < 4:
            return None
        length = bytes(buffer[at : at + 4])
        size = _LENGTH.unpack(length)[0]
        block, tag = self._protection.block, self._protection.tag
        # the smallest packet: one block, of which the padding takes 4 at least
        if not 5 <= size <= PACKET_MAX or (size + (0 if self.protected else 4)) % block:
            raise PeerError(f"invalid packet length {size}")
        end = at + 4 + size
        if len(buffer) < end + tag:
            return None
        body = self._protection.open(self.sequence, length, bytes(buffer[at + 4 : end]), bytes(buffer[end : end + tag]))
        pad = body[0]
        if pad < 4 or pad >= size:
            raise PeerError("invalid packet padding")
        self._carried(4 + size + tag)
        return body[1 : size - pad], end + tag
