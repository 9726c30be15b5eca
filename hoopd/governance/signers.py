"""The allowed_signers file: who may sign, with which keys; pure. ALLOWED SIGNERS in ssh-keygen(1).

What would make it unclear who signed, or when a key counts, is refused: certificates, patterns for principals, several
principals to a key, times without a zone. What is taken means the same to C{ssh-keygen -Y verify}.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime

from attrs import frozen

from hoopd.governance.sshsig import PublicKey, SignatureError


@frozen
class Signer:
    """One line. @ivar namespaces: empty is any. @ivar after, before: seconds since the epoch, or None."""

    principal: str
    key: PublicKey
    namespaces: tuple[str, ...] = ()
    after: float | None = None
    before: float | None = None
    line: int = 0

    def refusal(self, namespace: str, at: float) -> str:
        """Why it does not count for C{namespace} at C{at} (seconds since the epoch), or C{""}."""
        if self.namespaces and namespace not in self.namespaces:
            return f"{self.principal}'s key is not for {namespace} (namespaces in line {self.line} of allowed_signers)"
        if self.after is not None and at < self.after:
            return f"{self.principal}'s key counts only from {_when(self.after)} on"
        if self.before is not None and at >= self.before:
            return f"{self.principal}'s key has expired: it counted until {_when(self.before)}"
        return ""


def person(principal: str) -> str:
    """What two names have in common that may be one person's: names that look alike are."""
    return unicodedata.normalize("NFKC", principal).casefold()


def people(signers: Sequence[Signer]) -> int:
    """How many there are."""
    return len({person(each.principal) for each in signers})


def allowed_signers(text: str) -> tuple[tuple[Signer, ...], list[str]]:
    """@return: who may sign, and what is wrong with the file, as sentences."""
    signers: list[Signer] = []
    problems: list[str] = []
    owners: dict[bytes, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            signer = _signer(line.strip(), number)
        except (ValueError, SignatureError) as problem:
            problems.append(f"line {number}: {problem}")
            continue
        owner = owners.setdefault(signer.key.octets, signer.principal)
        if person(owner) != person(signer.principal):
            problems.append(f"line {number}: the key is also {owner}'s: nobody could tell who signed")
        signers.append(signer)
    return tuple(signers), problems


def _signer(line: str, number: int) -> Signer:
    words = re.findall(r'(?:[^\s"]|"[^"]*")+', line)
    principal = words.pop(0).strip('"') if words else ""
    if not re.fullmatch(r"user:[^\s*?!,\"]+", principal):
        raise ValueError(f"{principal[:80]!r} is no person's identity: write user:NAME, one to a line")
    options: dict[str, str] = {}
    if words and not re.fullmatch(r"(?:ssh-|ecdsa-|sk-)[A-Za-z0-9@.-]+", words[0]):
        options = _options(words.pop(0))
    if len(words) < 2:
        raise ValueError("there is no key: PRINCIPAL [OPTIONS] TYPE BASE64")
    try:
        key = PublicKey.parse(base64.b64decode(words[1], validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("the key is no base64 of a public key") from None
    if key.kind != words[0]:
        raise ValueError(f"the key is of type {key.kind}, not {words[0]}")
    namespaces = tuple(options["namespaces"].split(",")) if "namespaces" in options else ()
    if any(set(each) & set("*?!") for each in namespaces):
        raise ValueError("namespaces are named in full, without patterns")
    after, before = _time(options.get("valid-after")), _time(options.get("valid-before"))
    return Signer(principal, key, namespaces, after, before, number)


_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?')


def _options(word: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(word):
        match = _OPTION.match(word, at)
        name = match.group(1).lower() if match else ""
        if match is None or name not in ("namespaces", "valid-after", "valid-before"):
            raise ValueError(f"option {word[at : at + 40]!r} is not taken: namespaces, valid-after, valid-before are")
        if not match.group(2) or name in found:
            raise ValueError(f'option {name} stands once, as {name}="VALUE"')
        found[name] = match.group(2)
        at = match.end()
        if at < len(word) and word[at] != ",":
            raise ValueError(f"options are separated by commas, not by {word[at : at + 10]!r}")
        at += 1
    return found


_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)(?:(\d\d)(\d\d)(\d\d)?)?(Z?)", re.ASCII)


def _time(value: str | None) -> float | None:
    if value is None:
        return None
    match = _TIME.fullmatch(value)
    if match is None:
        raise ValueError(f"{value[:40]!r} is no time: YYYYMMDDZ or YYYYMMDDHHMM[SS]Z")
    *numbers, zone = match.groups()
    if not zone:
        raise ValueError(f"{value} says no zone, and machines disagree about theirs: end it with Z (UTC)")
    try:
        year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError as problem:
        raise ValueError(f"{value} is no time: {problem}") from None


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
