"""Conch's transports with today's cryptography: our packets, strict key exchange, renewal of keys, order of messages.

Conch keeps the key exchanges and their negotiation; the packets are L{hoopd.protocols.ssh.packets}'. What is added: AES-GCM and
encrypt-then-MAC, strict key exchange (OpenSSH's PROTOCOL, section 1.10: against Terrapin, CVE-2023-48795), renewal of keys by
volume and time (RFC 4253 section 9), a table of which message may come when, bounded version lines, and keys that change
direction by direction. Not who may log in nor what channels do.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from struct import error as StructError
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from twisted.conch.error import ConchError
from twisted.conch.ssh import transport as conch
from twisted.conch.ssh._kex import getHashProcessor
from twisted.conch.ssh.common import NS, getNS
from twisted.logger import Logger
from twisted.python import randbytes
from twisted.python.failure import Failure

from hoopd.errors import Denied, PeerError, TargetError
from hoopd.protocols.ssh import keys, packets
from hoopd.protocols.ssh.packets import CIPHERS, MACS, Direction, Padding, protection

STRICT_CLIENT = b"kex-strict-c-v00@openssh.com"
STRICT_SERVER = b"kex-strict-s-v00@openssh.com"

#: RFC 4253 section 4.2: a version line has at most 255 octets
VERSION_MAX = 255
#: a server may say something before it; OpenSSH's client gives up after 1,024 lines
BANNER_MAX = 8 * 1024
#: RFC 4253 section 9: keys are renewed each hour
RENEW_AFTER = 3600.0
#: what waits in a key exchange is bounded by the channels' windows; a peer that never ends one must not hold us up
EXCHANGE_TIMEOUT = 60.0
#: when keys are renewed, up to a window of data is ahead of the peer's part in it: 2 MiB at 4 KiB/s
RENEWAL_TIMEOUT = 600.0

#: OpenSSH before 10 prefers AES-CTR with HMAC to AES-GCM, which takes us an eighth of its processor time (docs/performance.md).
#: Clients that can do both are asked to change once they carry much; for a short session an exchange of keys is not worth it.
AEAD_AFTER = 4 * 1024 * 1024

#: an exchange takes some kilobytes
BEFORE_KEYS_MAX = 512 * 1024
#: messages that we do not know: newer implementations may send one or two
UNKNOWN_MAX = 1000
#: exchanges that a peer may begin with next to nothing carried, and within moments of the last one: none has a reason to
EARLY_MAX = 100
EARLY_OCTETS = 16 * 1024
EARLY_SECONDS = 1.0

_UINT32 = Struct(">I")
_AEAD = frozenset(name for name, algorithm in CIPHERS.items() if algorithm.aead)
_padding = Padding(randbytes.secureRandom)

#: what a peer may send while keys are exchanged (RFC 4253 section 7.1), and, strictly, only of the exchange itself
_IN_EXCHANGE = frozenset(
    {conch.MSG_DISCONNECT, conch.MSG_IGNORE, conch.MSG_UNIMPLEMENTED, conch.MSG_DEBUG, conch.MSG_NEWKEYS}
) | frozenset(range(30, 50))
_STRICT = frozenset({conch.MSG_DISCONNECT, conch.MSG_NEWKEYS}) | frozenset(range(30, 50))

#: what malformed payloads raise in Conch's readers
_MALFORMED = (StructError, IndexError, ValueError, TypeError, KeyError, UnsupportedAlgorithm, InvalidSignature)


class _Keys:
    """Keys agreed upon and not in use yet, in the form that Conch's key set-up fills.

    @ivar encBlockSize: 0 until they are there: Conch asks it.
    """

    def __init__(self, out_cipher: bytes, in_cipher: bytes, out_mac: bytes, in_mac: bytes) -> None:
        self.outCipType, self.inCipType = out_cipher, in_cipher
        self.outMACType, self.inMACType = out_mac, in_mac
        self.encBlockSize = 0
        self.outgoing: Any = None
        self.incoming: Any = None

    def setKeys(
        self, out_iv: bytes, out_key: bytes, in_iv: bytes, in_key: bytes, out_integrity: bytes, in_integrity: bytes
    ) -> None:
        """Conch's name and order."""
        self.outgoing = protection(self.outCipType, self.outMACType, out_key, out_iv, out_integrity, True)
        self.incoming = protection(self.inCipType, self.inMACType, in_key, in_iv, in_integrity, False)
        self.encBlockSize = 16


class ModernTransport:
    """What both sides share; mixed in before one of Conch's transports.

    @ivar clock: IReactorTime; set by whoever builds the protocol, before it is connected.
    @ivar strict: both sides keep the strict key exchange.
    @ivar exchanging: C{(bool)}: called when keys begin to be exchanged, and once they are.
    """

    log = Logger()
    version = b"hoopd"
    comment = b""
    ourVersionString = b"SSH-2.0-hoopd"

    supportedCiphers: Any = tuple(CIPHERS)
    supportedMACs: Any = tuple(MACS)
    #: what is left of Conch's after SHA-1, short groups and the curves that nobody can vouch for
    supportedKeyExchanges: Any = (b"mlkem768x25519-sha256", b"curve25519-sha256", b"curve25519-sha256@libssh.org")
    supportedPublicKeys: Any = (
        b"ssh-ed25519", b"ecdsa-sha2-nistp521", b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp256", b"rsa-sha2-512",
        b"rsa-sha2-256",
    )  # fmt: skip
    # compression before authentication is a bomb's door, and after it the link is not what is slow
    supportedCompressions: Any = (b"none",)

    clock: Any = None
    strict = False
    exchanging: Callable[[bool], None] = staticmethod(lambda busy: None)
    _ended = False
    _lasts = packets.OCTETS_MAX
    _renew_call: Any = None
    _exchange_call: Any = None

    # Conch's
    transport: Any
    factory: Any
    isClient: bool
    service: Any
    sessionID: bytes | None
    gotVersion: bool
    otherVersionString: bytes
    ourKexInitPayload: bytes
    nextEncryptions: Any = None
    currentEncryptions: Any
    _keyExchangeState: str
    _blockedByKeyExchange: Any
    _KEY_EXCHANGE_NONE: str
    _KEY_EXCHANGE_REQUESTED: str
    _KEY_EXCHANGE_PROGRESSING: str

    # -- life --------------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Send our version and begin the exchange."""
        self._outgoing, self._incoming = Direction(), Direction()
        self._buffer = bytearray()
        self._banner = 0
        self._gotNewKeys = 0
        self.currentEncryptions = conch.SSHCiphers(b"none", b"none", b"none", b"none")
        self.transport.write(self.ourVersionString + b"\r\n")
        self.sendKexInit()

    def connectionLost(self, reason: Any = None) -> None:
        """The connection is gone: nothing of it waits any more."""
        self._ended = True
        self._stop(self._renew_call)
        self._stop(self._exchange_call)
        super().connectionLost(reason)  # type: ignore[misc]

    @staticmethod
    def _stop(call: Any) -> None:
        if call is not None and call.active():
            call.cancel()

    # -- from the peer -----------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the peer. What is malformed ends this connection and no other."""
        if self._ended:
            return
        try:
            self._received(data)
        except PeerError as error:
            self.peer_error(error)
        except ConchError as error:
            self.peer_error(PeerError(str(error)))
        except _MALFORMED as error:
            self.log.debug("malformed packet: {error!r}", error=error)
            self.peer_error(PeerError("malformed packet"))

    def peer_error(self, error: PeerError) -> None:
        """The peer broke the protocol: tell it and end."""
        self.sendDisconnect(conch.DISCONNECT_PROTOCOL_ERROR, str(error).encode("utf-8", "replace"))

    def _received(self, data: bytes) -> None:
        self._buffer += data
        at = 0 if self.gotVersion else self._version()
        # after the peer's NEWKEYS nothing can be read until our own side of the exchange has come so far
        while at >= 0 and not self._ended and not self._gotNewKeys:
            opened = self._incoming.open(self._buffer, at)
            if opened is None:
                break
            kind, payload, at = opened
            self._dispatch(kind, payload)
            if self.sessionID is None and self._incoming.octets > BEFORE_KEYS_MAX:
                raise PeerError("so much before the first keys")
        if at > 0:
            del self._buffer[:at]
        if self._incoming.worn:
            self.renew_keys()

    def _version(self) -> int:
        """Read lines up to the peer's version. @return: where packets begin, or -1: not there yet."""
        while True:
            end = self._buffer.find(b"\n")
            if end > VERSION_MAX or (end < 0 and len(self._buffer) > VERSION_MAX):
                raise PeerError("the version line is too long")
            if end < 0:
                return -1
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            if line.startswith(b"SSH-"):
                break
            self._banner += end + 1
            if not self.isClient or self._banner > BANNER_MAX:
                # RFC 4253 section 4.2: only servers may say something first
                raise PeerError("this is not SSH")
        spoken = line.split(b"-", 2)
        if len(spoken) < 3 or spoken[1] not in (b"2.0", b"1.99") or b"\0" in line:
            raise PeerError("only SSH 2.0 is spoken here")
        self.gotVersion = True
        self.otherVersionString = line
        return 0

    def _dispatch(self, kind: int, payload: bytes) -> None:
        exchanging = self._keyExchangeState != self._KEY_EXCHANGE_NONE
        if kind >= 50 and not exchanging:
            if self.service:
                # Conch's way there, without its table
                self.service.packetReceived(kind, payload)
            else:
                self.sendUnimplemented()
            return
        if kind == conch.MSG_KEXINIT:
            if self._keyExchangeState == self._KEY_EXCHANGE_PROGRESSING:
                raise PeerError("KEXINIT in the middle of a key exchange")
            if not exchanging:
                self._count_renewal()
        elif self._keyExchangeState == self._KEY_EXCHANGE_PROGRESSING:
            if kind not in (_STRICT if self.strict and self.sessionID is None else _IN_EXCHANGE):
                raise PeerError(f"message {kind} in the middle of a key exchange")
            if kind == conch.MSG_NEWKEYS and not self._may_renew():
                raise PeerError("NEWKEYS before there are keys")
        elif kind == conch.MSG_NEWKEYS or 30 <= kind < 50:
            # of an exchange that the peer has not begun
            raise PeerError(f"message {kind} outside a key exchange")
        elif exchanging and self.sessionID is None and kind not in _IN_EXCHANGE:
            raise PeerError(f"message {kind} before the first keys")
        elif exchanging and self.sessionID is None:
            # KEXINIT was not the first: legal, until it shows that both sides are strict
            self._early = True
        self.dispatchMessage(kind, payload)  # type: ignore[attr-defined]

    def _count_renewal(self) -> None:
        """The peer renews keys: an exchange costs us a thousand times what asking for it costs."""
        now = self.clock.seconds()
        carried = self._incoming.octets + self._outgoing.octets
        if carried < EARLY_OCTETS and now - self._renewed_at < EARLY_SECONDS:
            self._renewals += 1
            if self._renewals > EARLY_MAX:
                raise PeerError("keys are renewed again and again")
        self._renewed_at = now

    _early = False
    _replied = False
    _unknown = 0
    _renewals = 0
    _renewed_at = 0.0

    def _may_renew(self) -> bool:
        # a client that checks the host's key has answered the exchange, and has no keys yet
        return self.nextEncryptions is not None and (bool(self.nextEncryptions.encBlockSize) or self._replied)

    # -- to the peer -------------------------------------------------------------------------------------------

    def sendPacket(self, messageType: int, payload: bytes) -> None:
        """See Conch's: in a key exchange what does not belong to it waits."""
        exchanging = self._keyExchangeState != self._KEY_EXCHANGE_NONE
        if exchanging and not self._allowedKeyExchangeMessageType(messageType):  # type: ignore[attr-defined]
            self._blockedByKeyExchange.append((messageType, payload))
            return
        self._send(messageType, payload)
        if messageType == conch.MSG_NEWKEYS:
            self._outgoing.renew(self.nextEncryptions.outgoing, self.strict, self._lasts)
        if self._outgoing.worn:
            self.renew_keys()

    def _send(self, messageType: int, payload: bytes) -> None:
        self.transport.write(self._outgoing.seal(messageType, payload, _padding))

    def sendUnimplemented(self) -> None:
        """The last packet was not understood: its number (RFC 4253 section 11.4)."""
        self._unknown += 1
        if self._unknown > UNKNOWN_MAX:
            raise PeerError("too many messages that nobody knows")
        number = (self._incoming.sequence - 1) & 0xFFFFFFFF
        self.sendPacket(conch.MSG_UNIMPLEMENTED, _UINT32.pack(number))

    def receiveUnimplemented(self, seqnum: int) -> None:
        """Conch's name: we send nothing that a peer could not do without; Conch would write a line of the log for each."""

    def receiveDebug(self, alwaysDisplay: bool, message: bytes, lang: bytes) -> None:
        """Conch's name: what a peer says to people is nothing for the log."""

    def sendDisconnect(self, reason: int, desc: bytes) -> None:
        """Tell why, and end. Once."""
        if self._ended:
            return
        self.sendPacket(conch.MSG_DISCONNECT, _UINT32.pack(reason) + NS(desc) + NS(b""))
        self._ended = True
        self.hang_up()

    def hang_up(self) -> None:
        """All is said: the connection ends once that is sent."""
        self.transport.loseConnection()

    def renew_keys(self) -> None:
        """Begin a key exchange, unless one runs."""
        if self._keyExchangeState == self._KEY_EXCHANGE_NONE and not self._ended:
            self.sendKexInit()

    @property
    def busy(self) -> bool:
        """Keys are being exchanged."""
        return self._keyExchangeState != self._KEY_EXCHANGE_NONE

    # -- key exchange ------------------------------------------------------------------------------------------

    def sendKexInit(self) -> None:
        """Begin or answer a key exchange."""
        if self._keyExchangeState != self._KEY_EXCHANGE_NONE:
            raise RuntimeError("a key exchange runs already")
        exchanges = [*self.supportedKeyExchanges]
        if self.sessionID is None:
            # RFC 8308 section 2.1, and strictness: both count in the first exchange alone
            exchanges += [b"ext-info-c", STRICT_CLIENT] if self.isClient else [b"ext-info-s", STRICT_SERVER]
        ciphers, macs = NS(b",".join(self.supportedCiphers)), NS(b",".join(self.supportedMACs))
        lists = NS(b",".join(exchanges)) + NS(b",".join(self.supportedPublicKeys)) + ciphers * 2 + macs * 2
        lists += NS(b",".join(self.supportedCompressions)) * 2 + NS(b"") * 2
        cookie = randbytes.secureRandom(16)
        self.ourKexInitPayload = bytes((conch.MSG_KEXINIT,)) + cookie + lists + b"\0" + _UINT32.pack(0)
        # not by sendPacket: keys that are worn out would have it begin another exchange before this one
        self._send(conch.MSG_KEXINIT, self.ourKexInitPayload[1:])
        self._keyExchangeState = self._KEY_EXCHANGE_REQUESTED
        self._blockedByKeyExchange = []
        self.exchanging(True)
        self._stop(self._exchange_call)
        limit = EXCHANGE_TIMEOUT if self.sessionID is None else RENEWAL_TIMEOUT
        self._exchange_call = self.clock.callLater(limit, self._exchange_too_slow)

    def _exchange_too_slow(self) -> None:
        self.peer_error(PeerError("the key exchange took too long"))

    def ssh_KEXINIT(self, packet: bytes) -> Any:
        """Negotiate by Conch; then see whether both are strict."""
        if self.sessionID is None:
            theirs = getNS(packet[16:])[0].split(b",")
            self.strict = (STRICT_SERVER if self.isClient else STRICT_CLIENT) in theirs
            if self.strict and (self._early or self._incoming.sequence != 1):
                raise PeerError("KEXINIT was not the first message of a strict key exchange")
        self.nextEncryptions, self._gotNewKeys, self._replied = None, 0, False
        negotiated = super().ssh_KEXINIT(packet)  # type: ignore[misc]
        if not self._ended:
            self._keyExchangeState = self._KEY_EXCHANGE_PROGRESSING
            # Conch's own class in its place knows no AES-GCM; it is filled later by the same names
            chosen = self.nextEncryptions
            self.nextEncryptions = _Keys(chosen.outCipType, chosen.inCipType, chosen.outMACType, chosen.inMACType)
            self._prefer_aead(packet)
        return negotiated

    def _prefer_aead(self, packet: bytes) -> None:
        """Whether these keys are only for a beginning. A server has no other say: the client's first choice counts (section 7.1)."""
        self._lasts = packets.OCTETS_MAX
        chosen = {self.nextEncryptions.outCipType, self.nextEncryptions.inCipType}
        both = getNS(packet[16:], 4)[2:4]
        if not self.isClient and not chosen <= _AEAD and all(_AEAD & set(names.split(b",")) for names in both):
            self._lasts = AEAD_AFTER
            self.supportedCiphers = tuple(name for name in self.supportedCiphers if name in _AEAD)

    def _newKeys(self) -> None:
        """The peer's NEWKEYS came and ours is sent: its direction has the new keys, and what waited goes out."""
        keys = self.nextEncryptions
        self._incoming.renew(keys.incoming, self.strict, self._lasts)
        self.currentEncryptions, self.nextEncryptions, self._gotNewKeys = keys, None, 0
        self._keyExchangeState = self._KEY_EXCHANGE_NONE
        waiting, self._blockedByKeyExchange = self._blockedByKeyExchange, None
        self._stop(self._exchange_call)
        self._stop(self._renew_call)
        self._renew_call = self.clock.callLater(RENEW_AFTER, self.renew_keys)
        for messageType, payload in waiting:
            self.sendPacket(messageType, payload)
        if not self.busy:
            self.exchanging(False)
        # what came behind NEWKEYS may wait in the buffer, if the host key took a while to check
        self.clock.callLater(0, self.dataReceived, b"")


class ServerTransport(ModernTransport, conch.SSHServerTransport):
    """The client's leg.

    Host keys are the factory's C{publicKeys} and C{privateKeys}, by the name of their algorithm (certificates too).

    @cvar signature_algorithms: what clients may sign their proof with, which they are told (RFC 8308 section 3.1).
    """

    signature_algorithms: Any = ()

    def _getHostKeys(self, keyAlg: bytes) -> tuple[Any, Any]:
        """Conch's name; Conch's knows no certificates."""
        kind = keys.kind(keyAlg)
        return self.factory.publicKeys[kind], self.factory.privateKeys[kind]

    def sendExtInfo(self, extensions: Any) -> None:
        """Conch's name; it would name the host keys' own, and clients with another kind of key would not try it."""
        super().sendExtInfo([(b"server-sig-algs", b",".join(self.signature_algorithms))])


class ClientTransport(ModernTransport, conch.SSHClientTransport):
    """The leg to a target: C{verifyHostKey} says whether the key, or the certificate, is the target's."""

    # Conch's client has no ML-KEM; targets of the last ten years have Curve25519, some hardened ones the others alone
    supportedKeyExchanges: Any = (
        b"curve25519-sha256", b"curve25519-sha256@libssh.org", b"ecdh-sha2-nistp521", b"ecdh-sha2-nistp384",
        b"ecdh-sha2-nistp256",
    )  # fmt: skip
    supportedPublicKeys: Any = (
        *(kind + keys.CERTIFICATE for kind in ModernTransport.supportedPublicKeys), *ModernTransport.supportedPublicKeys,
    )  # fmt: skip

    #: what is asked for and not begun yet; Conch begins it for each answer
    instance: Any = None

    def ssh_SERVICE_ACCEPT(self, packet: bytes) -> None:
        """Conch's name: once for what was asked for."""
        asked, self.instance = self.instance, None
        if asked is None or (packet and getNS(packet)[0] != asked.name):
            raise PeerError("a service that nobody asked for")
        self.setService(asked)

    def _ssh_KEX_ECDH_REPLY(self, packet: bytes) -> Any:
        """Conch's reads no certificates, and takes a signature of any algorithm that the key can make."""
        if self._replied:
            raise PeerError("a second answer in one key exchange")
        self._replied = True
        blob, theirs, signature, _ = getNS(packet, 3)
        verified = self.verifyHostKey(blob, b"")
        verified.addCallback(lambda _: self._exchanged(blob, theirs, signature))
        verified.addErrback(self._not_exchanged)
        return verified

    def _exchanged(self, blob: bytes, theirs: bytes, signature: bytes) -> None:
        if self._ended:
            return
        secret = self._generateECSharedSecret(self.ecPriv, theirs)
        own = self._encodeECPublicKey(self.ecPub)
        parts = [self.ourVersionString, self.otherVersionString, self.ourKexInitPayload, self.otherKexInitPayload]
        parts += [blob, own, theirs]
        hashed = getHashProcessor(self.kexAlg)(b"".join(map(NS, parts)) + secret).digest()
        keys.check_signature(blob, self.keyAlg, signature, hashed)
        self._keySetup(secret, hashed)

    def _not_exchanged(self, failure: Failure) -> None:
        if failure.check(PeerError, Denied, TargetError):
            self.sendDisconnect(conch.DISCONNECT_HOST_KEY_NOT_VERIFIABLE, b"host key not accepted")
            self.refused_host_key(failure.value or PeerError("host key not accepted"))
            return
        if not failure.check(*_MALFORMED):
            self.log.failure("a key exchange failed", failure)
        self.sendDisconnect(conch.DISCONNECT_KEY_EXCHANGE_FAILED, b"malformed key exchange")
        self.refused_host_key(PeerError("malformed key exchange"))

    def refused_host_key(self, error: BaseException) -> None:
        """The target's key was not accepted; the connection ends. Extended by whoever opened it."""
