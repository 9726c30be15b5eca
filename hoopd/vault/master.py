"""Where the master key comes from: a systemd credential, a file, or a passphrase; not what it seals.

A source is asked for every key that the operator supplies now; the store says which of them is the vault's. A
rotation goes through three moments, and a crash between any two of them loses nothing:

 1. C{successor}: the new key is supplied as well as the old one (for a file: both stand in it, on disk);
 2. the vault re-wraps everything in one transaction, which also names the new key as the vault's;
 3. C{settle}: a file drops every key but the vault's. Whatever a crash left is settled at the next start.

Everything here blocks and is called in a thread. Nothing here logs.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from attrs import field, frozen
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from hoopd.errors import ConfigError
from hoopd.secret import Secret
from hoopd.vault.envelope import KEY_BYTES, MasterKey

#: larger than any key file we write: a rotation leaves two lines of 57 bytes
_MAX_FILE = 4096
_LINE = "hoopd-key-1 "
_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
#: a passphrase shorter than this is guessed offline, Argon2 or not
_MIN_PASSPHRASE = 12
#: RFC 9106 section 4, second recommended option: 64 MiB, 3 passes, 4 lanes
_MEMORY, _PASSES, _LANES = 65536, 3, 4

Entropy = Callable[[int], bytes]


@frozen
class Supplied:
    """A key, and how it is derived from what the operator supplies; empty where it is supplied itself."""

    key: MasterKey
    derivation: str = ""


class MasterSource(Protocol):
    """One of the sources below."""

    @property
    def description(self) -> str:
        """For messages: never anything secret."""

    def supplied(self, derivation: str) -> tuple[MasterKey, ...]:
        """@param derivation: of the vault's key. @return: all keys there are now. @raise ConfigError"""

    def first(self) -> Supplied:
        """@return: the key for a vault that has none yet. @raise ConfigError"""

    def successor(self, present: MasterKey) -> Supplied:
        """Begin a rotation. @return: the next key; C{present} is supplied as well. @raise ConfigError"""

    def settle(self, present: MasterKey) -> None:
        """End a rotation: only C{present} is needed from now on. @raise OSError: it could not be written."""


def parse_keys(content: bytes, where: str) -> tuple[MasterKey, ...]:
    """Read 32 raw bytes, or lines with 32 bytes each as base64 or hexadecimal; C{#} begins a comment line.

    @raise ConfigError: anything else.
    """
    if len(content) == KEY_BYTES:
        return (MasterKey(Secret(content)),)
    keys: list[MasterKey] = []
    try:
        for line in content.decode("ascii").splitlines():
            text = line.strip().removeprefix(_LINE)
            if not text or text.startswith("#"):
                continue
            value = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
            keys.append(MasterKey(Secret(value)))
    except (UnicodeDecodeError, binascii.Error, ValueError):
        keys = []
    if not keys:
        raise ConfigError(
            "this is no master key",
            where,
            "vault.master_key",
            "32 random bytes, raw, as base64 or hexadecimal: head -c 32 /dev/urandom | base64",
        )
    return tuple(keys)


def _read(path: Path, private: bool) -> bytes:
    """@param private: refuse a file that others may read or that is another user's."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"the master key cannot be read: {error.strerror}", str(path), "vault.master_key") from None
    try:
        status = os.fstat(descriptor)
        problem = ""
        if not stat.S_ISREG(status.st_mode):
            problem = "the master key is not a regular file"
        elif private and status.st_mode & 0o077:
            problem = f"mode {stat.S_IMODE(status.st_mode):04o} lets others at the master key"
        elif private and status.st_uid not in (os.geteuid(), 0):
            problem = "the master key belongs to another user"
        elif status.st_size > _MAX_FILE:
            problem = "too large for a master key"
        if problem:
            raise ConfigError(problem, str(path), "vault.master_key", "chmod 600, owned by the service's user")
        return os.read(descriptor, _MAX_FILE)
    finally:
        os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    """Replace C{path} atomically and durably, mode 0600. @raise OSError"""
    beside = path.with_name(f".{path.name}.writing")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@frozen
class FileSource:
    """C{file:PATH}: the key, in a file of the service's user, which a rotation rewrites."""

    path: Path
    entropy: Entropy = field(default=os.urandom, repr=False)

    @property
    def description(self) -> str:
        return f"file {self.path}"

    def supplied(self, derivation: str) -> tuple[MasterKey, ...]:
        return parse_keys(_read(self.path, private=True), str(self.path))

    def first(self) -> Supplied:
        """A missing file is made: nothing is sealed yet, so nothing can be lost."""
        if not os.path.lexists(self.path):
            self._keep((MasterKey(Secret(self.entropy(KEY_BYTES))),), "cannot be made")
        return Supplied(self.supplied("")[0])

    def successor(self, present: MasterKey) -> Supplied:
        new = MasterKey(Secret(self.entropy(KEY_BYTES)))
        self._keep((new, present), "cannot be replaced")
        return Supplied(new)

    def settle(self, present: MasterKey) -> None:
        if self.supplied("") != (present,):
            self._rewrite((present,))

    def _keep(self, keys: tuple[MasterKey, ...], problem: str) -> None:
        try:
            self._rewrite(keys)
        except OSError as error:
            raise ConfigError(
                f"the master key {problem}: {error.strerror}",
                str(self.path),
                "vault.master_key",
                "the directory must be writable for the service's user",
            ) from None

    def _rewrite(self, keys: tuple[MasterKey, ...]) -> None:
        lines = [_LINE + base64.b64encode(key.key.reveal()).decode() + "\n" for key in keys]
        _write(self.path, "".join(lines).encode())


@frozen
class CredentialSource:
    """C{credential:NAME}: what systemd put into C{$CREDENTIALS_DIRECTORY}; the operator replaces it.

    For a rotation the operator supplies the new key as a second credential, C{NAME.new}, and afterwards makes it
    C{NAME}.
    """

    directory: Path
    name: str

    @property
    def description(self) -> str:
        return f"credential {self.name}"

    def supplied(self, derivation: str) -> tuple[MasterKey, ...]:
        keys = self._keys(self.name)
        if (self.directory / f"{self.name}.new").exists():
            keys += self._keys(f"{self.name}.new")
        return keys

    def first(self) -> Supplied:
        return Supplied(self._keys(self.name)[0])

    def successor(self, present: MasterKey) -> Supplied:
        others = [key for key in self.supplied("") if key.id != present.id]
        if not others:
            raise ConfigError(
                "there is no second credential with the new key",
                key="vault.master_key",
                suggestion=f"LoadCredentialEncrypted={self.name}.new:…, restart, rotate, then rename it to {self.name}",
            )
        return Supplied(others[-1])

    def settle(self, present: MasterKey) -> None:
        """The operator's to do."""

    def _keys(self, name: str) -> tuple[MasterKey, ...]:
        # systemd made the directory for this service alone (mode 0500); modes within it are its affair
        path = self.directory / name
        return parse_keys(_read(path, private=False), str(path))


@frozen
class PassphraseSource:
    """C{passphrase:PATH}: Argon2id of the first line of a private file, with a salt that the store keeps.

    For a rotation C{PATH.new}, where it exists, holds the new passphrase; otherwise the same one is used with a
    new salt.
    """

    path: Path
    entropy: Entropy = field(default=os.urandom, repr=False)

    @property
    def description(self) -> str:
        return f"passphrase {self.path}"

    @property
    def _next(self) -> Path:
        return self.path.with_name(self.path.name + ".new")

    def supplied(self, derivation: str) -> tuple[MasterKey, ...]:
        files = [path for path in (self.path, self._next) if path.exists()] or [self.path]
        return tuple(self._derive(path, derivation) for path in files)

    def first(self) -> Supplied:
        return self._fresh(self.path)

    def successor(self, present: MasterKey) -> Supplied:
        return self._fresh(self._next if self._next.exists() else self.path)

    def settle(self, present: MasterKey) -> None:
        """The operator's to do: C{mv PATH.new PATH}."""

    def _fresh(self, path: Path) -> Supplied:
        salt = base64.b64encode(self.entropy(16)).decode()
        derivation = f"argon2id$m={_MEMORY},t={_PASSES},p={_LANES}${salt}"
        return Supplied(self._derive(path, derivation), derivation)

    def _derive(self, path: Path, derivation: str) -> MasterKey:
        found = re.fullmatch(r"argon2id\$m=(\d{1,8}),t=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/=]+)", derivation)
        if found is None:
            raise ConfigError("the vault's master key does not come from a passphrase", str(path), "vault.master_key")
        memory, passes, lanes = (int(number) for number in found.group(1, 2, 3))
        passphrase = _read(path, private=True).split(b"\n", 1)[0].rstrip(b"\r")
        if len(passphrase) < _MIN_PASSPHRASE:
            raise ConfigError(
                f"the passphrase has fewer than {_MIN_PASSPHRASE} characters", str(path), "vault.master_key"
            )
        derived = Argon2id(
            salt=base64.b64decode(found.group(4)),
            length=KEY_BYTES,
            iterations=passes,
            lanes=lanes,
            memory_cost=memory,
        ).derive(passphrase)
        return MasterKey(Secret(derived))


def master_source(setting: str, environment: Mapping[str, str], entropy: Entropy = os.urandom) -> MasterSource:
    """
    @param setting: C{vault.master_key} of the configuration.
    @param environment: for C{CREDENTIALS_DIRECTORY}.
    @raise ConfigError: it names no source.
    """
    kind, _, where = setting.partition(":")
    if kind == "credential" and _CREDENTIAL.fullmatch(where):
        directory = environment.get("CREDENTIALS_DIRECTORY", "")
        if not directory:
            raise ConfigError(
                "there are no credentials: the service was not started by systemd with one",
                key="vault.master_key",
                suggestion="LoadCredentialEncrypted= in the unit, or file:PATH",
            )
        return CredentialSource(Path(directory), where)
    if kind == "file" and where.startswith("/"):
        return FileSource(Path(where), entropy)
    if kind == "passphrase" and where.startswith("/"):
        return PassphraseSource(Path(where), entropy)
    raise ConfigError(
        f"unknown source {kind!r} or bad name",
        key="vault.master_key",
        suggestion="credential:NAME, file:/PATH or passphrase:/PATH",
    )
