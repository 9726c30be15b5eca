"""The client's first phase, before a session: encryption requests, cancel requests, the StartupMessage.

A pure state machine: bytes in, events out. Not the proof of identity nor anything after it. Specification:
PostgreSQL documentation, "Message Flow" (Start-up, SSL Session Encryption, GSSAPI Session Encryption,
Canceling Requests in Progress) and "Protocol versions".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from attrs import field, frozen

from hoopd.errors import Denied, PeerError
from hoopd.protocols.postgres.codec import INT32
from hoopd.sql.variables import path_of

SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102
MAJOR = 3

#: MAX_STARTUP_PACKET_LENGTH of the server; libpq's own packets stay under 1 kB
STARTUP_MAX = 10_000
#: process id and a secret of 4 to 256 bytes (protocol 3.2), behind length and code
CANCEL_MIN, CANCEL_MAX = 16, 8 + 4 + 256

#: first byte of a TLS ClientHello record: direct TLS (libpq sslnegotiation=direct); no StartupMessage can begin
#: with it, as its length would be above 369 million
TLS_RECORD = 0x16

#: settings that a client may send in its StartupMessage: what drivers send, and what changes only how values
#: are shown or how long things may take; rights, roles and hooks are not among them
SETTINGS = frozenset(
    {
        "application_name", "bytea_output", "client_encoding", "client_min_messages", "datestyle",
        "default_transaction_deferrable", "default_transaction_isolation", "default_transaction_read_only",
        "extra_float_digits", "geqo", "idle_in_transaction_session_timeout", "intervalstyle", "lc_messages",
        "lock_timeout", "search_path", "standard_conforming_strings", "statement_timeout", "tcp_user_timeout",
        "timezone",
    }
)  # fmt: skip

_WAIT = re.compile(r"([0-9]{1,7})(s|m|h)?")
_WAIT_UNITS = {None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}

#: an approver reads it, a recording keeps it
REASON_MAX = 1000


@frozen
class Reply:
    """Send these bytes to the client, in clear."""

    octets: bytes


@frozen
class StartTls:
    """Begin TLS now; C{answer} (C{b"S"}, or nothing for direct TLS) goes first, in clear.

    @ivar direct: the ClientHello is here already and ALPN must say C{postgresql}.
    """

    answer: bytes
    direct: bool


@frozen
class Cancel:
    """A CancelRequest: process id and secret as one key. The connection ends without an answer."""

    key: bytes


@frozen
class Login:
    """A StartupMessage that can be acted on."""

    user: str
    target: str
    database: str
    settings: Mapping[str, str] = field(hash=False)
    reason: str | None
    application_name: str
    minor: int
    unknown: tuple[bytes, ...]
    #: what the client wants to be asked for: C{"password"}, C{"oauth"}, or C{""}: whatever the listener says
    proof: str = ""
    #: the reason to break glass as the session begins
    break_glass: str | None = None
    #: seconds that the client is ready to wait for approval, 0 not at all; None: as long as the rules say
    wait: float | None = None

    @property
    def search_path(self) -> tuple[str, ...] | None:
        """As the client set it, or None."""
        return path_of(self.settings["search_path"]) if "search_path" in self.settings else None

    @property
    def negotiate(self) -> bool:
        """NegotiateProtocolVersion must be sent."""
        return self.minor > 2 or self.minor == 1 or bool(self.unknown)

    @property
    def spoken(self) -> int:
        """Minor version both speak: 0 or 2 (3.1 was never defined)."""
        return 2 if self.minor >= 2 else 0


Event = Reply | StartTls | Cancel | Login


class ClientStartup:
    """Reads what a client sends before it is known.

    @param tls: whether we can offer TLS.
    @param server_names: pattern C{{target}.DOMAIN} of TLS server names that name a target, or C{""}.
    """

    def __init__(self, tls: bool, server_names: str = "") -> None:
        self._tls = tls
        self._server_names = server_names
        self._target = ""
        self._encrypted = False
        self._asked: set[int] = set()
        self._buffer = b""
        self._done = False

    def encrypted(self, server_name: str | None = None) -> None:
        """TLS is up; what follows is inside it. @param server_name: RFC 6066 section 3, or None."""
        self._encrypted = True
        domain = self._server_names.removeprefix("{target}")
        if domain and server_name and server_name.lower().endswith(domain):
            self._target = server_name.lower().removesuffix(domain)

    def receive(self, chunk: bytes) -> list[Event]:
        """
        @return: at most one event; after L{Cancel} or L{Login} nothing more may come before we answer.
        @raise PeerError: not this protocol, or against its order.
        @raise Denied: a setting that is not open to clients.
        """
        if self._done:
            raise PeerError("bytes before the server asked for them")
        # bounded: an honest packet is complete or small, so this never grows past STARTUP_MAX
        self._buffer += chunk
        if self._buffer and self._buffer[0] == TLS_RECORD and not self._encrypted and not self._asked and self._tls:
            self._buffer = b""
            return [StartTls(b"", True)]
        if len(self._buffer) < 4:
            return []
        length = INT32.unpack_from(self._buffer)[0]
        if not 8 <= length <= STARTUP_MAX:
            raise PeerError("invalid length of startup packet")
        if len(self._buffer) < length:
            return []
        if len(self._buffer) > length:
            # CVE-2021-3935, CVE-2021-23214: what came before TLS must never count as if it came inside
            raise PeerError("received data after the startup packet")
        packet, self._buffer = self._buffer, b""
        code = INT32.unpack_from(packet, 4)[0]
        return [self._packet(code, packet[8:])]

    def _packet(self, code: int, payload: bytes) -> Event:
        if code in (SSL_REQUEST, GSS_REQUEST):
            return self._encryption(code, payload)
        self._done = True
        if code == CANCEL_REQUEST:
            if not CANCEL_MIN <= len(payload) + 8 <= CANCEL_MAX:
                raise PeerError("invalid length of cancel request")
            return Cancel(payload)
        major, minor = code >> 16, code & 0xFFFF
        if major != MAJOR:
            raise PeerError(f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")
        return login(minor, payload, self._target)

    def _encryption(self, code: int, payload: bytes) -> Event:
        # each at most once, in either order: libpq 18 asks GSSENC first, then SSL
        if payload or self._encrypted or code in self._asked:
            raise PeerError("unexpected encryption request")
        self._asked.add(code)
        if code == GSS_REQUEST or not self._tls:
            return Reply(b"N")
        return StartTls(b"S", False)


def login(minor: int, payload: bytes, named: str = "") -> Login:
    """Read a StartupMessage behind its version. @param named: the target that the TLS server name means, or C{""}."""
    given = _pairs(payload)
    unknown = tuple(name.encode() for name in given if name.startswith("_pq_."))
    settings = {name: value for name, value in given.items() if not name.startswith("_pq_.")}
    user = settings.pop("user", "")
    if not user:
        raise PeerError("no user name in the startup packet")
    database = settings.pop("database", "")
    if settings.pop("replication", "false").lower() not in ("false", "off", "no", "0"):
        raise Denied("replication connections are not served", hint="Connect without the replication parameter.")
    from_options, reason = options(settings.pop("options", ""))
    merged = {**from_options, **{name.lower(): value for name, value in settings.items()}}
    reason = merged.pop("hoopd.reason", reason)
    break_glass = merged.pop("hoopd.break_glass", None)
    wait = check_wait(merged.pop("hoopd.wait", None))
    proof = merged.pop("hoopd.proof", "")
    if proof not in ("", "password", "oauth"):
        raise Denied(f'hoopd.proof cannot be "{proof}"', hint="Use hoopd.proof=password or hoopd.proof=oauth.")
    for name in merged:
        if name not in SETTINGS:
            raise Denied(
                f'the setting "{name}" may not be given at start-up', hint="Leave it out, or use SET in the session."
            )
    path = path_of(merged.get("search_path", ""))
    if path is None or "pg_catalog" in path[1:]:
        raise Denied("this search_path cannot be followed", hint="List schemas; pg_catalog only at its beginning.")
    application_name = merged.pop("application_name", "")
    target, rest = _target(database, user, named)
    return Login(
        user, target, rest, merged, check_reason(reason), application_name, minor, unknown, proof, break_glass, wait
    )


def _target(database: str, user: str, named: str) -> tuple[str, str]:
    """Target and database from C{TARGET}, C{TARGET/DATABASE}, or, where the server name says the target, C{DATABASE}."""
    target, slash, rest = database.partition("/")
    if named and not slash:
        # a client that names no database sends the user's name in its place
        return named, "" if database in ("", user, named) else database
    if not target or (slash and not rest):
        raise Denied(
            "no target was named", hint="Connect with dbname=TARGET or dbname=TARGET/DATABASE; user is your own name."
        )
    if named and target != named:
        raise Denied(f"the server name means target {named}, and the database name {target}")
    return target, rest


def check_reason(reason: str | None) -> str | None:
    """@raise PeerError: too long, or with control characters: an approver must see what it says."""
    if not reason:
        return None
    if len(reason) > REASON_MAX:
        raise PeerError(f"hoopd.reason is longer than {REASON_MAX} characters")
    if any(not character.isprintable() for character in reason):
        raise PeerError("hoopd.reason contains characters that cannot be shown")
    return reason


def check_wait(text: str | None) -> float | None:
    """Read C{hoopd.wait}: C{ticket}, or a duration such as C{90s}, C{15m}, C{2h}.

    @return: seconds; 0 for a ticket; None where nothing was said.
    @raise PeerError: something else.
    """
    said = (text or "").strip().lower()
    if said in ("", "default"):
        return None
    if said == "ticket":
        return 0.0
    found = _WAIT.fullmatch(said)
    if not found:
        raise PeerError('hoopd.wait is "ticket", or a duration such as "90s", "15m" or "2h"')
    return int(found.group(1)) * _WAIT_UNITS[found.group(2)]


def _pairs(payload: bytes) -> dict[str, str]:
    if payload[-1:] != b"\0":
        raise PeerError("invalid startup packet layout: expected terminator as last byte")
    parts = payload[:-1].split(b"\0")
    if parts and parts[-1] == b"":
        parts.pop()
    if len(parts) % 2:
        raise PeerError("invalid startup packet layout")
    pairs: dict[str, str] = {}
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        try:
            key, text = name.decode(), value.decode()
        except UnicodeDecodeError:
            raise PeerError("startup packet is not UTF-8") from None
        # the server takes the last of two, some proxies the first: neither is a client we know
        if not key or key in pairs or key.lower() in pairs:
            raise PeerError("empty or repeated parameter in the startup packet")
        pairs[key] = text
    return pairs


def options(text: str) -> tuple[dict[str, str], str | None]:
    """Read PGOPTIONS: C{-c name=value}, C{-cname=value}, C{--name=value}; a backslash quotes a character.

    @return: settings by lower-case name, and C{hoopd.reason} if given.
    @raise PeerError: anything else (CVE-2026-107349: an option without a name).
    """
    words = iter(_words(text))
    settings: dict[str, str] = {}
    for word in words:
        if word == "-c":
            word = next(words, "")
        elif word.startswith("-c") or word.startswith("--"):
            word = word[2:]
        else:
            raise PeerError("only -c name=value is understood in options")
        name, equals, value = word.partition("=")
        name = name.strip().replace("-", "_").lower()
        if not name or not equals:
            raise PeerError("only -c name=value is understood in options")
        settings[name] = value
    return settings, settings.pop("hoopd.reason", None)


def _words(text: str) -> list[str]:
    words: list[str] = []
    word: list[str] | None = None
    characters = iter(text)
    for character in characters:
        if character in " \t\n\r\f\v":
            if word is not None:
                words.append("".join(word))
                word = None
            continue
        if character == "\\":
            character = next(characters, "")
        word = [] if word is None else word
        word.append(character)
    if word is not None:
        words.append("".join(word))
    return words
