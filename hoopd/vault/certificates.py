"""Is this the target's certificate, and what does a SCRAM exchange bind to; judgement only, no TLS of its own.

The vault judges the chain itself, because the worker that relays it parses clients' bytes and may have fallen. Paths
are built and checked by C{cryptography.x509.verification} (RFC 5280), with the extension rules of private
authorities rather than the browsers': a key identifier may be missing, a name in the subject alternative names may
not. C{verify-ca} leaves out the name only.
"""

from __future__ import annotations

import datetime
import functools
import ipaddress
import re
import ssl
import warnings
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from hoopd.errors import ConfigError, TargetError
from hoopd.values import Target

#: certificates in a chain: a leaf, two or three authorities and some slack
_MAX_CHAIN = 10
_BLOCK = re.compile("-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def _may_sign(policy: Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an authority's certificate does not allow signing certificates")


def _may_serve(policy: Policy, certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None) -> None:
    wanted = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if usage is not None and not any(one in usage for one in wanted):
        raise ValueError("the certificate is not for servers")


_AUTHORITY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _may_sign)
)
_LEAF = ExtensionPolicy.permit_all().may_be_present(x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _may_serve)
_NAMED_LEAF = _LEAF.require_present(x509.SubjectAlternativeName, Criticality.AGNOSTIC, None)


@functools.lru_cache(maxsize=64)
def _store(authorities: str) -> Store:
    """Parsing the system's 140 authorities takes some ms: once for each text.

    One that does not parse is passed over, which only narrows whom we believe: Debian still ships a certificate
    with serial number zero, and it shall not take the others with it.
    """
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for block in _BLOCK.findall(authorities):
            try:
                found.append(x509.load_pem_x509_certificate(block.encode()))
            except ValueError:
                continue
    if not found:
        raise ConfigError("these are no PEM certificates", key="tls.authorities")
    return Store(found)


@functools.lru_cache(maxsize=1)
def system_authorities() -> str:
    """@return: PEM text of the system's authorities, as OpenSSL finds them. @raise ConfigError: there are none."""
    file = ssl.get_default_verify_paths().cafile
    if not file:
        raise ConfigError("the system has no certificate authorities", suggestion="apt-get install ca-certificates")
    return Path(file).read_text()


def _subject(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        try:
            return x509.DNSName(name.encode("ascii").decode().rstrip("."))
        except UnicodeEncodeError:
            return x509.DNSName(name.encode("idna").decode())


def verify(target: Target, chain: Sequence[bytes], now: float) -> None:
    """
    @param chain: DER certificates as presented, leaf first.
    @param now: epoch seconds.
    @raise TargetError: the chain does not lead to the target's authorities, or is not for its name.
    """
    if not chain:
        raise TargetError(f"target {target.name} did not encrypt the connection, and tls is {target.tls.mode}")
    if len(chain) > _MAX_CHAIN:
        raise TargetError(f"target {target.name} sent an absurd certificate chain")
    name = target.tls.server_name or target.host
    store = _store(target.tls.authorities or system_authorities())
    builder = PolicyBuilder().store(store).time(datetime.datetime.fromtimestamp(now, datetime.UTC))
    try:
        leaf, *others = (x509.load_der_x509_certificate(one) for one in chain)
        if target.tls.mode == "verify-ca":
            # the one verifier that asks for no name is the one for clients; the leaf's use is checked by _LEAF
            policies = builder.extension_policies(ca_policy=_AUTHORITY, ee_policy=_LEAF)
            policies.build_client_verifier().verify(leaf, others)
        else:
            policies = builder.extension_policies(ca_policy=_AUTHORITY, ee_policy=_NAMED_LEAF)
            policies.build_server_verifier(_subject(name)).verify(leaf, others)  # type: ignore[arg-type]
    except (VerificationError, ValueError, UnsupportedAlgorithm) as error:
        why = str(error).split(" (encountered", 1)[0].removeprefix("validation failed: ")
        raise TargetError(f"certificate of target {target.name} is not good for {name}: {why}") from None


def channel_binding(leaf: bytes) -> bytes | None:
    """C{tls-server-end-point} (RFC 5929 section 4.1): a hash of the certificate by its signature's hash function.

    @param leaf: DER.
    @return: None where the RFC leaves it undefined (Ed25519 signs without one).
    """
    try:
        algorithm = x509.load_der_x509_certificate(leaf).signature_hash_algorithm
    except UnsupportedAlgorithm:
        return None
    if algorithm is None:
        return None
    if isinstance(algorithm, hashes.MD5 | hashes.SHA1):
        algorithm = hashes.SHA256()
    digest = hashes.Hash(algorithm)
    digest.update(leaf)
    return digest.finalize()
