"""What a provider answers about login links, honest, careless and hostile: used as it is, or not at all."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hoopd.identity.device
from hoopd.display import visible
from hoopd.identity.device import MAX_LIFE, read_answer, read_request
from hoopd.identity.values import DeviceAnswer
from hoopd.secret import Secret

GOOD: dict[str, Any] = {
    "device_code": "GmRhmhcxhwAzkoEqiMEg_DnyEysNkuNhszIySk9eS",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://id.example/device",
    "verification_uri_complete": "https://id.example/device?user_code=WDJB-MJHT",
    "expires_in": 600,
    "interval": 5,
}


def body(**changes: Any) -> bytes:
    """The good answer, changed; None removes."""
    return json.dumps({name: value for name, value in {**GOOD, **changes}.items() if value is not None}).encode()


def test_what_an_honest_provider_says() -> None:
    found = read_request(body(), False)
    assert found.code.reveal() == GOOD["device_code"].encode()
    assert (found.user_code, found.link) == ("WDJB-MJHT", "https://id.example/device")
    assert (found.expires_in, found.interval) == (600.0, 5.0)


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"interval": None}, (600.0, 5.0)),
        ({"interval": 0}, (600.0, 1.0)),
        ({"interval": 0.5, "expires_in": 1e7}, (MAX_LIFE, 1.0)),
        ({"interval": 60}, (600.0, 60.0)),
    ],
)
def test_seconds_are_within_reason(changes: dict[str, Any], seconds: tuple[float, float]) -> None:
    found = read_request(body(**changes), False)
    assert (found.expires_in, found.interval) == seconds


def test_what_google_called_it_before_the_rfc() -> None:
    found = read_request(body(verification_uri=None, verification_url="https://id.example/d"), False)
    assert found.link == "https://id.example/d"


@pytest.mark.parametrize("code", ["WDJB-MJHT", "123-456-789", "ABC 123", "C8BQGX3VF", "a"])
def test_codes_that_people_type(code: str) -> None:
    assert read_request(body(user_code=code), False).user_code == code


HOSTILE_TEXTS = [
    "\x1b[2J\x1b[H",
    "WDJB\x07",
    "WDJB\nToken: ",
    "WDJB\r",
    "WDJB\u202emjht",
    "WDJB\u200b",
    "WDJB\x9b31m",
    "W\x00",
    "\ud800",
    "ＷＤＪＢ",
    "",
    " ",
    "A" * 33,
    "x" * 100_000,
]


@pytest.mark.parametrize("code", [*HOSTILE_TEXTS, "-ABC", "ABC-", "<b>", "a;b", "a'b", 7, True, ["WDJB"], {}, None])
def test_codes_that_nobody_is_shown(code: Any) -> None:
    with pytest.raises(ValueError, match=r"user_code|shown"):
        read_request(body(user_code=code), False)


@pytest.mark.parametrize(
    "link",
    [
        "http://id.example/device",
        "javascript:alert(1)",
        "JAVASCRIPT://id.example/%0aalert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "ftp://id.example/",
        "https://user:pw@id.example/",
        "https://id.example@evil.example/",
        "https:///device",
        "//id.example/device",
        "https://id.example/\x1b]8;;https://evil.example\x1b\\",
        "https://id.example/ https://evil.example/",
        "https://id.example/\nhttps://evil.example/",
        'https://id.example/"',
        "https://id.example/'",
        "https://id.example/<x>",
        "https://id.example/`id`",
        "https://ïd.example/",
        "https://id.example:99999/",
        "https://id.example/" + "x" * 300,
        *HOSTILE_TEXTS,
        7,
        None,
        ["https://id.example/"],
    ],
)
def test_links_that_nobody_is_shown(link: Any) -> None:
    with pytest.raises(ValueError, match=r"verification_ur|shown"):
        read_request(body(verification_uri=link), False)


def test_http_on_loopback_where_it_is_allowed() -> None:
    with pytest.raises(ValueError, match="https"):
        read_request(body(verification_uri="http://127.0.0.1:1/d"), False)
    assert read_request(body(verification_uri="http://127.0.0.1:1/d"), True).link == "http://127.0.0.1:1/d"
    with pytest.raises(ValueError, match="https"):
        read_request(body(verification_uri="http://id.example/d"), True)


@pytest.mark.parametrize("name", ["expires_in", "interval"])
@pytest.mark.parametrize("value", [-1, "5", True, [], {}, 10**400, 1e300])
def test_times_that_are_none(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        read_request(body(**{name: value}), False)


@pytest.mark.parametrize("changes", [{"expires_in": None}, {"expires_in": 0}, {"interval": 61}, {"interval": 1e5}])
def test_times_that_leave_none_to_log_in(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expires_in"):
        read_request(body(**changes), False)


@pytest.mark.parametrize("code", [None, "", 5, "x" * 4097, "a\nb", "\u00e9"])
def test_device_codes_that_are_none(code: Any) -> None:
    with pytest.raises(ValueError, match="device_code"):
        read_request(body(device_code=code), False)


@pytest.mark.parametrize("text", [b"", b"[]", b"null", b"{", b"\xff", b'{"a":1,"a":2}', b"[" * 100_000, b'{"a": NaN}'])
def test_what_is_no_answer(text: bytes) -> None:
    with pytest.raises(ValueError):
        read_request(text, False)
    assert read_answer(200, text, "id_token").state == "failed"
    assert read_answer(400, text, "id_token").state == "failed"


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional={name: _JSON | st.just(value) for name, value in GOOD.items()}))
def test_whatever_is_taken_is_inert_in_a_terminal(found: dict[str, Any]) -> None:
    try:
        taken = read_request(json.dumps(found).encode("utf-8", "replace"), False)
    except ValueError:
        return
    assert visible(taken.user_code) == taken.user_code
    assert visible(taken.link) == taken.link
    assert taken.link.lower().startswith("https://")
    assert 0 < taken.expires_in <= MAX_LIFE
    assert 1 <= taken.interval <= 60


# -- what became of it ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "state"),
    [
        ("authorization_pending", "pending"),
        ("slow_down", "slow_down"),
        ("access_denied", "denied"),
        ("expired_token", "expired"),
        ("invalid_grant", "failed"),
        ("invalid_client", "failed"),
    ],
)
def test_errors_of_the_rfc(error: str, state: str) -> None:
    answer = read_answer(400, json.dumps({"error": error, "error_description": "\x1b[2J"}).encode(), "id_token")
    assert answer == DeviceAnswer(state, Secret(b""), error if state == "failed" else "")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [7, None, {}, ["access_denied"], "\x1b[2J", "Access_Denied", "x" * 41, ""])
def test_errors_that_are_none_are_not_repeated(error: Any) -> None:
    answer = read_answer(400, json.dumps({"error": error}).encode(), "id_token")
    assert (answer.state, answer.why) == ("failed", "an answer that is none of OAuth")


def test_the_token_that_is_wanted_and_no_other() -> None:
    both = json.dumps({"id_token": "a.b.c", "access_token": "d.e.f", "token_type": "Bearer"}).encode()
    assert read_answer(200, both, "id_token") == DeviceAnswer("granted", Secret("a.b.c"))
    assert read_answer(200, both, "access_token") == DeviceAnswer("granted", Secret("d.e.f"))
    only = json.dumps({"access_token": "d.e.f"}).encode()
    assert read_answer(200, only, "id_token") == DeviceAnswer("failed", Secret(b""), "no id token came")


@pytest.mark.parametrize("value", [None, "", 5, ["a.b.c"], "a\nb", "x" * (16 * 1024 + 1), "\u00e9"])
def test_tokens_that_are_none(value: Any) -> None:
    assert read_answer(200, json.dumps({"id_token": value}).encode(), "id_token").state == "failed"


def test_a_token_is_not_printed() -> None:
    answer = read_answer(200, b'{"id_token": "eyJ.a.b"}', "id_token")
    assert "eyJ" not in repr(answer)
    assert GOOD["device_code"] not in repr(read_request(body(), False))


def test_imports_nothing_of_the_world() -> None:
    world = {"twisted", "os", "time", "socket", "random", "asyncio", "pathlib"}
    for module in ("device", "urls"):
        path = Path(hoopd.identity.__path__[0]) / f"{module}.py"
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & world
