"""Values and errors cross unchanged; wrong ones are refused without being quoted."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.config.schema import Config, Listener
from hoopd.errors import AuthenticationFailed, ConfigError, Denied, RecordError, TargetError, Unavailable
from hoopd.ipc import wire
from hoopd.secret import Secret
from hoopd.values import Admission, Approval, HeldOperation, HoldTerms, Proof, ScramServerFirst, Vote
from tests.ipc.family import APPROVAL, HELD, PROOF, TARGET, admission

TERMS = HoldTerms("orders.hold.write", ("group:leads",), 2, 60.0, True, ("orders",), "why")
VOTED = evolve(APPROVAL, holds=(TERMS,), votes=(Vote("user:ann", True, "ok", 5.0, frozenset({"leads"})),))

VALUES: list[tuple[str, Any, Any]] = [
    ("proof", Proof, PROOF),
    ("admission", Admission, admission(-1)),
    ("held", HeldOperation, evolve(HELD, holds=(TERMS,))),
    ("approval", Approval, VOTED),
    ("approvals", list[Approval], [VOTED, APPROVAL]),
    ("sessions", list[tuple[str, Secret]], [("s1", Secret(b"\x00\xff"))]),
    ("scram", ScramServerFirst, ScramServerFirst(("SCRAM-SHA-256",), (b"\x30\x82",), "db")),
    (
        "config",
        Config,
        Config("/etc/hoopd", listen={"postgres": Listener(port=5432)}, targets={"orders": TARGET}),
    ),
]


@pytest.mark.parametrize(("name", "kind", "value"), VALUES, ids=[row[0] for row in VALUES])
def test_round_trip(name: str, kind: Any, value: Any) -> None:
    assert wire.decode(wire.encode(value), kind) == value


@given(st.binary(max_size=300))
@settings(max_examples=60)
def test_secret_round_trip(content: bytes) -> None:
    assert wire.decode(wire.encode(Secret(content)), Secret).reveal() == content


@pytest.mark.parametrize(
    "junk", [b"", b"{", b"[]", b'{"claimed": 7}', b'{"claimed":"x","secret":"hunter2 !","peer":1}', b"\xff"]
)
def test_junk_is_refused_and_not_quoted(junk: bytes) -> None:
    with pytest.raises(wire.WireError) as refused:
        wire.decode(junk, Proof)
    assert "hunter2" not in str(refused.value)


def test_what_has_no_written_form_is_refused() -> None:
    with pytest.raises(TypeError):
        wire.encode(object())


ERRORS = [
    Denied("no", ("a.deny.b", "c"), "ask ann"),
    AuthenticationFailed("not known"),
    TargetError("the target closed"),
    Unavailable("locked"),
    RecordError("disk full"),
    KeyError("a7"),
    ValueError("not a number"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_keep_class_and_text(error: Exception) -> None:
    text = wire.error_to_text(error)
    assert text is not None
    back = wire.error_from_text(text)
    assert type(back) is type(error)
    assert str(back) == str(error)
    if isinstance(error, Denied):
        assert isinstance(back, Denied)
        assert (back.why, back.rules, back.hint) == (error.why, error.rules, error.hint)


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), ConfigError("x"), OSError(28, "x"), UnicodeDecodeError("utf8", b"secret", 0, 1, "x")]
)
def test_other_errors_stay(error: Exception) -> None:
    assert wire.error_to_text(error) is None


@pytest.mark.parametrize("text", ["", "7", "{}", '{"error": "denied"}', '{"error": "exec", "text": ""}'])
def test_an_error_not_understood_is_unavailable(text: str) -> None:
    assert isinstance(wire.error_from_text(text), Unavailable)
