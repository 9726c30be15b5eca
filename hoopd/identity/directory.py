"""Local identities and issued tokens, and their administration; not the checking of proofs.

Who may call what is decided by duty before (L{hoopd.administration}); here stand only the rules that hold for every
caller: a person's token is issued by that person and never wider than the proof it was issued with, an agent has no
password and approves nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from hoopd.config.schema import IdentityConfig
from hoopd.errors import Denied
from hoopd.identity import duties as duty_rules
from hoopd.identity import scopes as scope_rules
from hoopd.identity import tokens
from hoopd.identity.names import foreign, split_name, valid_groups
from hoopd.identity.passwords import hash_password
from hoopd.identity.values import IssuedToken, LocalIdentity, Revocation
from hoopd.secret import Secret
from hoopd.store.connection import Conflict, Transaction
from hoopd.values import DUTIES, Identity

Observer = Callable[[Revocation], Any]
log = Logger()

_SELECT = (
    "SELECT i.name, i.kind, i.subject, i.groups, i.duties, i.password IS NOT NULL, l.name IS NOT NULL, "
    "i.created_at, i.created_by FROM identities i LEFT JOIN identity_locks l ON l.name = i.name"
)


def _from_row(row: tuple[Any, ...]) -> LocalIdentity:
    name, kind, subject, groups, duties, password, disabled, created_at, created_by = row
    return LocalIdentity(
        name=name,
        subject=subject,
        kind=kind,
        groups=tuple(json.loads(groups)),
        duties=tuple(json.loads(duties)),
        password=bool(password),
        disabled=bool(disabled),
        created_at=created_at,
        created_by=created_by,
    )


def valid_duties(duties: Iterable[str], kind: str, conflicts: duty_rules.Conflicts = ()) -> tuple[str, ...]:
    """
    @return: C{duties} and C{"user"}, sorted.
    @raise ValueError: an unknown one, one an agent cannot have, or two that exclude each other.
    """
    result = {"user", *duties}
    unknown = result - set(DUTIES)
    if unknown:
        raise ValueError(f"unknown duty {min(unknown)[:64]!r}: one of {', '.join(DUTIES)}")
    if kind == "agent" and "approver" in result:
        raise ValueError("an agent approves nothing: approver is a person's duty")
    clashing = duty_rules.clashes(result, conflicts) - {duty_rules.USER}
    if clashing:
        raise ValueError(
            f"{' and '.join(sorted(clashing))} exclude each other here ([duties] conflicts): give them to two people"
        )
    return tuple(sorted(result))


def insert(
    tx: Transaction, name: str, groups: tuple[str, ...], duties: tuple[str, ...], by: str, now: float
) -> LocalIdentity:
    """Keep a new local identity. @raise ValueError: the name is taken or none."""
    kind, subject = split_name(name)
    row = (name, kind, subject, json.dumps(groups), json.dumps(duties), now, by)
    try:
        tx.execute(
            "INSERT INTO identities (name, kind, subject, groups, duties, created_at, created_by) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        )
    except Conflict:
        raise ValueError(f"there is an identity {name} already") from None
    return find(tx, name)


def find(tx: Transaction, name: str) -> LocalIdentity:
    """@raise KeyError: no such identity."""
    rows = tx.execute(f"{_SELECT} WHERE i.name = ?", (name,))
    if not rows:
        raise KeyError(name)
    return _from_row(rows[0])


def _is_name(name: str) -> bool:
    """Whether C{name} can be an identity's, local or proven elsewhere."""
    prefix, _, subject = name.partition(":")
    return prefix in ("user", "agent") and foreign(subject) is not None


def administrators(tx: Transaction, conflicts: duty_rules.Conflicts = ()) -> list[str]:
    """@return: names of the local identities that can administer now."""
    found = [_from_row(row) for row in tx.execute(_SELECT)]
    counting = [one for one in found if "administrator" not in duty_rules.clashes(one.duties, conflicts)]
    return [one.name for one in counting if "administrator" in one.duties and not one.disabled]


class Directory:
    """
    @param store: L{hoopd.interfaces.IStore} with L{hoopd.identity.tables}.
    @param clock: IReactorTime; its seconds are the epoch's.
    @param pepper: 32 secret bytes of this installation (L{hoopd.vault.vault.Vault.internal}).
    @param threads: C{(callable, *arguments) -> Deferred}.
    @param entropy: C{(number of bytes) -> bytes}, cryptographic.
    @param conflicts: duties that exclude each other.
    """

    def __init__(
        self,
        store: Any,
        config: IdentityConfig,
        clock: Any,
        pepper: bytes,
        threads: Callable[..., Any] = deferToThread,
        entropy: Callable[[int], bytes] = os.urandom,
        conflicts: duty_rules.Conflicts = (),
    ) -> None:
        self._store = store
        self._conflicts = conflicts
        self._config = config
        self._clock = clock
        self._pepper = pepper
        self._threads = threads
        self._entropy = entropy
        self._observers: list[Observer] = []

    def observe(self, observer: Observer) -> None:
        """Call C{observer} with a L{Revocation} whenever what a session may rest on has changed, once it is on disk:
        a revoked token, a disabled identity, another password, other groups or duties."""
        self._observers.append(observer)

    def _tell(self, identity: str, why: str, token: str = "") -> None:
        for observer in self._observers:
            try:
                observer(Revocation(identity, token, why))
            except Exception:
                # the change is on disk, and the others must hear of it all the same
                log.failure("identity: an observer of {identity} failed", identity=identity)

    # -- identities --------------------------------------------------------------------------------------------

    def add(
        self, name: str, by: str, groups: Iterable[str] = (), duties: Iterable[str] = ()
    ) -> Deferred[LocalIdentity]:
        """A new identity, without password: C{"user:priya"} is a person, C{"agent:ci"} a service account.

        @return: Deferred of it. @raise ValueError: name taken, or something cannot be written so.
        """

        def work(tx: Transaction) -> LocalIdentity:
            kind, _ = split_name(name)
            valid = valid_duties(duties, kind, self._conflicts)
            return insert(tx, name, valid_groups(groups), valid, by, self._clock.seconds())

        return self._transact(work)

    def identities(self) -> Deferred[list[LocalIdentity]]:
        """@return: Deferred of all local identities, by name."""
        return self._transact(lambda tx: [_from_row(row) for row in tx.execute(f"{_SELECT} ORDER BY i.name")])

    def set_groups(self, name: str, groups: Iterable[str], by: str) -> Deferred[LocalIdentity]:
        """@raise KeyError: no such identity. @raise ValueError: a group cannot be called so."""
        return self._change(name, "groups", lambda found: valid_groups(groups))

    def set_duties(self, name: str, duties: Iterable[str], by: str) -> Deferred[LocalIdentity]:
        """
        @raise KeyError: no such identity.
        @raise ValueError: an unknown duty, one an agent cannot have, or two that exclude each other; for oneself also
            one that excludes what one has now: nobody lays down a duty to take up its counterpart.
        """
        wanted = tuple(duties)

        def value(found: LocalIdentity) -> tuple[str, ...]:
            new = valid_duties(wanted, found.kind, self._conflicts)
            if name == by and set(new) & duty_rules.clashes({*found.duties, *new}, self._conflicts) - set(found.duties):
                raise ValueError("nobody takes up a duty that excludes one they have: another administrator gives it")
            return new

        return self._change(name, "duties", value)

    def _change(
        self, name: str, column: str, value: Callable[[LocalIdentity], tuple[str, ...]]
    ) -> Deferred[LocalIdentity]:
        def work(tx: Transaction) -> LocalIdentity:
            new = json.dumps(value(find(tx, name)))
            tx.execute(f"UPDATE identities SET {column} = ? WHERE name = ?", (new, name))
            return find(tx, name)

        def told(changed: LocalIdentity) -> LocalIdentity:
            self._tell(name, f"its {column} were changed")
            return changed

        return self._transact(work).addCallback(told)

    def set_password(self, name: str, password: Secret | None, by: str) -> Deferred[None]:
        """Give a person another password, or none (then only tokens prove it).

        @raise KeyError: no such identity. @raise ValueError: an agent's, or too short.
        """
        return Deferred.fromCoroutine(self._set_password(name, password))

    async def _set_password(self, name: str, password: Secret | None) -> None:
        if split_name(name)[0] != "human":
            raise ValueError("an agent has no password: issue a token for it")
        stored = None
        if password is not None:
            stored = await self._threads(hash_password, password.reveal(), self._entropy(16))

        def work(tx: Transaction) -> None:
            find(tx, name)
            tx.execute("UPDATE identities SET password = ? WHERE name = ?", (stored, name))

        await self._transact(work)
        self._tell(name, "its password was changed")

    def disable(self, name: str, by: str, why: str = "") -> Deferred[None]:
        """Lock an identity out, however it proves itself; it need not be a local one.

        @raise ValueError: C{name} cannot be an identity.
        """

        def work(tx: Transaction) -> None:
            if not _is_name(name):
                raise ValueError(f"{name[:140]!r} is no identity: user:NAME or agent:NAME")
            tx.execute(
                "INSERT INTO identity_locks (name, locked_at, locked_by, why) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO NOTHING",
                (name, self._clock.seconds(), by, why),
            )

        return self._transact(work).addCallback(lambda done: self._tell(name, why or "it was disabled"))

    def enable(self, name: str, by: str) -> Deferred[None]:
        """Undo L{disable}. @raise KeyError: it is not disabled."""

        def work(tx: Transaction) -> None:
            if not tx.execute("DELETE FROM identity_locks WHERE name = ? RETURNING name", (name,)):
                raise KeyError(name)

        return self._transact(work)

    def locked(self, name: str) -> Deferred[bool]:
        """@return: Deferred of whether an identity, local or not, is disabled"""
        return self._transact(lambda tx: bool(tx.execute("SELECT 1 FROM identity_locks WHERE name = ?", (name,))))

    def may_still_approve(self, name: str, groups: Iterable[str]) -> Deferred[bool]:
        """Whether somebody who approved could do so today: not locked, and, if local, with the duty and groups of then.

        @param groups: those it had when it approved
        @return: Deferred of bool
        """

        def work(tx: Transaction) -> bool:
            if tx.execute("SELECT 1 FROM identity_locks WHERE name = ?", (name,)):
                return False
            try:
                found = find(tx, name)
            except KeyError:
                return True  # proven by a provider, whose word of now is not asked
            counting = set(found.duties) - duty_rules.clashes(found.duties, self._conflicts)
            return "approver" in counting and set(groups) <= set(found.groups)

        return self._transact(work)

    def clashing(self) -> Deferred[dict[str, list[str]]]:
        """@return: Deferred of local identities that hold duties which exclude each other, and which those are."""

        def work(tx: Transaction) -> dict[str, list[str]]:
            found = [_from_row(row) for row in tx.execute(f"{_SELECT} ORDER BY i.name")]
            each = {
                one.name: sorted(duty_rules.clashes(one.duties, self._conflicts) - {duty_rules.USER}) for one in found
            }
            return {name: duties for name, duties in each.items() if duties}

        return self._transact(work)

    # -- tokens ------------------------------------------------------------------------------------------------

    def issue(
        self,
        requester: Identity,
        name: str,
        lifetime: float | None = None,
        scopes: Iterable[str] | None = None,
        act: str | None = None,
        description: str = "",
    ) -> Deferred[tuple[IssuedToken, Secret]]:
        """Issue a token for the local identity C{name}.

        One's own is never wider, nor longer lived, than the proof that it is asked for with. Administrators issue
        those of agents, and nobody else's.

        @param lifetime: seconds; None is the configured default.
        @param act: identity name on whose behalf the bearer acts, for agents' tokens.
        @return: Deferred of the token's entry and the token itself, which is not kept.
        @raise Denied: not entitled, or wider. @raise KeyError: no such identity. @raise ValueError: arguments.
        """
        wanted = None if scopes is None else tuple(scopes)
        return Deferred.fromCoroutine(self._issue(requester, name, lifetime, wanted, act, description))

    async def _issue(
        self,
        requester: Identity,
        name: str,
        lifetime: float | None,
        scopes: tuple[str, ...] | None,
        act: str | None,
        description: str,
    ) -> tuple[IssuedToken, Secret]:
        now = self._clock.seconds()
        life = self._config.token_lifetime if lifetime is None else lifetime
        if not 0 < life <= self._config.token_lifetime_max:
            raise ValueError(f"a token lives for more than 0 and at most {self._config.token_lifetime_max:.0f} seconds")
        if scopes is not None:
            scopes = scope_rules.valid_scopes(scopes)
        expires_at = now + life
        own = name == requester.name
        if own:
            expires_at, act = self._own(requester, act, expires_at)
        elif "administrator" not in requester.duties:
            raise Denied("only administrators issue tokens for others", hint="ask an administrator")
        if not scope_rules.narrower(scopes, requester.scopes):
            raise Denied("a token cannot be wider than the one it is asked for with")
        id, secret = tokens.make_token(self._entropy)
        token = IssuedToken(
            id,
            name,
            scopes,
            act,
            description[:200],
            now,
            requester.name,
            expires_at,
            revoked_at=None,
            last_used_at=None,
        )

        def work(tx: Transaction) -> None:
            holder = find(tx, name)
            if not own and holder.kind != "agent":
                raise Denied(
                    "a person's token is issued by that person alone",
                    hint="give them a password, or let them sign in through their provider",
                )
            if holder.disabled:
                raise Denied(f"{name} is disabled")
            if act is not None and (holder.kind != "agent" or not _is_name(act)):
                raise ValueError("act names the identity on whose behalf an agent acts: user:NAME")
            tokens.insert(tx, token, tokens.digest(self._pepper, "token", secret.reveal()))

        await self._transact(work)
        return token, secret

    @staticmethod
    def _own(requester: Identity, act: str | None, expires_at: float) -> tuple[float, str | None]:
        if requester.proof.startswith("oidc:"):
            # such a token would outlive the groups that the provider takes away
            raise Denied("tokens are issued to local identities only", hint="get a fresh token from your provider")
        if act is not None and act != requester.act:
            raise Denied("on whose behalf a token acts cannot be changed by its bearer")
        if requester.expires_at is not None:
            expires_at = min(expires_at, requester.expires_at)
        return expires_at, requester.act

    def tokens(self, identity: str | None = None) -> Deferred[list[IssuedToken]]:
        """@return: Deferred of issued tokens, newest first: all, or one identity's."""
        return self._transact(lambda tx: tokens.select(tx, identity))

    def revoke(self, requester: Identity, id: str) -> Deferred[IssuedToken]:
        """End a token now: one's own, or as administrator any.

        @return: Deferred of the token as it was. @raise KeyError: no such token, or not one's own.
        """

        def work(tx: Transaction) -> IssuedToken:
            found = tokens.select(tx, id=id)
            if not found or (found[0].identity != requester.name and "administrator" not in requester.duties):
                raise KeyError(id)
            return tokens.revoke(tx, id, requester.name, self._clock.seconds())

        def told(token: IssuedToken) -> IssuedToken:
            self._tell(token.identity, f"token {id} was revoked", id)
            return token

        return self._transact(work).addCallback(told)

    def _transact(self, work: Callable[[Transaction], Any]) -> Deferred[Any]:
        result: Deferred[Any] = self._store.transact(work)
        return result
