"""From a verified OIDC token to an identity, by the provider's configuration; pure.

Kind is the provider's, never a claim's. What is missing narrows or refuses, never widens: no subject, an unverified
e-mail address, groups that are cut short, or scopes that are asked for and not there are all refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hoopd.config.schema import OidcProvider
from hoopd.errors import AuthenticationFailed
from hoopd.identity import duties as duty_rules
from hoopd.identity import scopes as scope_rules
from hoopd.identity.names import foreign
from hoopd.identity.values import VerifiedToken
from hoopd.values import Identity

#: more groups than this is a mistake in the provider's claim mapping
MAX_GROUPS = 1000


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or, where there is none of it, along dots: C{realm_access.roles}."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


def _subject(claims: Mapping[str, Any], provider: OidcProvider) -> str:
    value = _claim(claims, provider.subject_claim)
    if provider.subject_claim == "email":
        # anybody may write any address into a profile
        if claims.get("email_verified") is not True:
            raise AuthenticationFailed("the e-mail address is not verified")
        value = value.lower() if isinstance(value, str) else value
    subject = foreign(value)
    if subject is None:
        raise AuthenticationFailed(f"claim {provider.subject_claim} is no usable subject")
    return provider.subject_prefix + subject


def _groups(claims: Mapping[str, Any], provider: OidcProvider) -> frozenset[str]:
    if not provider.groups_claim:
        return frozenset()
    elsewhere = claims.get("_claim_names")
    if isinstance(elsewhere, Mapping) and provider.groups_claim in elsewhere:
        # Entra ID leaves out the groups of people who have many; rules that deny by group would not see them
        raise AuthenticationFailed("the token leaves out groups (overage)")
    value = _claim(claims, provider.groups_claim)
    if value is None:
        return frozenset()
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or len(listed) > MAX_GROUPS:
        raise AuthenticationFailed(f"claim {provider.groups_claim} is no list of groups")
    groups = [foreign(one) for one in listed]
    if None in groups:
        raise AuthenticationFailed(f"claim {provider.groups_claim} has something that is no group")
    return frozenset(f"{provider.group_prefix}{group}" for group in groups)


def _scopes(claims: Mapping[str, Any], provider: OidcProvider) -> tuple[str, ...] | None:
    if not provider.scopes_claim:
        return None
    value = _claim(claims, provider.scopes_claim)
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise AuthenticationFailed(f"claim {provider.scopes_claim} has no scopes")
    try:
        # words of other services (openid, profile) are not for us
        return scope_rules.valid_scopes(word for word in words if scope_rules.known(word))
    except ValueError:
        raise AuthenticationFailed(f"claim {provider.scopes_claim} has no scope for this gateway") from None


def _act(claims: Mapping[str, Any], provider: OidcProvider) -> str | None:
    if not provider.act_claim:
        return None
    value = _claim(claims, provider.act_claim)
    if isinstance(value, Mapping):
        value = value.get("sub")  # RFC 8693 section 4.1
    if value is None:
        return None
    subject = foreign(value)
    if subject is None:
        raise AuthenticationFailed(f"claim {provider.act_claim} names nobody")
    return f"user:{provider.subject_prefix}{subject}"


def identity_of(
    verified: VerifiedToken, provider: OidcProvider, now: float, conflicts: duty_rules.Conflicts = ()
) -> Identity:
    """
    @param now: epoch seconds, for C{proven_at}.
    @raise AuthenticationFailed: the claims do not make an identity; the text is for the log.
    """
    groups = _groups(verified.claims, provider)
    scopes = _scopes(verified.claims, provider)
    held = duty_rules.given(provider.duties, groups, provider.kind)
    identity = Identity(
        subject=_subject(verified.claims, provider),
        kind=provider.kind,
        groups=groups,
        scopes=scopes,
        duties=scope_rules.duties(held, scopes),
        act=_act(verified.claims, provider),
        proof=f"oidc:{verified.issuer}",
        proven_at=now,
        expires_at=verified.expires_at,
        claims=dict(verified.claims),
    )
    return duty_rules.parted(identity, held, conflicts)
