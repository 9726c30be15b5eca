"""Identities by TLS client certificate: the chain's path validation (RFC 5280, section 6) and the name it gives.

Pure: authorities, revocation lists and the time are arguments. Not the handshake, which proves possession of the key: that
is the worker's (docs/decisions/0006), nor the files (L{hoopd.identity.provider}).
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from itertools import pairwise

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hoopd.config.schema import CertificateIssuer
from hoopd.errors import AuthenticationFailed
from hoopd.identity import duties
from hoopd.identity.names import foreign
from hoopd.values import Identity

#: a leaf and what leads to its authority; public hierarchies have three levels
CHAIN_MAX = 6
_NAMES: dict[str, type[x509.UniformResourceIdentifier | x509.RFC822Name | x509.DNSName]] = {
    "uri": x509.UniformResourceIdentifier,
    "email": x509.RFC822Name,
    "dns": x509.DNSName,
}
#: fits one message to the broker; a chain of six RSA 4096 certificates has 12 kB
OCTETS_MAX = 24 * 1024


@frozen(eq=False)
class Authorities:
    """What certificates of one issuer are judged by.

    @ivar name: of the table in the configuration.
    @ivar roots: trusted certificates.
    @ivar lists: revocation lists; a certificate whose issuer has one here must not be on it.
    """

    name: str
    issuer: CertificateIssuer
    roots: tuple[x509.Certificate, ...]
    lists: tuple[x509.CertificateRevocationList, ...] = ()


def read(name: str, issuer: CertificateIssuer, authorities: bytes, lists: bytes = b"") -> Authorities:
    """
    @param authorities, lists: PEM.
    @raise ValueError: not readable, or no certificate in it.
    """
    roots = tuple(x509.load_pem_x509_certificates(authorities))
    end = b"-----END X509 CRL-----"
    revoked = tuple(x509.load_pem_x509_crl(part + end) for part in lists.split(end)[:-1])
    if lists.strip() and not revoked:
        raise ValueError("no revocation list in what should be one")
    return Authorities(name, issuer, roots, revoked)


def identity_of(chain: Sequence[bytes], known: Sequence[Authorities], now: float) -> Identity:
    """
    @param chain: DER as the client sent it, its own certificate first.
    @param now: epoch seconds.
    @raise AuthenticationFailed: no issuer vouches for it; the text, for the log, says what each found wrong.
    """
    if not 0 < len(chain) <= CHAIN_MAX or sum(map(len, chain)) > OCTETS_MAX:
        raise AuthenticationFailed("no certificate, or too long a chain of them")
    try:
        leaf, *others = (x509.load_der_x509_certificate(each) for each in chain)
    except ValueError as problem:
        raise AuthenticationFailed(f"unreadable certificate: {problem}") from None
    wrong: list[str] = []
    for each in known:
        try:
            return _identity(leaf, others, each, now)
        except AuthenticationFailed as error:
            wrong.append(f"{each.name}: {error.why}")
    raise AuthenticationFailed("; ".join(wrong) or "no issuer of certificates is configured")


def _identity(leaf: x509.Certificate, others: list[x509.Certificate], by: Authorities, now: float) -> Identity:
    at = datetime.datetime.fromtimestamp(now, datetime.UTC)
    path = _path(leaf, others, by.roots, at)
    for issued, signer in pairwise(path):
        _check_revoked(issued, signer, by.lists, at)
    issuer = by.issuer
    groups = _groups(leaf, issuer)
    return Identity(
        subject=issuer.subject_prefix + _subject(leaf, issuer),
        kind=issuer.kind,
        groups=groups,
        duties=duties.given(issuer.duties, groups, issuer.kind),
        proof=f"certificate:{by.name}",
        proven_at=now,
        expires_at=leaf.not_valid_after_utc.timestamp(),
        claims={"serial": f"{leaf.serial_number:x}", "issuer": leaf.issuer.rfc4514_string()},
    )


def _path(
    leaf: x509.Certificate,
    others: list[x509.Certificate],
    roots: Sequence[x509.Certificate],
    at: datetime.datetime,
) -> list[x509.Certificate]:
    # authorities that people make with openssl often have no key usage, which the profile of the public web demands
    authority = (
        verification.ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, verification.Criticality.AGNOSTIC, _is_authority)
        .may_be_present(x509.KeyUsage, verification.Criticality.AGNOSTIC, _may_sign)
    )
    own = verification.ExtensionPolicy.permit_all().may_be_present(
        x509.ExtendedKeyUsage, verification.Criticality.AGNOSTIC, _for_clients
    )
    verifier = (
        verification.PolicyBuilder()
        .store(verification.Store(list(roots)))
        .time(at.replace(tzinfo=None))
        .extension_policies(ca_policy=authority, ee_policy=own)
        .build_client_verifier()
    )
    try:
        return list(verifier.verify(leaf, others).chain)
    except (verification.VerificationError, x509.UnsupportedGeneralNameType, ValueError) as problem:
        raise AuthenticationFailed(str(problem)) from None


def _is_authority(policy: object, certificate: x509.Certificate, extension: x509.BasicConstraints) -> None:
    if not extension.ca:
        raise ValueError("a certificate in the chain is no authority's")


def _may_sign(policy: object, certificate: x509.Certificate, extension: x509.KeyUsage | None) -> None:
    if extension is not None and not extension.key_cert_sign:
        raise ValueError("a certificate in the chain may not sign others")


def _for_clients(policy: object, certificate: x509.Certificate, extension: x509.ExtendedKeyUsage | None) -> None:
    # a server's certificate of the same authority is no person's
    if extension is not None and ExtendedKeyUsageOID.CLIENT_AUTH not in extension:
        raise ValueError("the certificate is not for clients")


def _check_revoked(
    issued: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[x509.CertificateRevocationList],
    at: datetime.datetime,
) -> None:
    for each in lists:
        if each.issuer != issuer.subject:
            continue
        try:
            good = each.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
        except (TypeError, InvalidSignature):
            good = False
        if not good:
            raise AuthenticationFailed("the revocation list is not signed by its issuer")
        if each.next_update_utc is not None and each.next_update_utc < at:
            raise AuthenticationFailed("the revocation list is too old")
        if each.get_revoked_certificate_by_serial_number(issued.serial_number) is not None:
            raise AuthenticationFailed("the certificate is revoked")


def _subject(leaf: x509.Certificate, issuer: CertificateIssuer) -> str:
    if issuer.subject == "common-name":
        found = [str(each.value) for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    else:
        try:
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            names = x509.SubjectAlternativeName([])
        found = [str(value) for value in names.get_values_for_type(_NAMES[issuer.subject])]
    if len(found) != 1:
        # of two names one would be taken by some readers and the other by others
        raise AuthenticationFailed(f"{len(found)} names of kind {issuer.subject}, where one is needed")
    subject = foreign(found[0].lower() if issuer.subject in ("email", "dns") else found[0])
    if subject is None:
        raise AuthenticationFailed(f"its {issuer.subject} is no usable subject")
    return subject


def _groups(leaf: x509.Certificate, issuer: CertificateIssuer) -> frozenset[str]:
    if not issuer.groups:
        return frozenset()
    units = leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    groups = [foreign(each.value) for each in units]
    if None in groups:
        raise AuthenticationFailed("an organizational unit can name no group")
    return frozenset(f"{issuer.group_prefix}{group}" for group in groups)
