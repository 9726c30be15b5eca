"""What officers read in the end: a service file that libpq takes, or the secret in base64 where it would not."""

from __future__ import annotations

import base64

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from hoopd.emergency.contents import contents
from hoopd.values import Target, TargetTls

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
TARGET = Target(
    "orders", "postgres", "10.0.0.5", 5432, credential="orders-app", username="app", databases=("shop", "postgres"),
    tls=TargetTls("verify-full", PEM),
)  # fmt: skip


def text(target: Target = TARGET, value: bytes = b"s3cret", reason: str = "INC-1") -> list[str]:
    made = contents("E-7KQ2M9", target, "orders-app", 3, value, ("user:ann", "user:bob"), reason, 0.0)
    return made.decode("utf-8", "surrogateescape").splitlines()


def test_a_service_file() -> None:
    lines = text()
    assert (
        lines[0]
        == "# hoopd emergency export E-7KQ2M9: target orders, made 1970-01-01 00:00:00Z for user:ann and user:bob"
    )
    assert [line for line in lines if not line.startswith("#")] == [
        "[orders]", "host=10.0.0.5", "port=5432", "dbname=shop", "user=app", "sslmode=verify-full", "password=s3cret",
    ]  # fmt: skip
    assert "\n".join(line[4:] for line in lines if line.startswith("#ca ")) + "\n" == PEM


def test_how_the_certificate_is_checked() -> None:
    named = evolve(TARGET, tls=TargetTls("verify-full", None, "db.example"))
    assert {"host=db.example", "hostaddr=10.0.0.5", "sslmode=verify-full"} <= set(text(named))
    # libpq cannot check another name than the host's without an address
    away = text(evolve(named, host="db-1.internal"))
    assert {"host=db-1.internal", "sslmode=verify-ca"} <= set(away)
    assert any("db.example" in line for line in away if line.startswith("#"))
    assert "sslmode=prefer" in text(evolve(TARGET, tls=TargetTls("off")))


@given(st.binary(min_size=1, max_size=3000))
def test_any_secret_is_in_it_once_whole(value: bytes) -> None:
    made = contents("E-1", TARGET, "orders-app", 3, value, ("user:ann", "user:bob"), "x", 0.0)
    lines = made.split(b"\n")
    plain = [line[len(b"password=") :] for line in lines if line.startswith(b"password=")]
    coded = [base64.b64decode(line[len(b"#secret ") :]) for line in lines if line.startswith(b"#secret ")]
    assert [*plain, *coded] == [value]
    # libpq reads lines of less than 1,024 bytes and takes space off their ends
    for line in plain:
        assert len(line) <= 1000
        assert line == line.rstrip()


@given(st.text(max_size=200))
def test_a_reason_stays_a_comment(reason: str) -> None:
    assert [line for line in text(reason=reason) if not line.startswith("#")] == [
        line for line in text() if not line.startswith("#")
    ]


def test_another_protocol() -> None:
    lines = text(evolve(TARGET, protocol="ssh"))
    assert all(line.startswith("#") for line in lines)
    assert base64.b64decode(lines[-4].removeprefix("#secret ")) == b"s3cret"
