"""Signatures as receivers' own libraries verify them, and keys that are none."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.notices.signing import keys, signature

#: the vector that the Standard Webhooks libraries are tested with
SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = b"whsec_" + base64.b64encode(b"o" * 32)


def test_the_specification_s_vector() -> None:
    made = signature(keys(SECRET), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_key_is_replaced_both_sign() -> None:
    one, two = (signature(keys(each), "msg_a", 7, b"{}") for each in (SECRET, OTHER))
    assert signature(keys(SECRET + b"\n" + OTHER + b"\n"), "msg_a", 7, b"{}") == f"{one} {two}"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" \n",
        b"whsec_",
        b"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        b"whsec_" + base64.b64encode(b"x" * 23),
        b"whsec_" + base64.b64encode(b"x" * 65),
        b"whsec_not base64",
        b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS\xff",
        SECRET + b" s3cret",
    ],
)
def test_what_is_no_key_is_said_and_not_quoted(value: bytes) -> None:
    with pytest.raises(ValueError, match="the secret") as raised:
        keys(value)
    for word in value.split():
        assert word.decode(errors="replace") not in str(raised.value).replace("whsec_ and base64", "")


@given(st.binary(min_size=24, max_size=64), st.text("abcz234567", min_size=1), st.integers(0, 1 << 33), st.binary())
def test_any_receiver_can_verify(key: bytes, id: str, timestamp: int, body: bytes) -> None:
    (found,) = keys(b"whsec_" + base64.b64encode(key))
    assert found == key
    version, _, encoded = signature([found], id, timestamp, body).partition(",")
    expected = hmac.new(key, id.encode() + b"." + str(timestamp).encode() + b"." + body, hashlib.sha256).digest()
    assert (version, base64.b64decode(encoded)) == ("v1", expected)
