"""C{[notify.NAME]}: where notices go; the tables and what must be true of them, not the sending (L{hoopd.notices})."""

from __future__ import annotations

import difflib
import ipaddress
import os
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
from attrs import NOTHING, field, frozen

from hoopd.errors import ConfigError
from hoopd.notices.notice import KINDS

#: vault secrets of channels begin so, and no target's credential does: neither can be taken for the other
SECRETS = "notify/"


def _key(why: str, default: Any = NOTHING, kind: str = "", name: str = "") -> Any:
    metadata = {"why": why, "kind": kind} | ({"name": name} if name else {})
    return field(default=default, metadata=metadata)


@frozen(kw_only=True)
class Channel:
    """One table; which keys a kind has: L{KEYS}."""

    kind: Literal["webhook", "slack", "teams", "email", "command"] = _key("how it is told")
    events: tuple[str, ...] = _key("which notices go there; all if empty", ())
    secret: str = _key(
        "vault secret, named notify/…: a webhook's signing key, the whole URL of Slack or Teams, the SMTP password", ""
    )
    url: str = _key("webhook: where it is posted; https", "")
    authorities: str = _key("PEM file of the authorities of its TLS; empty is the system's", "", "path")
    allow_http: bool = _key("permit plain http on loopback, for tests and relays on this machine", False)
    server: str = _key("email: host name of the SMTP server", "")
    port: int = _key("email: its port", 587)
    tls: Literal["starttls", "tls", "off"] = _key(
        "email: how the connection is secured; off on loopback only", "starttls"
    )
    username: str = _key("email: account at the server; empty sends without signing in", "")
    sender: str = _key("email: the sender's address", "", name="from")
    to: tuple[str, ...] = _key("email: the recipients' addresses", ())
    run: tuple[str, ...] = _key("command: absolute path and arguments; it reads the notice as JSON", ())
    timeout: float = _key("command: killed after so long", 10.0, "duration")
    memory: int = _key("command: its address space", 256 * 1024 * 1024, "size")


_TLS = ("authorities",)

#: the keys of each kind, beside kind and events: (must be there, may be there)
KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "webhook": (("url", "secret"), (*_TLS, "allow_http")),
    "slack": (("secret",), (*_TLS, "allow_http")),
    "teams": (("secret",), (*_TLS, "allow_http")),
    "email": (("server", "sender", "to"), (*_TLS, "port", "tls", "username", "secret")),
    "command": (("run",), ("timeout", "memory")),
}


@frozen
class Notifications:
    default: tuple[str, ...] = _key("channels for rules that name none", ())
    give_up: float = _key("how long a notice is tried; then the log and the ledger say so", 86400.0, "duration")
    keep: float = _key("how long hoopctl notify list shows what is settled", 30 * 86400.0, "duration")


Wrong = Callable[[str, str, str], Any]


def check(channels: Mapping[str, Channel], settings: Notifications, wrong: Wrong, check_files: bool) -> None:
    """@param wrong: takes key, problem, suggestion."""
    for name, channel in channels.items():
        where = f"notify.{name}"
        if not name or len(name) > 64 or not all(part.isascii() and (part.isalnum() or part in "-_.") for part in name):
            wrong(where, "a channel's name has letters, digits, and - _ . only", "")
        _check_keys(where, channel, wrong)
        for event in channel.events:
            if event not in KINDS:
                wrong(f"{where}.events", f"there is no notice {event!r}", suggestion(event, KINDS))
        if channel.secret and not channel.secret.startswith(SECRETS):
            hint = f"hoopctl vault put {SECRETS}{name}"
            wrong(f"{where}.secret", f"must name a vault secret that begins with {SECRETS}", hint)
        if channel.kind == "webhook" and channel.url:
            for problem in url_problems(channel.url, channel.allow_http):
                wrong(f"{where}.url", problem, "")
        if channel.kind == "email":
            _check_email(where, channel, wrong)
        if channel.kind == "command" and channel.run:
            _check_command(where, channel, wrong, check_files)
        if check_files and channel.authorities and not Path(channel.authorities).is_file():
            wrong(f"{where}.authorities", f"{channel.authorities} is not there", "")
    for name in settings.default:
        if name not in channels:
            wrong("notifications.default", f"there is no channel {name!r}", suggestion(name, channels))
    if settings.give_up < 60:
        wrong("notifications.give_up", "must be at least a minute", "")


def _check_keys(where: str, channel: Channel, wrong: Wrong) -> None:
    needed, possible = KEYS[channel.kind]
    for each in attrs.fields(Channel):
        name = each.metadata.get("name", each.name)
        if each.name in needed and not getattr(channel, each.name):
            wrong(f"{where}.{name}", f"is missing: {each.metadata['why']}", "")
        if each.name not in ("kind", "events", *needed, *possible) and getattr(channel, each.name) != each.default:
            wrong(f"{where}.{name}", f"is no key of a channel of kind {channel.kind}", "")


def url_problems(url: str, allow_http: bool) -> list[str]:
    """@return: why C{url} may not be posted to; never the URL itself, which may be a secret."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return ["is no URL"]
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        return ["is no URL"]
    found = []
    if parts.username is not None:
        found.append("has a user name in it: a receiver knows us by signature or by a URL in the vault")
    if parts.fragment:
        found.append("has a fragment, which is never sent")
    if parts.scheme != "https" and not (parts.scheme == "http" and allow_http and loopback(host)):
        found.append("must be https (http on loopback with allow_http)")
    return found


def loopback(host: str) -> bool:
    """Whether C{host} is this very machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_email(where: str, channel: Channel, wrong: Wrong) -> None:
    if not 0 < channel.port < 65536:
        wrong(f"{where}.port", "must be from 1 to 65535", "")
    if channel.tls == "off" and not loopback(channel.server):
        wrong(f"{where}.tls", "may be off for a server on loopback only", 'write "starttls" or "tls"')
    if channel.tls == "off" and channel.username:
        wrong(f"{where}.username", "a password is never sent without TLS", "")
    if bool(channel.username) != bool(channel.secret):
        wrong(f"{where}.username", "username and secret go together", "")
    for key, addresses in (("from", (channel.sender,)), ("to", channel.to)):
        for address in addresses:
            if address and not valid_address(address):
                wrong(f"{where}.{key}", f"{address!r} is no plain address", "write name@example.com")
    if not all(part.isascii() and (part.isalnum() or part in "-.:") for part in channel.server):
        wrong(f"{where}.server", "must be a host name or address", "")


def valid_address(address: str) -> bool:
    """A plain mailbox, RFC 5321 section 4.1.2 without quoting: nothing that could end a header or a command."""
    local, at, domain = address.rpartition("@")
    allowed = "!#$%&'*+-/=?^_`{|}~."
    return (
        bool(local and at and domain)
        and len(address) <= 254
        and address.isascii()
        and all(part.isalnum() or part in allowed for part in local)
        and all(part.isalnum() or part in "-." for part in domain)
    )


def _check_command(where: str, channel: Channel, wrong: Wrong, check_files: bool) -> None:
    if not 0 < channel.timeout <= 60:
        wrong(f"{where}.timeout", "must be longer than nothing and at most a minute", "")
    if channel.memory < 16 * 1024 * 1024:
        wrong(f"{where}.memory", "must be at least 16MiB: a shell takes nearly as much", "")
    if any("\0" in each for each in channel.run):
        wrong(f"{where}.run", "must not contain NUL", "")
    elif not os.path.isabs(channel.run[0]) or os.path.normpath(channel.run[0]) != channel.run[0]:
        wrong(f"{where}.run", "must begin with an absolute path", "no shell looks for it")
    elif check_files:
        for problem in program_problems(channel.run[0]):
            wrong(f"{where}.run", problem, "")


def program_problems(path: str) -> list[str]:
    """@return: why a program that hoopd starts must not be C{path}: whoever may write it would act as hoopd."""
    found = []
    try:
        real = os.path.realpath(path, strict=True)
        mode = os.stat(real).st_mode
        if not stat.S_ISREG(mode) or not os.access(real, os.X_OK):
            found.append(f"{path} is no executable file")
        while True:
            status = os.stat(real)
            if status.st_uid not in (0, os.geteuid()):
                found.append(f"{real} belongs to user id {status.st_uid}")
            # a sticky directory, as /tmp, lets others make files and not replace these
            if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX:
                found.append(f"{real} is writable by group or others")
            if real == "/":
                return found
            real = os.path.dirname(real)
    except OSError as problem:
        return [*found, f"{path} cannot be used: {problem.strerror}"]


def suggestion(name: str, known: Collection[str]) -> str:
    """@return: what C{name} was perhaps meant to be, as an error says it."""
    close = difflib.get_close_matches(name, known, 1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known)) or 'none'}"


def unknown_channels(names: Collection[str], known: Collection[str], file: str, key: str) -> list[ConfigError]:
    """@return: an error for each of C{names} that is no channel."""
    return [
        ConfigError(f"there is no channel {name!r}", file, key, suggestion(name, known))
        for name in names
        if name not in known
    ]
