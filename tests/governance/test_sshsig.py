"""Signatures and keys: all kinds are taken, and nothing that was changed by a single bit is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.governance.sshsig import ARMOUR_MAX, PublicKey, Signature, SignatureError
from tests.governance.signing import KINDS, Person, armoured, integer, octets, rsa_key, string

TEXT = "hoopd policy manifest 1\n"
PEOPLE = {kind: Person(f"user:{kind}", kind) for kind in KINDS}
WHOLE = {kind: octets(person.sign(TEXT)) for kind, person in PEOPLE.items()}


def refused(signature: str, text: str = TEXT) -> str:
    with pytest.raises(SignatureError) as caught:
        Signature.parse(signature).check(text.encode())
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_every_kind_of_key(kind: str, algorithm: str) -> None:
    person = PEOPLE[kind]
    made = person.sign(TEXT, algorithm=algorithm)
    signature = Signature.parse(made)
    signature.check(TEXT.encode())
    assert signature.key.octets == person.public
    assert signature.key.kind == person.type
    assert "something was changed" in refused(made, TEXT + " ")
    assert "something was changed" in refused(made, TEXT.replace("\n", "\r\n"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_octet_counts(kind: str) -> None:
    whole = WHOLE[kind]
    for at in range(len(whole)):
        for bit in (1, 0x80):
            changed = bytearray(whole)
            changed[at] ^= bit
            refused(armoured(bytes(changed)))


@given(st.sampled_from(KINDS), st.floats(0, 1), st.binary(max_size=40))
@settings(deadline=None)
def test_garbage_is_a_bad_signature_and_nothing_worse(kind: str, part: float, garbage: bytes) -> None:
    whole = WHOLE[kind]
    changed = whole[: int(part * len(whole))] + garbage
    if changed != whole:
        refused(armoured(changed))


@given(st.text())
def test_texts_are_bad_signatures(text: str) -> None:
    refused(text)


@given(st.binary(max_size=200))
def test_octets_are_bad_keys(garbage: bytes) -> None:
    with pytest.raises(SignatureError):
        PublicKey.parse(garbage)


@pytest.mark.parametrize("kind", ["sk-ed25519", "sk-nistp256"])
def test_a_security_key_that_nobody_touched(kind: str) -> None:
    assert "nobody touched" in refused(Person("user:x", kind, touched=4).sign(TEXT))


def test_what_is_not_taken() -> None:
    made = PEOPLE["ed25519"].sign(TEXT)
    assert "too long" in refused(made + " " * ARMOUR_MAX)
    assert "no SSH signature" in refused("-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----")
    assert "not base64" in refused(made.replace("U1NI", "U1N*"))
    assert "follows its end" in refused(armoured(octets(made) + b"\0"))
    assert "hash 'md5'" in refused(armoured(octets(made).replace(string("sha512"), string("md5"))))
    assert "not taken" in refused(armoured(octets(made).replace(b"ssh-ed25519", b"ssh-ed25518", 1)))


def test_one_key_has_one_encoding() -> None:
    """A key that passed for two would be two people's."""
    numbers = rsa_key().public_key().public_numbers()
    padded = string(b"\0" + numbers.n.to_bytes(257, "big"))
    for key in (
        string("ssh-rsa") + integer(numbers.e) + padded,
        string("ssh-rsa") + string(b"\0" + numbers.e.to_bytes(3, "big")) + integer(numbers.n),
        PEOPLE["rsa"].public + b"\0",
        _compressed("nistp256"),
    ):
        with pytest.raises(SignatureError):
            PublicKey.parse(key)


def _compressed(curve: str) -> bytes:
    whole = PEOPLE[curve].public
    point = whole[-65:]
    return string(f"ecdsa-sha2-{curve}") + string(curve) + string(bytes([2 + (point[-1] & 1)]) + point[1:33])


def test_small_keys_are_refused() -> None:
    numbers = rsa_key(1024).public_key().public_numbers()
    with pytest.raises(SignatureError, match="1024 bits is not taken"):
        PublicKey.parse(string("ssh-rsa") + integer(numbers.e) + integer(numbers.n))


def test_a_key_signs_by_its_own_algorithm_only() -> None:
    made = WHOLE["rsa"].replace(b"rsa-sha2-512", b"rsa-sha1-512")
    assert "rsa-sha2-256 or rsa-sha2-512" in refused(armoured(made))
