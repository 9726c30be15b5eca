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

#: octets of padding at once: for some hundreds of packets
_DRAWN = 4096

_LENGTH = Struct(">I")
_HEAD = Struct("BB")
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

    def open(self, sequence: int, length: bytes, sealed: memoryview) -> bytes:
        return bytes(sealed)


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

    def open(self, sequence: int, length: bytes, sealed: memoryview) -> bytes:
        try:
            return self._cipher.decrypt(self._nonce(), sealed, length)
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

    def _digest(self, *parts: bytes | memoryview) -> bytes:
        return hmac.digest(self._key, b"".join(parts), self._hash)

    def seal(self, sequence: int, length: bytes, body: bytes) -> bytes:
        encrypted = self._update(body)
        return b"".join((length, encrypted, self._digest(_LENGTH.pack(sequence), length, encrypted)))

    def open(self, sequence: int, length: bytes, sealed: memoryview) -> bytes:
        body = sealed[: -self.tag]
        if not hmac.compare_digest(self._digest(_LENGTH.pack(sequence), length, body), sealed[-self.tag :]):
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


class Padding:
    """Random octets, drawn many at once: no system call for each packet.

    @param random: gives so many random octets.
    """

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random
        self._octets = b""
        self._at = 0

    def __call__(self, count: int) -> bytes:
        at, end = self._at, self._at + count
        if end > len(self._octets):
            self._octets, at, end = self._random(_DRAWN), 0, count
        self._at = end
        return self._octets[at:end]


class Direction:
    """One direction of a connection: its protection, its sequence number, and how much it has carried.

    @ivar octets, packets: since the last keys.
    @ivar lasts: octets after which the keys have been used enough.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.octets = 0
        self.packets = 0
        self.lasts = OCTETS_MAX
        self._take(Clear())

    def _take(self, protection: Protection) -> None:
        self._seal, self._open = protection.seal, protection.open
        self._block, self._tag = protection.block, protection.tag
        # a length in clear does not count towards the blocks where something is encrypted
        self._counted = 4 if isinstance(protection, Clear) else 0

    @property
    def worn(self) -> bool:
        """The keys have been used as much as they should."""
        return self.octets >= self.lasts or self.packets >= PACKETS_MAX

    def renew(self, protection: Protection, reset: bool, lasts: int) -> None:
        """New keys. @param reset: begin numbering at 0 again (strict key exchange). @param lasts: octets they are for"""
        self._take(protection)
        self.octets = self.packets = 0
        self.lasts = lasts
        if reset:
            self.sequence = 0

    def seal(self, kind: int, payload: bytes, padding: Callable[[int], bytes]) -> bytes:
        """One packet. @param kind: the message's number. @param padding: gives so many random octets"""
        size = 2 + len(payload)
        pad = self._block - (size + self._counted) % self._block
        if pad < 4:
            pad += self._block
        body = b"".join((_HEAD.pack(pad, kind), payload, padding(pad)))
        sealed = self._seal(self.sequence, _LENGTH.pack(size + pad), body)
        self.sequence = (self.sequence + 1) & _SEQUENCE_MASK
        self.packets += 1
        self.octets += len(sealed)
        return sealed

    def open(self, buffer: bytearray, at: int) -> tuple[int, bytes, int] | None:
        """Read one packet of C{buffer[at:]}.

        @return: the message's number, its payload and where the next packet begins; None if it is not all there.
        @raise PeerError: malformed, too long, or altered.
        """
        begins = at + 4
        if len(buffer) < begins:
            return None
        size = _LENGTH.unpack_from(buffer, at)[0]
        # the smallest packet: one block, of which the padding takes 4 at least
        if not 5 <= size <= PACKET_MAX or (size + self._counted) % self._block:
            raise PeerError(f"invalid packet length {size}")
        ends = begins + size + self._tag
        if len(buffer) < ends:
            return None
        # while a view exists the buffer cannot grow: none outlives this
        with memoryview(buffer) as whole, whole[begins:ends] as sealed:
            body = self._open(self.sequence, _LENGTH.pack(size), sealed)
        pad = body[0]
        if pad < 4 or pad >= size:
            raise PeerError("invalid packet padding")
        if pad == size - 1:
            raise PeerError("an empty packet")
        self.sequence = (self.sequence + 1) & _SEQUENCE_MASK
        self.packets += 1
        self.octets += ends - at
        return body[1], body[2 : size - pad], ends
