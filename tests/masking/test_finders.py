"""Where values may begin: every beginning of every value is seen as one, and what is found is what whole texts have."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.masking.detectors import DETECTORS, Scanner, compiled, known
from hoopd.masking.finders import FINDERS, Finder, Finders, Short
from hoopd.masking.private_keys import Block
from hoopd.masking.redactors import full
from hoopd.masking.streaming import StreamMasker

SHORT = [(name, finder) for name, finders in FINDERS.items() for finder in finders if isinstance(finder, Short)]
NATIONAL = Finders([("phone:NO", full)]).all[0][0]


def begun(finder: Finder, text: bytes) -> bool:
    return compiled(rb"\A(?:" + finder.begins + rb")").search(text) is not None


def test_every_detector_has_its_finders() -> None:
    assert set(FINDERS) == set(DETECTORS)
    assert known("phone:NO")


@pytest.mark.parametrize(("name", "finder"), [*SHORT, ("phone:NO", NATIONAL)])
def test_every_beginning_of_a_candidate_is_seen(name: str, finder: Short) -> None:
    # Python's engine makes texts of RE2's patterns
    @given(st.from_regex(re.compile(finder.pattern), fullmatch=True))
    @settings(max_examples=60)
    def holds(value: bytes) -> None:
        if finder.check(value) == 0 and name == "email":
            return
        for end in range(1, len(value) + 1):
            assert begun(finder, value[:end]), value[:end]
            assert end <= finder.window

    holds()


@pytest.mark.parametrize(
    "value",
    [
        b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.c2ln", b"ghp_" + b"a1" * 18, b"github_pat_" + b"a" * 22, b"glpat-" + b"a" * 20,
        b"xoxb-1234567890-a", b"AIza" + b"a" * 35, b"sk_live_" + b"a" * 20, b"sk-" + b"a" * 20, b"npm_" + b"a" * 36,
        b"pypi-" + b"a" * 50,
    ],
)  # fmt: skip
def test_every_beginning_of_a_token_is_seen(value: bytes) -> None:
    (finder,) = FINDERS["token"]
    for end in range(1, len(value)):
        looked = finder.look(b"x " + value[:end], 0, False, full)
        assert (looked.values, looked.open) == ([], 2), value[:end]
    looked = finder.look(value + b" ", 0, False, full)
    assert [each[:2] for each in looked.values] == [(0, len(value))]


@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
def test_every_beginning_of_a_private_key_is_seen(kind: str) -> None:
    opening = FINDERS["key"][1]
    line = b"-----BEGIN " + kind.encode() + b"-----"
    for end in range(1, len(line)):
        assert begun(opening, line[:end])
    assert opening.look(line, 0, False, full).running is Block


@given(st.sampled_from(sorted(DETECTORS)), st.data())
@settings(max_examples=300)
def test_what_whole_texts_have_is_found(name: str, data: st.DataObject) -> None:
    candidate = data.draw(st.from_regex(re.compile(DETECTORS[name].pattern), fullmatch=True))
    # octets that are no text are taken away from it first
    if (
        len(candidate) > 60
        or candidate.decode(errors="ignore").encode() != candidate
        or Scanner([(name, full)])(candidate) == candidate
    ):
        return
    masker = StreamMasker(Finders([(name, full)]))
    assert candidate not in masker.feed(b"x " + candidate + b" y") + masker.finish()
