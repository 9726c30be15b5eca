"""The gateway as an SSH certificate authority: what it issues, and what others must trust; pure but for randomness given.

Specification: OpenSSH's PROTOCOL.certkeys. Keys are Ed25519 (RFC 8709). Not who gets what: L{hoopd.vault.ssh_credentials}.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateBuilder,
    SSHCertificateType,
    SSHCertPublicKeyTypes,
)

#: clocks of hosts differ; a certificate that is not good yet lets nobody in
BACKDATED = 60

#: what a session may need at the host; what it may do with it is the gateway's to judge, request by request
EXTENSIONS = (
    b"permit-X11-forwarding",
    b"permit-agent-forwarding",
    b"permit-port-forwarding",
    b"permit-pty",
    b"permit-user-rc",
)


class SshAuthority:
    """
    @param seed: 32 random bytes, kept in the vault.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)

    @property
    def public(self) -> str:
        """The authority's key as a line of C{TrustedUserCAKeys} or C{known_hosts}, without comment."""
        return self._key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()

    def user(
        self,
        key: SSHCertPublicKeyTypes,
        principals: Sequence[str],
        key_id: str,
        serial: int,
        now: float,
        lifetime: float,
        extensions: Sequence[bytes] = EXTENSIONS,
    ) -> SSHCertificate:
        """A user certificate.

        @param principals: accounts, or names that hosts map to accounts.
        @param key_id: what the host's log shows.
        @param now: seconds since the epoch. @param lifetime: seconds.
        """
        builder = self._builder(key, SSHCertificateType.USER, principals, key_id, serial, now, lifetime)
        for name in sorted(extensions):
            builder = builder.add_extension(name, b"")
        return builder.sign(self._key)

    def host(
        self,
        key: SSHCertPublicKeyTypes,
        principals: Sequence[str],
        key_id: str,
        serial: int,
        now: float,
        lifetime: float,
    ) -> SSHCertificate:
        """A host certificate. @param principals: the host's names"""
        return self._builder(key, SSHCertificateType.HOST, principals, key_id, serial, now, lifetime).sign(self._key)

    @staticmethod
    def _builder(
        key: SSHCertPublicKeyTypes,
        kind: SSHCertificateType,
        principals: Sequence[str],
        key_id: str,
        serial: int,
        now: float,
        lifetime: float,
    ) -> SSHCertificateBuilder:
        if not principals:
            # PROTOCOL.certkeys: no principals means all of them
            raise ValueError("a certificate without principals would be good for everyone")
        return (
            SSHCertificateBuilder()
            .public_key(key)
            .type(kind)
            .serial(serial)
            .key_id(key_id.encode())
            .valid_principals([name.encode() for name in principals])
            .valid_after(int(now) - BACKDATED)
            .valid_before(int(now + lifetime))
        )
