"""The files behind L{hoopd.identity.certificates}: authorities and revocation lists, read again when they change."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hoopd.config.schema import CertificateIssuer
from hoopd.errors import AuthenticationFailed, ConfigError
from hoopd.identity import certificates
from hoopd.identity.certificates import Authorities

#: what tells that a file is another now: modification time in ns, size, inode (0 for a file that is not there)
_Stamp = tuple[int, int, int]


class Issuers:
    """
    @param config: C{identity.certificates}.
    @raise ConfigError: a file cannot be read or holds nothing of use.
    """

    def __init__(self, config: Mapping[str, CertificateIssuer]) -> None:
        self._config = config
        self._read: dict[str, tuple[tuple[_Stamp, ...], Authorities]] = {}
        for name in config:
            try:
                self._authorities(name)
            except (OSError, ValueError) as problem:
                raise ConfigError(str(problem), key=f"identity.certificates.{name}") from None

    def known(self) -> list[Authorities]:
        """
        @return: what certificates are judged by now.
        @raise AuthenticationFailed: a file was there and is not readable any more: no certificate is taken on half of it.
        """
        try:
            return [self._authorities(name) for name in self._config]
        except (OSError, ValueError) as problem:
            raise AuthenticationFailed(f"authorities or revocation lists cannot be read: {problem}") from None

    def _authorities(self, name: str) -> Authorities:
        issuer = self._config[name]
        paths = [issuer.authorities, *([issuer.revoked] if issuer.revoked else [])]
        stamp = tuple(_stamp(path) for path in paths)
        found = self._read.get(name)
        if found is None or found[0] != stamp:
            authorities, *lists = (Path(path).read_bytes() for path in paths)
            found = self._read[name] = stamp, certificates.read(name, issuer, authorities, b"".join(lists))
        return found[1]


def _stamp(path: str) -> _Stamp:
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size, status.st_ino
