"""The manifest, which is what people sign: what it says, whether enough of them did, whether it is the newest; pure.

It names every file that rules depend on by digest, so that one that was changed, added or removed is noticed; it has a
serial number, so that an older one is not taken for the newest; and it says how many must sign and names the list of who
may, so that both change only by the signatures of those who were in it. Text that can be read in a review:

    hoopd policy manifest 1
    serial 7
    signatures 2
    sha256 9f86d0…0a08 allowed_signers
    sha256 60303a…1b8e policies.d/orders.toml
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from attrs import frozen

from hoopd.errors import HoopdError
from hoopd.governance.papers import MANIFEST as NAME
from hoopd.governance.papers import SIGNATURES_MAX, SIGNERS
from hoopd.governance.signers import Signer, allowed_signers, people, person
from hoopd.governance.sshsig import Signature, SignatureError

#: ssh-keygen -n: a signature made for anything else is none over rules
NAMESPACE = "hoopd-policy"
_HEAD = "hoopd policy manifest 1"
_LINE = re.compile(r"sha256 ([0-9a-f]{64}) ([^\x00-\x1f\x7f]+)")
_SERIAL = re.compile(r"serial ([0-9]{1,15})", re.ASCII)
_NEEDED = re.compile(r"signatures ([0-9])", re.ASCII)


class ManifestError(HoopdError):
    """The rules are not taken. @ivar problems: why, as sentences."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@frozen
class Manifest:
    """@ivar needed: how many people must sign. @ivar files: path to SHA-256. @ivar digest: tells it from others."""

    serial: int
    needed: int
    files: Mapping[str, str]
    digest: str = ""

    def text(self) -> str:
        """@raise ValueError: a path cannot stand in a manifest."""
        lines = [f"sha256 {self.files[path]} {path}" for path in sorted(self.files)]
        for line in lines:
            if _LINE.fullmatch(line) is None:
                raise ValueError(f"{line[72:][:100]!r} cannot stand in a manifest: rename the file")
        return "\n".join([_HEAD, f"serial {self.serial}", f"signatures {self.needed}", *lines]) + "\n"

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """@raise ManifestError"""
        if "\r" in text:
            raise ManifestError([f"{NAME} has carriage returns: sign and keep it with plain line ends"])
        lines = text.split("\n")
        serial = _SERIAL.fullmatch(lines[1]) if len(lines) > 3 and lines[0] == _HEAD else None
        needed = _NEEDED.fullmatch(lines[2]) if serial else None
        if serial is None or needed is None or lines.pop() != "":
            raise ManifestError([f"{NAME} is no manifest: hoopctl policy manifest makes one"])
        files: dict[str, str] = {}
        for line in lines[3:]:
            match = _LINE.fullmatch(line)
            if match is None or match.group(2) in files:
                raise ManifestError([f"{NAME}: {line[:100]!r} is no line of a manifest, or names a file again"])
            files[match.group(2)] = match.group(1)
        return cls(int(serial.group(1)), int(needed.group(1)), files, sha256(text))


@frozen
class Accepted:
    """What was accepted last, as the broker keeps it.

    @ivar at: when, in seconds since the epoch.
    @ivar signers: the text of allowed_signers then.
    """

    serial: int
    digest: str
    at: float
    needed: int
    signers: str


@frozen
class Endorsement:
    """A manifest with enough signatures. @ivar signers: distinct people, sorted."""

    serial: int
    digest: str
    signers: tuple[str, ...]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digests(files: Mapping[str, str]) -> dict[str, str]:
    """@param files: path to text. @return: path to SHA-256."""
    return {path: sha256(files[path]) for path in sorted(files)}


def differences(named: Mapping[str, str], files: Mapping[str, str]) -> list[str]:
    """Where the files are not those that a manifest names, as sentences. @param files: path to SHA-256."""
    found = [f"{path} is not in {NAME}: it was added" for path in sorted(set(files) - set(named))]
    found += [f"{path} is in {NAME} and is not there: it was removed" for path in sorted(set(named) - set(files))]
    changed = [path for path in sorted(set(files) & set(named)) if files[path] != named[path]]
    return found + [f"{path} is not what {NAME} names: it was changed" for path in changed]


def endorse(
    text: str | None,
    signatures: Mapping[str, str],
    files: Mapping[str, str],
    needed: int,
    accepted: Accepted | None,
    now: float,
) -> Endorsement | None:
    """Whether the rules may be taken: by enough of those who may sign now, and of those who could when they were
    changed last; and nothing newer was taken before.

    @param text: the manifest, None where there is none.
    @param signatures: file name to armoured signature.
    @param files: path to text of everything that rules depend on, the list of signers as L{SIGNERS}.
    @param needed: how many must sign, by the configuration.
    @param accepted: None if none ever was.
    @param now: seconds since the epoch. Keys must count now; for the manifest accepted last, when it was accepted: a
        gateway that starts again does not need new signatures because a key has expired since.
    @return: None where nothing needs to be signed.
    @raise ManifestError
    """
    before = accepted.needed if accepted is not None else 0
    if not needed and not before:
        return None
    if text is None:
        raise ManifestError([_missing(needed, before)])
    manifest = Manifest.parse(text)
    problems = differences(manifest.files, digests(files))
    if manifest.needed != needed:
        problems.append(f"{NAME} says signatures {manifest.needed}, and hoopd.toml policy.signatures = {needed}")
    same = accepted is not None and manifest.digest == accepted.digest
    at = accepted.at if accepted is not None and same else now
    if accepted is not None and not same and manifest.serial <= accepted.serial:
        problems.append(
            f"{NAME} has the serial number {manifest.serial}, and {accepted.serial} was taken before: an older one, or "
            "another one of the same number, is not"
        )
    if len(signatures) > SIGNATURES_MAX:
        raise ManifestError([*problems, f"there are too many signatures: {SIGNATURES_MAX} are the most"])
    allowed = allowed_signers(files.get(SIGNERS, ""))[0]
    signers, wrong = _people(text, signatures, allowed, at)
    problems += _lacking(needed, signers, wrong, "")
    if accepted is not None and before and not same:
        # whoever changes who may sign, or how many must, needs those who could until now
        signed, wrong = _people(text, signatures, allowed_signers(accepted.signers)[0], at)
        problems += _lacking(before, signed, wrong, f" by the list of manifest {accepted.serial}, which is in force")
        signers = signers or signed
    if problems:
        raise ManifestError(list(dict.fromkeys(problems)))
    return Endorsement(manifest.serial, manifest.digest, tuple(sorted(signers)))


def _missing(needed: int, before: int) -> str:
    if needed:
        return f"{NAME} is not there, and policy.signatures = {needed}: hoopctl policy manifest makes one to sign"
    return (
        f"the rules in force were signed by {before} people: taking policy.signatures away needs a {NAME} with the line "
        "signatures 0 that as many of them signed"
    )


def _people(
    text: str, signatures: Mapping[str, str], allowed: Sequence[Signer], at: float
) -> tuple[list[str], list[str]]:
    """@return: distinct people who signed, and what is wrong with the other signatures."""
    found: dict[str, str] = {}
    wrong: list[str] = []
    for name in sorted(signatures):
        try:
            principal = _signer(text, signatures[name], allowed, at)
        except SignatureError as problem:
            wrong.append(f"{name}: {problem}")
            continue
        if person(principal) in found:
            wrong.append(f"{name}: {principal} signed already: two keys of one person are one signature")
        found.setdefault(person(principal), principal)
    return list(found.values()), wrong


def _signer(text: str, armoured: str, allowed: Sequence[Signer], at: float) -> str:
    signature = Signature.parse(armoured)
    if signature.namespace != NAMESPACE:
        raise SignatureError(f"it was made for {signature.namespace[:60]!r}, not for {NAMESPACE!r} (ssh-keygen -n)")
    lines = [each for each in allowed if each.key.octets == signature.key.octets]
    if not lines:
        raise SignatureError(f"its key {signature.key.fingerprint} is not among the allowed signers")
    signature.check(text.encode())
    refusals = [each.refusal(NAMESPACE, at) for each in lines]
    if all(refusals):
        raise SignatureError(refusals[0])
    return lines[0].principal


def _lacking(needed: int, signers: Sequence[str], wrong: Sequence[str], which: str) -> list[str]:
    if len(signers) >= needed:
        return []
    who = ", ".join(sorted(signers)) or "nobody"
    count = "one person" if needed == 1 else f"{needed} distinct people"
    return [f"{count} must have signed {NAME}{which}; of those {who} did", *wrong]


def list_problems(text: str, needed: int) -> list[str]:
    """What is wrong with a list of signers where C{needed} must sign."""
    signers, problems = allowed_signers(text)
    if not problems and people(signers) < needed:
        problems.append(f"it names {people(signers)} people, and policy.signatures = {needed}")
    return problems
