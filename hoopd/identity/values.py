"""What the verifier hands to the broker, and the rows that administration shows; frozen, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from hoopd.values import Kind


@frozen
class VerifiedToken:
    """An OIDC token whose signature, issuer, audience and times are good."""

    #: the provider's name in the configuration
    provider: str
    issuer: str
    claims: Mapping[str, Any] = field(hash=False)
    #: epoch seconds
    expires_at: float


@frozen
class LocalIdentity:
    """An identity that this gateway keeps itself, as lists show it."""

    name: str
    subject: str
    kind: Kind
    groups: tuple[str, ...]
    duties: tuple[str, ...]
    #: it has a password; service accounts never do
    password: bool
    disabled: bool
    created_at: float
    created_by: str


@frozen
class IssuedToken:
    """A token that this gateway issued, as lists show it: never its secret."""

    id: str
    identity: str
    scopes: tuple[str, ...] | None
    act: str | None
    description: str
    created_at: float
    created_by: str
    expires_at: float
    revoked_at: float | None
    last_used_at: float | None


@frozen
class Revocation:
    """Something that lived sessions may rest on is no longer so.

    @ivar identity: name of the identity.
    @ivar token: id of the token alone concerned, or C{""}: everything of the identity.
    @ivar why: for the session's end and the log.
    """

    identity: str
    token: str
    why: str
