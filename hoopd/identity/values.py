"""What the verifier hands to the broker, and the rows that administration shows; frozen, without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

from hoopd.secret import Secret
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
class DeviceRequest:
    """What a provider answered to a device authorization request (RFC 8628 section 3.2), checked and bounded."""

    #: what the gateway asks by; whoever has it gets the person's tokens
    code: Secret
    #: what the person types in, plain ASCII
    user_code: str
    #: where they type it in: https, plain ASCII
    link: str
    #: seconds
    expires_in: float
    #: seconds between two questions
    interval: float


@frozen
class DeviceAnswer:
    """What a provider answered to a device access token request (RFC 8628 section 3.5).

    @ivar token: what the provider vouches by, not verified; empty unless C{state} is C{"granted"}.
    @ivar why: the provider's word for C{"failed"}, plain.
    """

    state: Literal["pending", "slow_down", "denied", "expired", "failed", "granted"]
    token: Secret
    why: str = ""


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
