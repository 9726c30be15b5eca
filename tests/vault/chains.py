"""Certificates for tests of the vault: authorities and leaves, made in memory."""

from __future__ import annotations

import datetime
import ipaddress
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: when the certificates here are valid: an hour before to a day after
NOW = 1_800_000_000.0


@frozen
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


def make(
    name: str,
    signer: Pair | None = None,
    ca: bool = False,
    names: tuple[str, ...] = (),
    begins: float = NOW - 3600,
    ends: float = NOW + 86400,
    usage: Any = ExtendedKeyUsageOID.SERVER_AUTH,
    algorithm: Any = None,
    key: Any = None,
    sign_certificates: bool | None = None,
) -> Pair:
    """Make a certificate, self-signed without C{signer}."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signer.certificate.subject if signer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.fromtimestamp(begins, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(ends, datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), critical=False)
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if sign_certificates is not None:
        builder = builder.add_extension(
            x509.KeyUsage(True, False, False, False, False, sign_certificates, False, False, False), critical=True
        )
    default = None if "ed25519" in type(signer.key if signer else key).__module__ else hashes.SHA256()
    return Pair(builder.sign(signer.key if signer else key, algorithm or default), key)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
