"""An SSH server that means harm, as a process of its own: before keys by the port that it is called at, after them by the account.

Not a library: C{python -m tests.integration.hostile_target} prints its host key and its ports as JSON, and serves until it is ended.
What is not part of an attack is the gateway's own listener's transport, so that each attack gets as far as it can.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.ssh.common import NS
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.service import SSHService
from twisted.internet import protocol, reactor
from twisted.internet.task import LoopingCall

from hoopd.protocols.ssh import authentication, messages
from hoopd.protocols.ssh.messages import ChannelRequest, Confirmation, GlobalRequest, Open, Reader, number, string
from hoopd.protocols.ssh.transport import STRICT_SERVER, ServerTransport

ESCAPES = b"\x1b]0;owned\x07\x1b[31mred \xe2\x80\xaeturned"
#: what the gateway calls the host's channel: the first of a connection
CHANNEL = 0


class Raw(protocol.Protocol):
    """Says something that is no SSH. @ivar said: what, once; @ivar again: what, without end; @ivar goes: and goes"""

    said = b""
    again = b""
    goes = False

    def connectionMade(self) -> None:
        self.transport.write(self.said)
        if self.goes:
            self.transport.loseConnection()
        if self.again:
            self._loop = LoopingCall(self.transport.write, self.again)
            self._loop.start(0.01)

    def connectionLost(self, reason: Any = None) -> None:
        if self.again:
            self._loop.stop()


def raw(said: bytes = b"", again: bytes = b"", goes: bool = False) -> type[Raw]:
    return type("Said", (Raw,), {"said": said, "again": again, "goes": goes})


def clear(kind: int, payload: bytes) -> bytes:
    """One packet before the first keys."""
    body = bytes((kind,)) + payload
    pad = 8 - (len(body) + 5) % 8
    pad += 8 if pad < 4 else 0
    return struct.pack(">IB", 1 + len(body) + pad, pad) + body + bytes(pad)


def kexinit(exchanges: bytes, keys: bytes = b"ssh-ed25519", ciphers: bytes = b"aes128-ctr") -> bytes:
    macs = b"hmac-sha2-256-etm@openssh.com"
    lists = (exchanges, keys, ciphers, ciphers, macs, macs, b"none", b"none", b"", b"")
    return clear(20, os.urandom(16) + b"".join(map(NS, lists)) + bytes(5))


VERSION = b"SSH-2.0-hostile\r\n"
GOOD = b"curve25519-sha256," + STRICT_SERVER
IGNORE = clear(2, string(b""))

#: by name; whoever calls there has no keys yet
EARLY: dict[str, type[protocol.Protocol]] = {
    "garbage": raw(os.urandom(4096).replace(b"\n", b"x")),
    "http": raw(b"HTTP/1.1 400 Bad Request\r\nServer: \x1b[31mx\r\n\r\n", goes=True),
    "banner-without-end": raw(again=b"welcome\r\n" * 500),
    "line-without-end": raw(again=b"x" * 5000),
    "old": raw(b"SSH-1.5-old\r\n"),
    "closes": raw(goes=True),
    "kexinit-without-end": raw(VERSION, kexinit(GOOD) * 20),
    "wrong-exchange": raw(VERSION + kexinit(b"diffie-hellman-group1-sha1")),
    "wrong-host-key": raw(VERSION + kexinit(GOOD, b"ssh-dss")),
    "wrong-cipher": raw(VERSION + kexinit(GOOD, ciphers=b"aes128-cbc")),
    "strict-after-ignore": raw(VERSION + IGNORE + kexinit(GOOD)),
    "strict-ignore-inside": raw(VERSION + kexinit(GOOD) + IGNORE),
    "newkeys-first": raw(VERSION + kexinit(GOOD) + clear(21, b"")),
    "success-first": raw(VERSION + kexinit(GOOD) + clear(52, b"")),
    "zero-point": raw(VERSION + kexinit(GOOD) + clear(31, NS(b"x") + NS(bytes(32)) + NS(b"y"))),
    "empty-reply": raw(VERSION + kexinit(GOOD) + clear(31, b"")),
    "oversize": raw(VERSION + struct.pack(">I", 0x7FFFFFFF) + bytes(64)),
    "small": raw(VERSION + bytes(64)),
    "ignore-without-end": raw(VERSION, clear(2, string(bytes(30_000)))),
}  # fmt: skip


class Sign(Key):
    """A host key whose signatures are wrong."""

    def sign(self, data: bytes, signatureType: bytes | None = None) -> bytes:
        return bytes(super().sign(data + b"x", signatureType))


class Host(ServerTransport):
    """A server that lets everybody in, and then does what the account is called."""

    clock = reactor
    signature_algorithms = (b"ssh-ed25519",)
    act: str = ""
    loop: LoopingCall | None = None

    def ssh_SERVICE_REQUEST(self, packet: bytes) -> None:
        self.sendPacket(6, packet)
        self.setService(Accounts())

    def forever(self, call: Callable[[], Any], every: float = 0.01) -> None:
        self.loop = LoopingCall(call)
        self.loop.start(every)

    def connectionLost(self, reason: Any = None) -> None:
        super().connectionLost(reason)
        if self.loop is not None and self.loop.running:
            self.loop.stop()


class Accounts(SSHService):
    name = b"ssh-userauth"
    transport: Any

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        account = Reader(packet).string().decode()
        act = SIGNING_IN.get(account)
        if act is not None:
            act(self.transport)
            return
        self.transport.act = account
        self.transport.sendPacket(authentication.SUCCESS, b"")
        self.transport.setService(Channels())


class Channels(SSHService):
    name = b"ssh-connection"
    transport: Any

    def packetReceived(self, messageNum: int, packet: bytes) -> None:
        if messageNum == messages.OPEN:
            asked = Open.read(packet)
            if self.transport.act == "declines":
                self.transport.sendPacket(92, number(asked.sender) + number(1) + string(ESCAPES) + string(b""))
                return
            self.transport.sendPacket(91, Confirmation(asked.sender, 7, 1 << 21, 32768).encode())
        elif messageNum == messages.REQUEST and ChannelRequest.read(packet).kind == "exec":
            self.transport.sendPacket(messages.SUCCESS, number(CHANNEL))
            ACTS[self.transport.act](self.transport)


def failure(takes: bytes = b"publickey") -> bytes:
    return string(takes) + b"\0"


def bad_banners(host: Host) -> None:
    host.forever(lambda: host.sendPacket(authentication.BANNER, string(b"x" * 20_000) + string(b"")))


def twice(host: Host) -> None:
    host.sendPacket(authentication.SUCCESS, b"")
    host.sendPacket(authentication.SUCCESS, b"")


#: accounts that are not let in as others are
SIGNING_IN: dict[str, Callable[[Host], None]] = {
    "banners": bad_banners,
    "refuses": lambda host: [host.sendPacket(authentication.FAILURE, failure(ESCAPES)) for _ in range(1000)],  # type: ignore[dict-item,return-value]
    "asks": lambda host: host.sendPacket(60, string(b"") * 3 + number(0)),
    "accepts-twice": twice,
    "serves-twice": lambda host: host.sendPacket(6, string(b"ssh-userauth")),
    "opens-early": lambda host: host.sendPacket(messages.OPEN, Open("x11", 1, 1 << 20, 32768, b"").encode()),
    "says-and-goes": lambda host: host.sendDisconnect(2, ESCAPES),
    "unreadable": lambda host: host.sendPacket(authentication.FAILURE, b"\xff\xff\xff\xff"),
}


def ended(host: Host, status: int = 0) -> None:
    """As a command ends."""
    host.sendPacket(messages.REQUEST, ChannelRequest(CHANNEL, "exit-status", False, number(status)).encode())
    host.sendPacket(messages.EOF, number(CHANNEL))
    host.sendPacket(messages.CLOSE, number(CHANNEL))


def opens(host: Host) -> None:
    details = string(b"localhost") + number(22) + string(b"127.0.0.1") + number(1)
    for kind in ("auth-agent@openssh.com", "x11", "forwarded-tcpip", "session", "tun@openssh.com"):
        host.sendPacket(messages.OPEN, Open(kind, 9, 1 << 20, 32768, details).encode())
    ended(host)


def asks(host: Host) -> None:
    for kind in ("hostkeys-00@openssh.com", "hostkeys-prove-00@openssh.com", "tcpip-forward", "nonsense"):
        for want_reply in (True, False):
            host.sendPacket(messages.GLOBAL_REQUEST, GlobalRequest(kind, want_reply, string(b"x" * 1000)).encode())
    for kind in ("exec", "keepalive@openssh.com", "auth-agent-req@openssh.com"):
        host.sendPacket(messages.REQUEST, ChannelRequest(CHANNEL, kind, True, string(b"id")).encode())
    ended(host)


def flood(host: Host, kind: int, payload: bytes) -> None:
    """So many at once, and nothing read any more."""
    host.transport.pauseProducing()
    host.forever(lambda: [host.sendPacket(kind, payload) for _ in range(1000)])


def ends_twice(host: Host) -> None:
    host.sendPacket(messages.REQUEST, ChannelRequest(CHANNEL, "exit-status", False, number(3)).encode())
    ended(host, 5)


def signalled(host: Host) -> None:
    details = string(b"TERM") + b"\0" + string(ESCAPES) + string(b"en")
    host.sendPacket(messages.REQUEST, ChannelRequest(CHANNEL, "exit-signal", False, details).encode())
    host.sendPacket(messages.CLOSE, number(CHANNEL))


def data(octets: bytes, channel: int = CHANNEL) -> bytes:
    return number(channel) + string(octets)


def altered(host: Host) -> None:
    sealed = bytearray(host._outgoing.seal(messages.DATA, data(b"hello"), os.urandom))
    sealed[-1] ^= 1
    host.transport.write(bytes(sealed))


def renews(host: Host) -> None:
    host.forever(host.renew_keys, 0.001)


def each(*sent: tuple[int, bytes]) -> Callable[[Host], None]:
    def send(host: Host) -> None:
        for kind, payload in sent:
            host.sendPacket(kind, payload)

    return send


#: what becomes of a command, by account
ACTS: dict[str, Callable[[Host], None]] = {
    "well": ended,
    "declines": ended,
    "opens": opens,
    "asks-for-much": asks,
    "ends-twice": ends_twice,
    "signalled": signalled,
    # a client that reads quickly may make room for all of it in time: what comes behind is too much in any case
    "beyond-the-window": each(
        *[(messages.DATA, data(bytes(32768)))] * 200, (messages.EOF, number(CHANNEL)), (messages.DATA, data(b"x"))
    ),
    "widens-without-end": each(*[(messages.WINDOW_ADJUST, number(CHANNEL) + number(0xFFFFFFFF))] * 2),
    "data-nowhere": each((messages.DATA, data(b"x", 999))),
    "close-twice": each(*[(messages.CLOSE, number(CHANNEL))] * 2),
    "data-after-eof": each((messages.EOF, number(CHANNEL)), (messages.DATA, data(b"x"))),
    "answers": each((messages.SUCCESS, number(CHANNEL))),
    "answers-globally": each((messages.REQUEST_SUCCESS, b"")),
    "confirms": each((messages.OPEN_CONFIRMATION, Confirmation(CHANNEL, 8, 1, 1).encode())),
    "third-stream": each((messages.EXTENDED_DATA, number(CHANNEL) + number(2) + string(b"hidden"))),
    "lies-about-sizes": each((messages.DATA, number(CHANNEL) + number(1 << 31) + b"x")),
    "serves-again": each((6, string(b"ssh-userauth"))),
    "signs-in-again": each((authentication.SUCCESS, b"")),
    "newkeys": each((21, b"")),
    "exchanges": each((31, b"")),
    "unknown": each(*[(200, b"x")]),
    "empty": lambda host: host.transport.write(host._outgoing.seal(2, b"", os.urandom)[:-1] + b"\0"),
    "altered": altered,
    "oversize-packet": lambda host: host.transport.write(struct.pack(">I", 0x7FFFFFF0) + bytes(100)),
    "renews-without-end": renews,
    "opens-without-end": lambda host: flood(host, messages.OPEN, Open("x11", 1, 1 << 20, 32768, b"").encode()),
    "asks-without-end": lambda host: flood(host, messages.GLOBAL_REQUEST, GlobalRequest("x", True, b"").encode()),
    "unimplemented-without-end": lambda host: flood(host, 150, b""),
    "says-and-leaves": lambda host: host.sendDisconnect(2, ESCAPES),
    "vanishes": lambda host: host.transport.abortConnection(),
}


class Hosts(protocol.Factory):
    """@param key: what signs; its public half is what is shown"""

    noisy = False

    def __init__(self, key: Any) -> None:
        self.privateKeys = {b"ssh-ed25519": key}
        self.publicKeys = {b"ssh-ed25519": key.public()}

    def getPrimes(self) -> None:
        """There are none."""

    def buildProtocol(self, addr: Any) -> Host:
        host = Host()
        host.factory = self
        host.supportedPublicKeys = (b"ssh-ed25519",)
        return host


def main() -> None:
    private = Ed25519PrivateKey.generate()
    key = Key(private)
    serving: dict[str, Any] = {name: protocol.Factory.forProtocol(each) for name, each in EARLY.items()}
    serving |= {"host": Hosts(key), "wrong-signature": Hosts(Sign(private))}
    listen: Any = reactor.listenTCP  # type: ignore[attr-defined]
    ports = {name: listen(0, each, interface="127.0.0.1").getHost().port for name, each in serving.items()}
    public = " ".join(key.public().toString("openssh").decode().split()[:2])
    print(json.dumps({"key": public, "ports": ports, "signing_in": [*SIGNING_IN], "acts": [*ACTS]}), flush=True)
    # whoever started it closes our standard input when it goes
    reactor.callInThread(_until_left)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


def _until_left() -> None:
    sys.stdin.read()
    reactor.callFromThread(reactor.stop)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
