"""allowed_signers: who may sign, and what is refused because it would leave that open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.governance.signers import allowed_signers, people
from tests.governance.signing import Person

LEE, ANN = Person("user:lee"), Person("user:ann", "nistp256")
KEY = LEE.line().partition(" ")[2]


def test_lines_options_and_comments() -> None:
    text = "\n".join(
        [
            "# who may change the rules",
            "",
            LEE.line(),
            ANN.line('namespaces="hoopd-policy,git",valid-after="20260101Z",valid-before="202612312359Z"')
            + " ann@laptop",
            Person("user:lee", "rsa").line(),
        ]
    )
    signers, problems = allowed_signers(text)
    assert problems == []
    assert [(each.principal, each.line) for each in signers] == [("user:lee", 3), ("user:ann", 4), ("user:lee", 5)]
    assert people(signers) == 2
    ann = signers[1]
    assert (ann.namespaces, ann.after, ann.before) == (("hoopd-policy", "git"), 1767225600.0, 1798761540.0)
    assert ann.refusal("hoopd-policy", 1780000000) == ""
    assert "not for hoopd-other" in ann.refusal("hoopd-other", 1780000000)
    assert "only from 2026-01-01" in ann.refusal("git", 1767225599)
    assert "has expired" in ann.refusal("git", 1798761540)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("lee KEY", "no person's identity"),
        ("agent:ci KEY", "no person's identity"),
        ("user:* KEY", "no person's identity"),
        ("user:lee,user:ann KEY", "no person's identity"),
        ("!user:lee KEY", "no person's identity"),
        ("user:lee", "there is no key"),
        ("user:lee ssh-ed25519", "there is no key"),
        ("user:lee ssh-ed25519 AAAA", "cut short"),
        ("user:lee ssh-ed25519 ****", "no base64"),
        ("user:lee ssh-rsa BASE64", "of type ssh-ed25519, not ssh-rsa"),
        ("user:lee cert-authority KEY", "'cert-authority' is not taken"),
        ('user:lee namespaces="hoopd-*" KEY', "without patterns"),
        ("user:lee namespaces KEY", "stands once"),
        ('user:lee namespaces="a",namespaces="b" KEY', "stands once"),
        ('user:lee namespaces="a"valid-after="20260101Z" KEY', "separated by commas"),
        ('user:lee valid-before="20260101" KEY', "end it with Z"),
        ('user:lee valid-before="soon" KEY', "is no time"),
        ('user:lee valid-before="20261332Z" KEY', "is no time"),
    ],
)
def test_what_is_refused(line: str, why: str) -> None:
    # keys are others in every process, and a test's name must not be
    written = line.replace("KEY", KEY).replace("BASE64", KEY.split()[1])
    signers, problems = allowed_signers(f"{ANN.line()}\n{written}\n")
    assert [each.principal for each in signers] == ["user:ann"]
    (problem,) = problems
    assert problem.startswith("line 2: ")
    assert why in problem


def test_one_key_is_one_persons() -> None:
    (problem,) = allowed_signers(f"{LEE.line()}\nuser:eve {KEY}\n")[1]
    assert "also user:lee's" in problem


def test_names_that_look_alike_are_one_person() -> None:
    signers, problems = allowed_signers(f"{LEE.line()}\n{Person('user:Lee').line()}\n{Person('user:ｌｅｅ').line()}\n")
    assert problems == []
    assert people(signers) == 1


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_any_text_is_read_or_complained_about(text: str) -> None:
    allowed_signers(text)
    allowed_signers(f"user:lee {text} {KEY}")
