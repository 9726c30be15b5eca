"""Certificates for a first try: an authority of this gateway's own and what the listener shows; not a PKI.

X.509 profile: RFC 5280; names in subjectAltName only (RFC 9525).
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: the authority outlives a bastion's hardware; a server certificate keeps below the 825 days that clients accept
_AUTHORITY_DAYS = 3650
_SERVER_DAYS = 800


@frozen
class Pair:
    """PEM texts of a certificate and its key."""

    certificate: bytes
    key: bytes = field(repr=False)


def _name(common: str) -> x509.Name:
    # RFC 5280 appendix A: a common name has at most 64 characters; it is a label here, never matched
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    # an hour back: clocks differ
    now = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def authority() -> Pair:
    """A new authority that may sign servers only."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("hoopd gateway authority")
    built = (
        _begun(name, name, key, _AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(built.public_bytes(serialization.Encoding.PEM), _pem(key))


def server(ca: Pair, names: Iterable[str], addresses: Iterable[str]) -> Pair:
    """A server's certificate from C{ca}; the wildcard addresses name no host and are left out.

    @raise ValueError: C{ca} is no certificate with its key.
    """
    issuer = x509.load_pem_x509_certificate(ca.certificate)
    signer = serialization.load_pem_private_key(ca.key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not of an elliptic curve")
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in dict.fromkeys(names)]
    for address in dict.fromkeys(addresses):
        parsed = ipaddress.ip_address(address)
        if not parsed.is_unspecified:
            alternatives.append(x509.IPAddress(parsed))
    built = (
        _begun(_name(next(iter(alternatives)).value), issuer.subject, key, _SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return Pair(built.public_bytes(serialization.Encoding.PEM), _pem(key))
