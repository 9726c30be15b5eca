"""Witnesses that are looked at: forks and set-back gateways are noticed, whatever keeps the checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from twisted.trial.unittest import TestCase

from hoopd.audit.ledger import Ledger
from hoopd.audit.verify import render, verify
from hoopd.audit.witness_places import Web, ask
from hoopd.audit.witnesses import TAKEN_MAX, Witness, file_name, number_of
from hoopd.ctl.witness import fetch
from hoopd.errors import ConfigError
from tests.audit.parts import at_once, clock, ledger, now
from tests.audit.witness_server import WitnessServer
from tests.integration.postgres import free_port

ORIGIN = "hoopd.local/ledger"
URL = "https://witness.example/hoopd"


def named(*numbers: int) -> list[str]:
    return [file_name(ORIGIN, number) for number in numbers]


class Store:
    """An object store: GET and PUT by path. C{minds}: whether it knows If-None-Match."""

    def __init__(self, minds: bool = True) -> None:
        self.kept: dict[str, bytes] = {}
        self.minds = minds
        self.asked: list[tuple[bytes, str]] = []
        self.away = 0

    async def __call__(self, method: bytes, url: str, body: bytes | None) -> tuple[int, bytes]:
        name = url.removeprefix(URL + "/")
        self.asked.append((method, name))
        if self.away:
            self.away -= 1
            raise OSError("connection refused")
        if method == b"GET":
            return (200, self.kept[name]) if name in self.kept else (404, b"no such thing")
        assert body is not None
        if self.minds and name in self.kept:
            return 412, b""
        self.kept[name] = body
        return 201, b""


class Told:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, name: str, fields: dict[str, Any]) -> None:
        self.events.append((name, fields))

    def of(self, name: str) -> list[dict[str, Any]]:
        return [fields for found, fields in self.events if found == name]


def signed(made: Ledger, times: int = 1, act: str = "put") -> None:
    for _ in range(times):
        now(made.append("vault", {"act": act}))
        now(made.checkpoint())


def at(directory: Path, store: Store, **options: Any) -> Ledger:
    return ledger(directory, witness=[URL], request=store, **options)


def test_numbers_count_up_without_gaps_over_restarts(tmp_path: Path) -> None:
    store = Store()
    for _ in range(3):
        made = at(tmp_path, store)
        signed(made, 3)
        now(made.stop())
    assert sorted(store.kept) == named(*range(1, 10))
    assert made.witnesses[0].conflict == ""
    again = at(tmp_path, store)
    assert len(store.kept) == 9, "the newest is there already"
    now(again.stop())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 8, 9, 100])
def test_the_last_number_is_found_in_few_questions(tmp_path: Path, count: int) -> None:
    store = Store()
    made = at(tmp_path, store)
    signed(made, count)
    now(made.stop())
    store.asked.clear()
    again = at(tmp_path, store)
    signed(again)
    assert sorted(store.kept) == named(*range(1, max(count, 1) + 2)), "the end signs where nobody has"
    assert len(store.asked) <= 18
    now(again.stop())


@pytest.mark.parametrize("minds", [True, False], ids=["minds", "overwrites"])
@pytest.mark.parametrize("web", [True, False], ids=["web", "directory"])
def test_a_gateway_that_was_set_back_is_told_at_its_next_checkpoint(tmp_path: Path, minds: bool, web: bool) -> None:
    store, told = Store(minds), Told()
    (tmp_path / "witness").mkdir()
    place = URL if web else str(tmp_path / "witness")
    options: dict[str, Any] = {"witness": [place], "request": store}
    made = ledger(tmp_path / "now", **options)
    signed(made, 2)
    now(made.stop())
    shutil.copytree(tmp_path / "now", tmp_path / "old")
    made = ledger(tmp_path / "now", **options)
    signed(made, 2)
    now(made.stop())
    before = dict(store.kept)
    # a directory stops the start; a witness elsewhere cannot be waited for, and is heard as soon as it answers
    options["witness"] = []
    back = ledger(tmp_path / "old", event=told, **options)
    back.witnesses = [Witness(place, ORIGIN, back.examine, clock(), told, at_once, store)]
    signed(back)
    assert "leaves were lost" in back.witnesses[0].conflict
    (conflict,) = told.of("audit.witness-conflict")
    assert conflict["witness"] == place
    assert "leaves were lost" in conflict["why"]
    signed(back, 5)
    assert store.kept == before, "nothing is published on top, and nothing was overwritten"
    assert len(told.of("audit.witness-conflict")) == 1
    assert back.witnesses[0].behind == 0
    now(back.stop())


def test_two_gateways_with_one_key_find_each_other(tmp_path: Path) -> None:
    """Their checkpoints are never of one size, and still neither publishes over the other's."""
    store, told = Store(), Told()
    one = at(tmp_path / "one", store, event=told)
    signed(one)
    now(one.append("vault", {"act": "more"}))
    signed(one)
    two = at(tmp_path / "two", store, event=told)
    now(two.append("vault", {"act": "another"}))
    now(two.append("vault", {"act": "another"}))
    signed(two)
    assert "not those" in two.witnesses[0].conflict
    signed(one)
    assert one.witnesses[0].conflict == ""
    # and one that was there before the other came
    late = at(tmp_path / "three", Store(), event=told)
    signed(late, 5, "another")
    late.witnesses[0]._notes = Web(URL, store)
    late.witnesses[0]._number = 0
    signed(late)
    assert "not those" in late.witnesses[0].conflict
    for made in (one, two, late):
        now(made.stop())


def test_what_others_put_there_proves_nothing_and_stops_nothing(tmp_path: Path) -> None:
    store, told = Store(), Told()
    made = at(tmp_path / "ours", store, event=told)
    signed(made)
    store.kept[named(2)[0]] = b"\xffnonsense\n\n\n"
    other = ledger(tmp_path / "theirs", seed=bytes(32))
    store.kept[named(3)[0]] = now(other.checkpoint()).encode()
    signed(made)
    assert made.witnesses[0].conflict == ""
    assert made.witnesses[0].behind == 0
    assert sorted(store.kept) == named(1, 2, 3, 4)
    assert [fields["witness"] for fields in told.of("audit.witness-failed")] == [
        f"{URL}/{name}" for name in named(2, 3)
    ]
    store.kept[named(5)[0]] = b"more"
    now(made.stop())
    again = at(tmp_path / "ours", store, event=told)
    assert sorted(store.kept) == named(1, 2, 3, 4, 5), "our last one is found below the nonsense"
    signed(again)
    assert sorted(store.kept) == named(1, 2, 3, 4, 5, 6)
    now(again.stop())
    now(other.stop())


def test_a_witness_that_has_everything_is_none(tmp_path: Path) -> None:
    told = Told()

    async def everything(method: bytes, url: str, body: bytes | None) -> tuple[int, bytes]:
        return 200, b"yes"

    made = ledger(tmp_path, witness=[URL], request=everything, event=told)
    signed(made)
    assert "every number is taken" in told.of("audit.witness-failed")[-1]["why"]
    made.witnesses[0].stop()
    made.witnesses[0]._number = 0
    signed(made)
    assert f"{TAKEN_MAX} checkpoints" in told.of("audit.witness-failed")[-1]["why"]
    made.witnesses[0].stop()
    now(made.stop())


@pytest.mark.parametrize("code", [301, 403, 500])
def test_an_answer_that_says_nothing_is_tried_again(tmp_path: Path, code: int) -> None:
    store, told, time = Store(), Told(), clock()
    codes = [code, code]

    async def request(method: bytes, url: str, body: bytes | None) -> tuple[int, bytes]:
        return (codes.pop(), b"") if codes else await store(method, url, body)

    made = ledger(tmp_path, time, witness=[URL], request=request, event=told)
    signed(made)
    assert store.kept == {}
    time.pump([1.0, 2.0])
    assert sorted(store.kept) == named(1)
    assert [fields["why"] for fields in told.of("audit.witness-failed")] == [f"the witness answered {code}"] * 2
    now(made.stop())


def test_an_answer_that_was_lost_is_not_published_twice(tmp_path: Path) -> None:
    store, time = Store(), clock()
    lose = [True]

    async def request(method: bytes, url: str, body: bytes | None) -> tuple[int, bytes]:
        answer = await store(method, url, body)
        if method == b"PUT" and lose and lose.pop():
            raise OSError("the connection was lost")
        return answer

    made = ledger(tmp_path, time, witness=[URL], request=request)
    signed(made, 2)
    time.pump([1.0] * 3)
    assert sorted(store.kept) == named(1, 2)
    now(made.stop())


def test_names() -> None:
    assert file_name("a/b", 7) == "a%2Fb-000000000007.note"
    assert number_of("a/b", "a%2Fb-000000000007.note") == 7
    for other in ("a%2Fb-7.note", "a%2Fb-00000000000７.note", "a%2Fc-000000000007.note", "a%2Fb-000000000007", "x"):
        assert number_of("a/b", other) is None


# -- over a network --------------------------------------------------------------------------------------------


@pytest.fixture
def served() -> Iterator[WitnessServer]:
    with WitnessServer() as server:
        yield server


def through(served: WitnessServer) -> Any:
    """What a gateway puts there, without a network in between."""

    async def request(method: bytes, url: str, body: bytes | None) -> tuple[int, bytes]:
        path = urlsplit(url).path
        if method == b"GET":
            return (200, served.kept[path]) if path in served.kept else (404, b"")
        assert body is not None
        served.kept[path] = body
        return 201, b""

    return request


def test_an_auditor_fetches_all_that_the_witness_has(tmp_path: Path, served: WitnessServer) -> None:
    url = served.url
    (tmp_path / "state" / "recordings").mkdir(parents=True)
    made = ledger(tmp_path / "state" / "ledger", witness=[url], request=through(served))
    signed(made, 3)
    now(made.stop())
    held = fetch(url + "/", [ORIGIN, ORIGIN])
    assert sorted(held) == named(1, 2, 3)
    report = verify(tmp_path / "state", made.verifier_key, held)
    assert report.ok, render(report)
    assert report.witnessed == 3
    # another history under the same key, which its own state directory knows nothing of
    (tmp_path / "other" / "recordings").mkdir(parents=True)
    other = ledger(tmp_path / "other" / "ledger")
    signed(other, 5, "another")
    now(other.stop())
    forked = verify(tmp_path / "other", made.verifier_key, held)
    assert "the log was forked" in render(forked)
    served.huge = True
    with pytest.raises(OSError, match="65537 bytes"):
        fetch(url, [ORIGIN])
    for wrong in ("http://witness.example", "ftp://127.0.0.1/x"):
        with pytest.raises((ConfigError, OSError)):
            fetch(wrong, [ORIGIN])


class OverANetwork(TestCase):
    """L{ask}, the one part that a fake request leaves out, with a real server."""

    def setUp(self) -> None:
        self.server = WitnessServer()
        self.server.__enter__()
        self.addCleanup(self.server.__exit__, None, None, None)
        self.url = self.server.url

    async def test_kept_once_and_read_back(self) -> None:
        place = Web(self.url)
        self.assertIsNone(await place.read("a-1.note"))
        self.assertTrue(await place.create("a-1.note", "first\n"))
        self.assertFalse(await place.create("a-1.note", "second\n"))
        self.assertEqual(await place.read("a-1.note"), "first\n")

    async def test_what_is_too_large_is_not_read(self) -> None:
        self.server.huge = True
        with self.assertRaisesRegex(OSError, "too large"):
            await ask(b"GET", f"{self.url}/x", None)

    async def test_nobody_there(self) -> None:
        with self.assertRaisesRegex(OSError, "refused"):
            await ask(b"GET", f"http://127.0.0.1:{free_port()}/x", None)
