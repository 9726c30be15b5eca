"""Client certificates: whom they name, and everything that must not pass for one."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hoopd.config.schema import CertificateIssuer, IdentityConfig, OidcProvider
from hoopd.errors import AuthenticationFailed, ConfigError
from hoopd.identity import certificates
from hoopd.identity.issuers import Issuers
from hoopd.identity.provider import check_providers

NOW = 1_790_000_000.0
DAY = datetime.timedelta(days=1)
AT = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
KEYS = [ec.generate_private_key(ec.SECP256R1()) for _ in range(4)]
SPIFFE = x509.UniformResourceIdentifier("spiffe://example.org/ci/orders")


def name(*parts: tuple[Any, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in parts])


ROOT = name((NameOID.COMMON_NAME, "root"))


CI = name((NameOID.COMMON_NAME, "ci"))


def certificate(
    subject: x509.Name = CI,
    key: ec.EllipticCurvePrivateKey = KEYS[1],
    by: tuple[x509.Name, ec.EllipticCurvePrivateKey] = (ROOT, KEYS[0]),
    names: tuple[x509.GeneralName, ...] = (SPIFFE,),
    ca: bool = False,
    start: datetime.datetime = AT - DAY,
    end: datetime.datetime = AT + DAY,
    usage: tuple[x509.ObjectIdentifier, ...] = (),
    serial: int = 7,
) -> x509.Certificate:
    made = (
        x509.CertificateBuilder(by[0], subject, key.public_key(), serial, start, end)
        .add_extension(x509.BasicConstraints(ca, None), True)
    )  # fmt: skip
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), False)
    if usage:
        made = made.add_extension(x509.ExtendedKeyUsage(usage), False)
    return made.sign(by[1], hashes.SHA256())


AUTHORITY = certificate(ROOT, KEYS[0], names=(), ca=True)


def der(*chain: x509.Certificate) -> tuple[bytes, ...]:
    return tuple(each.public_bytes(Encoding.DER) for each in chain)


def known(revoked: bytes = b"", **config: Any) -> list[certificates.Authorities]:
    issuer = CertificateIssuer("ca.pem", **config)
    return [certificates.read("corp", issuer, AUTHORITY.public_bytes(Encoding.PEM), revoked)]


def revocations(serials: tuple[int, ...], key: Any = KEYS[0], until: datetime.datetime = AT + DAY) -> bytes:
    made = x509.CertificateRevocationListBuilder(ROOT, AT - DAY, until)
    for serial in serials:
        made = made.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, AT - DAY).build())
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def test_a_workload_by_its_uri() -> None:
    identity = certificates.identity_of(der(certificate()), known(subject_prefix="x/"), NOW)
    assert identity.name == "agent:x/spiffe://example.org/ci/orders"
    assert identity.proof == "certificate:corp"
    assert identity.expires_at == (AT + DAY).timestamp()
    assert identity.duties == {"user"}


def test_a_person_with_groups_and_duties() -> None:
    subject = name((NameOID.ORGANIZATIONAL_UNIT_NAME, "leads"), (NameOID.COMMON_NAME, "priya"))
    config = {"kind": "human", "subject": "common-name", "groups": "organizational-unit", "group_prefix": "pki/"}
    given = known(**config, duties={"pki/leads": "approver", "leads": "administrator"})
    identity = certificates.identity_of(der(certificate(subject, names=())), given, NOW)
    assert (identity.name, identity.groups) == ("user:priya", {"pki/leads"})
    assert identity.duties == {"user", "approver"}
    agent = known(**{**config, "kind": "agent"}, duties={"pki/leads": "approver"})
    assert certificates.identity_of(der(certificate(subject, names=())), agent, NOW).duties == {"user"}


def test_through_an_intermediate() -> None:
    middle = name((NameOID.COMMON_NAME, "middle"))
    issuing = certificate(middle, KEYS[2], names=(), ca=True)
    leaf = certificate(by=(middle, KEYS[2]))
    assert certificates.identity_of(der(leaf, issuing), known(), NOW).kind == "agent"
    with pytest.raises(AuthenticationFailed):
        certificates.identity_of(der(leaf), known(), NOW)


NOT_CA = certificate(name((NameOID.COMMON_NAME, "mere")), KEYS[2], names=())
FORGED_ROOT = certificate(ROOT, KEYS[3], by=(ROOT, KEYS[3]), names=(), ca=True)


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param((), id="nothing"),
        pytest.param((b"\x30\x03\x02\x01\x01",), id="garbage"),
        pytest.param(der(certificate(by=(ROOT, KEYS[3]))), id="signed by a stranger with our name"),
        pytest.param(der(certificate(by=(ROOT, KEYS[3])), FORGED_ROOT), id="and his root along"),
        pytest.param(der(certificate(end=AT - DAY / 2)), id="expired"),
        pytest.param(der(certificate(start=AT + DAY / 2)), id="not yet"),
        pytest.param(der(certificate(by=(NOT_CA.subject, KEYS[2])), NOT_CA), id="signed by no authority"),
        pytest.param(der(certificate(usage=(ExtendedKeyUsageOID.SERVER_AUTH,))), id="a server's"),
        pytest.param(der(certificate(names=())), id="no name"),
        pytest.param(der(certificate(names=(SPIFFE, x509.UniformResourceIdentifier("spiffe://b")))), id="two names"),
        pytest.param(der(certificate(names=(x509.DNSName("ci.example.org"),))), id="another kind of name"),
        pytest.param(der(certificate(), *[AUTHORITY] * 6), id="too long"),
        pytest.param((b"\x30" * 30_000,), id="too large"),
    ],
)
def test_what_does_not_pass(chain: tuple[bytes, ...]) -> None:
    with pytest.raises(AuthenticationFailed):
        certificates.identity_of(chain, known(), NOW)


def test_look_alike_names_are_refused() -> None:
    subject = name((NameOID.COMMON_NAME, "pri\u200bya"))
    with pytest.raises(AuthenticationFailed):
        certificates.identity_of(der(certificate(subject, names=())), known(subject="common-name"), NOW)


def test_nobody_is_known_without_issuers() -> None:
    with pytest.raises(AuthenticationFailed):
        certificates.identity_of(der(certificate()), [], NOW)


@pytest.mark.parametrize(
    ("lists", "why"),
    [
        (revocations((7,)), "revoked"),
        (revocations((), until=AT - DAY / 2), "too old"),
        (revocations((), KEYS[3]), "not signed"),
    ],
)
def test_revocation(lists: bytes, why: str) -> None:
    assert certificates.identity_of(der(certificate()), known(revocations((8,))), NOW)
    with pytest.raises(AuthenticationFailed) as caught:
        certificates.identity_of(der(certificate()), known(lists), NOW)
    assert why in caught.value.why


def test_files_are_read_again_and_a_lost_one_closes(tmp_path: Path) -> None:
    authorities, revoked = tmp_path / "ca.pem", tmp_path / "crl.pem"
    authorities.write_bytes(AUTHORITY.public_bytes(Encoding.PEM))
    revoked.write_bytes(revocations(()))
    issuers = Issuers({"corp": CertificateIssuer(str(authorities), revoked=str(revoked))})
    chain = der(certificate())
    assert certificates.identity_of(chain, issuers.known(), NOW)
    assert issuers.known()[0] is issuers.known()[0]
    (tmp_path / "new").write_bytes(revocations((7,)))
    (tmp_path / "new").rename(revoked)
    with pytest.raises(AuthenticationFailed):
        certificates.identity_of(chain, issuers.known(), NOW)
    revoked.unlink()
    with pytest.raises(AuthenticationFailed):
        issuers.known()


@pytest.mark.parametrize("text", [b"", b"nothing"])
def test_useless_files_are_configuration_errors(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        Issuers({"corp": CertificateIssuer(str(path))})
    assert caught.value.key == "identity.certificates.corp"
    with pytest.raises(ConfigError):
        Issuers({"corp": CertificateIssuer(str(tmp_path / "absent.pem"))})


def test_an_issuer_and_a_provider_must_not_prove_the_same_names() -> None:
    oidc = {"ci": OidcProvider("https://id.example.org", ("hoopd",), kind="agent")}
    check_providers(IdentityConfig(oidc=oidc, certificates={"corp": CertificateIssuer("ca.pem", subject_prefix="x/")}))
    with pytest.raises(ConfigError):
        check_providers(IdentityConfig(oidc=oidc, certificates={"corp": CertificateIssuer("ca.pem")}))
