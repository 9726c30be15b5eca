"""Claims to identities: what is missing narrows or refuses, and nothing a token says makes its bearer a person."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from hoopd.errors import AuthenticationFailed
from hoopd.identity.mapping import identity_of
from hoopd.identity.values import VerifiedToken
from hoopd.values import Identity
from tests.identity.issuer import ISSUER, NOW, PROVIDER, claims


def identity(provider: Any = PROVIDER, **changes: Any) -> Identity:
    return identity_of(VerifiedToken("corp", ISSUER, claims(**changes), NOW + 300.0), provider, float(NOW))


def test_plain() -> None:
    found = identity()
    assert (found.name, found.kind, found.groups) == ("user:priya", "human", frozenset({"eng"}))
    assert (found.scopes, found.duties, found.act) == (None, frozenset({"user"}), None)
    assert (found.proof, found.proven_at, found.expires_at) == (f"oidc:{ISSUER}", NOW, NOW + 300.0)


def test_kind_is_the_providers() -> None:
    agents = evolve(PROVIDER, kind="agent")
    assert identity(agents, kind="human", amr=["pwd"], sub="ci/orders@main").name == "agent:ci/orders@main"
    assert identity(kind="agent").kind == "human"


def test_prefixes() -> None:
    found = identity(evolve(PROVIDER, subject_prefix="corp/", group_prefix="corp:"))
    assert found.name == "user:corp/priya"
    assert found.groups == {"corp:eng"}


@pytest.mark.parametrize(
    "subject",
    [
        None,
        "",
        " ",
        "a\n",
        "a\0b",
        7,
        ["priya"],
        True,
        "x" * 256,
        "priya ",
        "ﬁx",
        "a\u200bb",
        "\u202eayirp",
        "e\u0301",
        "Ｐriya",
    ],
)
def test_subjects_that_are_none(subject: Any) -> None:
    with pytest.raises(AuthenticationFailed):
        identity(sub=subject)


def test_unicode_case_stays_two_people() -> None:
    assert identity(sub="Priya").name != identity(sub="priya").name
    assert identity(sub="straße").subject == "straße"


def test_an_address_must_be_verified() -> None:
    by_mail = evolve(PROVIDER, subject_claim="email")
    assert identity(by_mail, email="Ann@Example.org", email_verified=True).subject == "ann@example.org"
    for verified in (None, False, "true", 1, "yes"):
        with pytest.raises(AuthenticationFailed):
            identity(by_mail, email="ann@example.org", email_verified=verified)
    with pytest.raises(AuthenticationFailed):
        identity(by_mail, email_verified=True)


def test_groups() -> None:
    assert identity(groups=None).groups == frozenset()
    assert identity(groups="one").groups == {"one"}
    assert identity(groups=["Domain Admins", "b", "b"]).groups == {"Domain Admins", "b"}
    assert identity(evolve(PROVIDER, groups_claim="")).groups == frozenset()
    nested = evolve(PROVIDER, groups_claim="realm_access.roles")
    assert identity(nested, realm_access={"roles": ["x"]}).groups == {"x"}
    assert identity(nested, realm_access="x").groups == frozenset()
    dotted = {"realm_access.roles": ["exact"], "realm_access": {"roles": ["x"]}}
    assert identity(nested, **dotted).groups == {"exact"}


@pytest.mark.parametrize("groups", [7, {"eng": True}, ["eng", 7], ["eng", ""], ["a\nb"], ["x"] * 1001, [["eng"]]])
def test_groups_that_are_none(groups: Any) -> None:
    with pytest.raises(AuthenticationFailed):
        identity(groups=groups)


def test_groups_that_are_left_out() -> None:
    with pytest.raises(AuthenticationFailed, match="overage"):
        identity(groups=None, _claim_names={"groups": "src1"})


def test_duties_come_from_groups() -> None:
    dutiful = evolve(PROVIDER, duties={"eng": "approver", "ops": "administrator"})
    assert identity(dutiful).duties == {"user", "approver"}
    assert identity(dutiful, groups=["eng", "ops"]).duties == {"user", "approver", "administrator"}
    assert identity(dutiful, groups=[], duties=["administrator"], duty="administrator").duties == {"user"}
    # as policies write them: with the prefix
    prefixed = evolve(dutiful, group_prefix="corp:")
    assert identity(prefixed).duties == {"user"}


def test_an_agent_never_approves() -> None:
    agents = evolve(PROVIDER, kind="agent", duties={"eng": "approver"})
    assert identity(agents).duties == {"user"}


def test_scopes_narrow() -> None:
    scoped = evolve(PROVIDER, scopes_claim="scope", duties={"eng": "approver"})
    found = identity(scoped, scope="openid target:orders-* do:read")
    assert found.scopes == ("do:read", "target:orders-*")
    assert found.duties == {"user"}
    assert identity(scoped, scope=["do:read", "duty:approver"]).duties == {"user", "approver"}
    assert identity(scoped, scope="do:read duty:administrator").duties == {"user"}


@pytest.mark.parametrize(
    "scope", [None, "", "openid profile", [], ["openid"], 7, {"do:read": 1}, ["do:read", 7], "duty:root"]
)
def test_scopes_that_are_asked_for_and_not_there(scope: Any) -> None:
    with pytest.raises(AuthenticationFailed):
        identity(evolve(PROVIDER, scopes_claim="scope"), scope=scope)


def test_on_whose_behalf() -> None:
    acting = evolve(PROVIDER, kind="agent", act_claim="act", subject_prefix="corp/")
    assert identity(acting).act is None
    assert identity(acting, act="ann").act == "user:corp/ann"
    assert identity(acting, act={"sub": "ann"}).act == "user:corp/ann"
    assert identity(evolve(acting, act_claim=""), act="ann").act is None
    for act in (7, "", ["ann"], {"sub": 7}, {"sub": "a\n"}):
        with pytest.raises(AuthenticationFailed):
            identity(acting, act=act)
