"""What is signed and when it is enough; each test is a way to get rules in that fewer than two people want."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.governance.manifest import (
    Accepted,
    Endorsement,
    Manifest,
    ManifestError,
    digests,
    endorse,
    list_problems,
)
from hoopd.governance.papers import MANIFEST as NAME
from hoopd.governance.papers import SIGNERS
from tests.governance.signing import Person

NOW = 1_800_000_000.0
LEE, ANN, EVE = Person("user:lee"), Person("user:ann", "nistp384"), Person("user:eve", "rsa")
SECOND = Person("user:lee", "nistp256")
LIST = "\n".join(each.line() for each in (LEE, SECOND, ANN, EVE)) + "\n"
FILES = {"policies.d/a.toml": "allow\n", "targets.d/t.toml": "target\n", SIGNERS: LIST}


def manifest(serial: int = 1, files: Mapping[str, str] = FILES, needed: int = 2) -> str:
    return Manifest(serial, needed, digests(files)).text()


def signed(text: str, *people: Person) -> dict[str, str]:
    return {f"{NAME}.{number}.sig": each.sign(text) for number, each in enumerate(people)}


def judged(
    text: str | None,
    signatures: Mapping[str, str],
    files: Mapping[str, str] = FILES,
    needed: int = 2,
    accepted: Accepted | None = None,
    now: float = NOW,
) -> Endorsement | None:
    return endorse(text, signatures, files, needed, accepted, now)


def refused(*arguments: object, **words: object) -> str:
    with pytest.raises(ManifestError) as caught:
        judged(*arguments, **words)  # type: ignore[arg-type]
    return str(caught.value)


def taken(text: str, *people: Person, files: Mapping[str, str] = FILES, at: float = NOW) -> Accepted:
    """What a broker remembers of C{text}."""
    endorsed = judged(text, signed(text, *people), files, now=at)
    assert endorsed is not None
    return Accepted(endorsed.serial, endorsed.digest, at, 2, files[SIGNERS])


TEXT = manifest()
BOTH = signed(TEXT, LEE, ANN)


def test_two_people() -> None:
    endorsed = judged(TEXT, BOTH)
    assert endorsed == Endorsement(1, Manifest.parse(TEXT).digest, ("user:ann", "user:lee"))


def test_nothing_is_looked_for_where_nothing_is_needed() -> None:
    assert judged(None, {}, needed=0) is None
    assert judged("garbage", {"x": "garbage"}, needed=0) is None


def test_one_person_is_not_two() -> None:
    assert "2 distinct people must have signed policy.manifest; of those user:lee did" in refused(
        TEXT, signed(TEXT, LEE)
    )
    assert "two keys of one person are one signature" in refused(TEXT, signed(TEXT, LEE, SECOND))
    assert "of those user:lee did" in refused(TEXT, signed(TEXT, LEE, LEE, SECOND))
    assert "of those nobody did" in refused(TEXT, {})


def test_names_that_look_alike_are_one() -> None:
    twin = Person("user:LEE")
    files = {**FILES, SIGNERS: LIST + twin.line()}
    text = manifest(files=files)
    assert "of those user:lee did" in refused(text, signed(text, LEE, twin), files)


def test_signatures_of_something_else() -> None:
    other = manifest(2)
    assert "not a signature of this text" in refused(TEXT, {**signed(TEXT, LEE), "b.sig": ANN.sign(other)})
    assert "made for 'file', not for 'hoopd-policy'" in refused(
        TEXT, {**signed(TEXT, LEE), "b.sig": ANN.sign(TEXT, namespace="file")}
    )
    assert "is not among the allowed signers" in refused(TEXT, signed(TEXT, LEE, Person("user:ann")))
    assert "b.sig: it is no SSH signature" in refused(TEXT, {**signed(TEXT, LEE), "b.sig": "!"})
    for text in (TEXT.replace("\n", "\r\n"), f"{TEXT}\n", TEXT[:-1], TEXT.replace("serial 1", "serial 01")):
        assert refused(text, BOTH)


def test_too_many_signatures_are_not_even_checked() -> None:
    assert "16 are the most" in refused(TEXT, signed(TEXT, *[LEE] * 17))


def test_files_that_are_others() -> None:
    added = {**FILES, "policies.d/z.toml": "allow everything\n"}
    assert "policies.d/z.toml is not in policy.manifest: it was added" in refused(TEXT, BOTH, added)
    removed = {path: text for path, text in FILES.items() if path != "policies.d/a.toml"}
    assert "policies.d/a.toml is in policy.manifest and is not there: it was removed" in refused(TEXT, BOTH, removed)
    changed = {**FILES, "targets.d/t.toml": 'mode = "observe"\n'}
    assert "targets.d/t.toml is not what policy.manifest names: it was changed" in refused(TEXT, BOTH, changed)
    assert "was changed" in refused(TEXT, BOTH, {**FILES, "policies.d/a.toml": "allow\r\n"})
    assert "it was added" in refused(TEXT, BOTH, {**FILES, "policies.d/b.toml": ""})
    renamed = {**removed, "policies.d/b.toml": FILES["policies.d/a.toml"]}
    assert "it was removed" in refused(TEXT, BOTH, renamed)


def test_older_ones_are_not_taken_again() -> None:
    fresh = {**FILES, "policies.d/a.toml": "deny\n"}
    seventh = manifest(7, fresh)
    accepted = taken(seventh, LEE, ANN, files=fresh)
    assert judged(seventh, signed(seventh, LEE, ANN), fresh, accepted=accepted)
    assert "has the serial number 1, and 7 was taken before" in refused(TEXT, BOTH, accepted=accepted)
    again = manifest(7)
    assert "another one of the same number" in refused(again, signed(again, LEE, ANN), accepted=accepted)
    eighth = manifest(8)
    endorsed = judged(eighth, signed(eighth, EVE, ANN), accepted=accepted)
    assert endorsed is not None
    assert endorsed.serial == 8


def test_a_person_who_left() -> None:
    accepted = taken(TEXT, LEE, ANN)
    files = {**FILES, SIGNERS: "\n".join(each.line() for each in (ANN, EVE))}
    text = manifest(2, files)
    assert "is not among the allowed signers" in refused(text, signed(text, LEE, ANN), files, accepted=accepted)
    assert judged(text, signed(text, EVE, ANN), files, accepted=accepted)


def test_who_may_sign_is_decided_by_those_who_could() -> None:
    """One person puts a list of their own beside rules of their own."""
    accepted = taken(TEXT, LEE, ANN)
    mallory, puppet = Person("user:mallory"), Person("user:puppet")
    files = {**FILES, SIGNERS: f"{mallory.line()}\n{puppet.line()}\n{LEE.line()}\n"}
    text = manifest(2, files)
    said = refused(text, signed(text, mallory, puppet), files, accepted=accepted)
    assert "by the list of manifest 1, which is in force; of those nobody did" in said
    said = refused(text, signed(text, mallory, LEE), files, accepted=accepted)
    assert "of those user:lee did" in said
    assert judged(text, signed(text, mallory, LEE, ANN), files, accepted=accepted)


def test_how_many_must_sign_is_decided_by_as_many() -> None:
    accepted = taken(TEXT, LEE, ANN)
    assert "taking policy.signatures away needs" in refused(None, {}, needed=0, accepted=accepted)
    assert "says signatures 2, and hoopd.toml policy.signatures = 0" in refused(TEXT, BOTH, needed=0, accepted=accepted)
    fewer = manifest(2, needed=0)
    assert "which is in force; of those user:lee did" in refused(fewer, signed(fewer, LEE), needed=0, accepted=accepted)
    assert judged(fewer, signed(fewer, LEE, ANN), needed=0, accepted=accepted)
    without = {path: text for path, text in FILES.items() if path != SIGNERS}
    fewer = manifest(2, without, needed=0)
    endorsed = judged(fewer, signed(fewer, LEE, EVE), without, needed=0, accepted=accepted)
    assert endorsed is not None
    assert endorsed.signers == ("user:eve", "user:lee")
    one = manifest(2, needed=1)
    assert "which is in force" in refused(one, signed(one, LEE), needed=1, accepted=accepted)


def test_raised_again_older_ones_are_still_older() -> None:
    off = Accepted(5, "0" * 64, NOW, 0, "")
    assert judged(None, {}, needed=0, accepted=off) is None
    assert "5 was taken before" in refused(TEXT, BOTH, accepted=off)
    sixth = manifest(6)
    assert judged(sixth, signed(sixth, LEE, ANN), accepted=off)


def test_keys_that_expired() -> None:
    old = Person("user:old")
    files = {**FILES, SIGNERS: LIST + old.line('valid-before="20270101Z"') + "\n"}
    text = manifest(1, files)
    then, now = 1_798_000_000.0, 1_799_000_000.0
    accepted = taken(text, LEE, old, files=files, at=then)
    assert "user:old's key has expired" in refused(text, signed(text, LEE, old), files, now=now)
    assert judged(text, signed(text, LEE, old), files, accepted=accepted, now=now), "it was taken when the key counted"
    second = manifest(2, files)
    assert "has expired" in refused(second, signed(second, LEE, old), files, accepted=accepted, now=now)


def test_a_key_for_another_namespace() -> None:
    only = ANN.line('namespaces="git"')
    files = {**FILES, SIGNERS: f"{LEE.line()}\n{only}\n"}
    text = manifest(files=files)
    assert "user:ann's key is not for hoopd-policy" in refused(text, signed(text, LEE, ANN), files)


def test_no_manifest() -> None:
    assert "policy.manifest is not there, and policy.signatures = 2" in refused(None, {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hoopd policy manifest 1\n",
        "hoopd policy manifest 2\nserial 1\nsignatures 2\n",
        "hoopd policy manifest 1\nserial -1\nsignatures 2\n",
        "hoopd policy manifest 1\nserial 1\nsignatures 22\n",
        "hoopd policy manifest 1\nserial 1\nsignatures 2\nsha256 00 a\n",
        f"hoopd policy manifest 1\nserial 1\nsignatures 2\nsha256 {'0' * 64} a\nsha256 {'1' * 64} a\n",
        f"hoopd policy manifest 1\nserial 1\nsignatures 2\nsha256 {'0' * 64} a\tb\n",
        f"hoopd policy manifest 1\nserial 1\nsignatures 2\nsha256 {'0' * 64} a",
    ],
)
def test_what_is_no_manifest(text: str) -> None:
    with pytest.raises(ManifestError):
        Manifest.parse(text)


def test_a_name_that_would_be_two_lines() -> None:
    with pytest.raises(ValueError, match="rename the file"):
        manifest(files={"policies.d/a.toml\nsha256 x": ""})


_PATHS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1)


@given(st.integers(0, 10**15 - 1), st.integers(0, 9), st.dictionaries(_PATHS, st.text(st.characters(codec="utf-8"))))
def test_it_is_read_as_it_was_written(serial: int, needed: int, files: dict[str, str]) -> None:
    text = manifest(serial, files, needed)
    read = Manifest.parse(text)
    assert (read.serial, read.needed, read.files) == (serial, needed, digests(files))
    assert read.text() == text


@given(st.text(st.characters(codec="utf-8")))
def test_any_text_is_refused_politely(text: str) -> None:
    refused(text, BOTH)
    refused(TEXT + text + "\n", BOTH)


def test_lists_of_too_few() -> None:
    assert list_problems(LIST, 2) == []
    assert list_problems(LIST, 4) == ["it names 3 people, and policy.signatures = 4"]
    assert list_problems(f"{LEE.line()}\n{SECOND.line()}\n", 2) == ["it names 1 people, and policy.signatures = 2"]
    assert "line 1" in list_problems("x", 2)[0]
