"""What the broker does for hoopctl: proves the caller, checks the duty, acts, records; the wire is L{hoopd.ipc}'s."""

from __future__ import annotations

import base64
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, get_args

from attrs import define
from twisted.internet.defer import Deferred
from zope.interface import implementer

import hoopd
from hoopd.administration_verbs import VERBS, check_arguments
from hoopd.breakglass import verbs as break_glass_verbs
from hoopd.emergency import verbs as emergency_verbs
from hoopd.errors import Denied
from hoopd.governance import verbs as governance_verbs
from hoopd.identity import recovery_verbs
from hoopd.identity.duties import explained
from hoopd.interfaces import IAdministration
from hoopd.ipc import wire
from hoopd.notices import verbs as notice_verbs
from hoopd.policy import explanation
from hoopd.policy.statements import read
from hoopd.policy.testing import identity as identity_of_name
from hoopd.policy.words import WORDS
from hoopd.secret import Secret
from hoopd.values import Identity, Peer, Proof, Scope
from hoopd.vault import ssh_verbs
from hoopd.vault import verbs as vault_verbs

SCOPES: tuple[Scope, ...] = get_args(Scope)

#: one page of a recording: base64 of it stays well under what one answer may hold
PAGE = 1 << 20
#: seconds that signing in by password lasts, unless asked otherwise: a working day
LOGIN = 12 * 3600.0

#: seconds in which the same list of approvals is on record once: programs ask for it again and again
POLLED = 60.0
#: seconds that reading one recording may take, page after page, and be one look
READ = 3600.0

Arguments = Mapping[str, Any]


def plain(value: Any) -> Any:
    """C{value} (of L{hoopd.values} or L{hoopd.identity.values}) as what JSON can hold."""
    return wire.decode(wire.encode(value), Any)


@implementer(IAdministration)
@define(eq=False)
class Administration:
    """
    @ivar rule_sets: L{hoopd.governance.service.RuleSets}.
    @ivar reload: asks the supervisor, for somebody, behind whom is a person; Deferred of None.
    @ivar condition: L{hoopd.administration_condition.Condition}.
    """

    identities: Any
    bootstrap: Any
    vault: Any
    approvals: Any
    break_glass: Any
    recovery: Any
    ssh: Any
    ssh_keys: Any
    notices: Any
    officers: Any
    exports: Any
    admissions: Any
    index: Any
    observed: Any
    transfers: Any
    ledger: Any
    views: Any
    watches: Any
    policy: Callable[[], Any]
    rule_sets: Any
    ask_ahead: Callable[[Secret, Any, str, bytes, str], Deferred[Any]]
    recordings: str
    clock: Any
    event: Callable[[str, dict[str, Any]], None]
    reload: Callable[[str, str], Deferred[None]]
    condition: Any

    def call(self, token: Secret, verb: str, arguments: Arguments) -> Deferred[Any]:
        """See L{IAdministration.call}."""
        return Deferred.fromCoroutine(self._call(token, verb, arguments))

    async def _call(self, token: Secret, verb: str, arguments: Arguments) -> Any:
        if verb not in VERBS:
            raise KeyError(verb)
        check_arguments(verb, arguments)
        if verb == "bootstrap":
            return await self._bootstrap(token, arguments)
        if verb == "login":
            return await self._login(arguments)
        # Control vouches for nothing but that the caller is on this machine or came over its TLS.
        caller: Identity = await self.identities.authenticate(Proof("", token, Peer("127.0.0.1", 0, True)))
        return await self.act(caller, verb, arguments, token)

    async def act(self, caller: Identity, verb: str, arguments: Arguments, token: Secret | None = None) -> Any:
        """What C{caller}, who is proven, asks for; as L{IAdministration.call}. @param token: their proof, where it is one"""
        check_arguments(verb, arguments)
        needed = VERBS[verb].duties
        subject = str(arguments.get("name") or arguments.get("id") or "")
        if needed and not caller.duties & set(needed):
            self.event("administration.refused", {"by": caller.name, "verb": verb, "why": "duty"})
            raise _lacking(verb, needed, caller)
        try:
            if verb == "request.statements" and token is not None:
                # judged in a session of the caller's own, which begins as any other does: by proof
                result = await self.request_statements(caller, arguments, token)
            else:
                result = await _ACTS[verb](self, caller, arguments)
        except Denied as denied:
            self.event("administration.refused", {"by": caller.name, "verb": verb, "why": denied.why})
            raise
        if VERBS[verb].views:
            await self._viewed(caller, verb, subject, arguments, result)
        if VERBS[verb].acts:
            await self.ledger.append(
                "administration", {"verb": verb, "by": caller.name, "subject": subject, "detail": _detail(arguments)}
            )
        if not VERBS[verb].quiet:
            called = {"by": caller.name, "verb": verb, "subject": subject, "outcome": "done"}
            self.event("administration.called", called)
        return result

    async def _viewed(self, caller: Identity, verb: str, subject: str, arguments: Arguments, result: Any) -> None:
        """Have it in the ledger that C{caller} is shown C{result}, before it is."""
        quiet = 0.0
        if verb == "approvals.list":
            quiet = POLLED
        elif verb == "sessions.recording" and arguments.get("offset"):
            quiet = READ  # the further pages of what was recorded with the first
        detail = {**_detail(arguments), **({"found": len(result)} if isinstance(result, list) else {})}
        await self.views.record(caller.name, verb, subject, detail, quiet)

    async def _bootstrap(self, token: Secret, arguments: Arguments) -> Any:
        entry, secret = await self.bootstrap.consume(token, arguments["name"])
        await self.ledger.append(
            "administration", {"verb": "bootstrap", "by": entry.identity, "subject": entry.identity, "detail": {}}
        )
        return {"token": secret.reveal().decode(), "entry": plain(entry)}

    async def _login(self, a: Arguments) -> Any:
        proof = Proof(a["name"], Secret(a["password"]), Peer("127.0.0.1", 0, True))
        caller: Identity = await self.identities.authenticate(proof)
        if caller.proof.startswith("recovery:"):
            return await self._recovered(caller)
        life = a.get("lifetime") or LOGIN
        entry, secret = await self.identities.issue(caller, caller.name, life, None, None, "signed in")
        self.event(
            "token.issued",
            {"token": entry.id, "identity": entry.identity, "by": caller.name, "expires": entry.expires_at},
        )
        detail = {"token": entry.id}
        await self.ledger.append(
            "administration", {"verb": "login", "by": caller.name, "subject": caller.name, "detail": detail}
        )
        return {"token": secret.reveal().decode(), "entry": plain(entry)}

    async def _recovered(self, caller: Identity) -> Any:
        """A recovery code signs in too: for the rest of its short session, whoever provides the identity otherwise."""
        token, until = await self.recovery.session(caller)
        id = caller.proof.partition(":")[2]
        await self.ledger.append(
            "administration",
            {"verb": "login", "by": caller.name, "subject": caller.name, "detail": {"recovery": id}},
        )
        entry = {"id": id, "identity": caller.name, "expires_at": until}
        return {"token": token.reveal().decode(), "entry": entry, "remaining": caller.claims["recovery_remaining"]}

    # -- oneself -----------------------------------------------------------------------------------------------

    async def whoami(self, caller: Identity, arguments: Arguments) -> Any:
        sets = {name: sorted(getattr(caller, name)) for name in ("groups", "duties", "withheld")}
        return {**plain(caller), **sets, "name": caller.name, "claims": {}}

    async def status(self, caller: Identity, arguments: Arguments) -> Any:
        pending = await self.approvals.find(states=["pending"])
        known = {
            "version": hoopd.__version__,
            "policy": self.policy().version,
            "sessions": len(self.admissions.live),
            "pending": len(pending),
        }
        if not caller.duties & {"administrator", "auditor"}:
            return known
        return {**known, **plain(await self.condition.describe(pending))}

    # -- identities and tokens ---------------------------------------------------------------------------------

    async def identities_add(self, caller: Identity, a: Arguments) -> Any:
        added = await self.identities.add(a["name"], caller.name, a.get("groups") or (), a.get("duties") or ())
        self.event("identity.added", {"identity": added.name, "by": caller.name, "duties": list(added.duties)})
        return plain(added)

    async def identities_list(self, caller: Identity, a: Arguments) -> Any:
        return plain(await self.identities.identities())

    async def identities_disable(self, caller: Identity, a: Arguments) -> Any:
        why = a.get("why") or f"disabled by {caller.name}"
        await self.identities.disable(a["name"], caller.name, why)
        return {"name": a["name"]}

    async def identities_enable(self, caller: Identity, a: Arguments) -> Any:
        await self.identities.enable(a["name"], caller.name)
        return {"name": a["name"]}

    async def identities_password(self, caller: Identity, a: Arguments) -> Any:
        await self.identities.set_password(a["name"], Secret(a["password"]), caller.name)
        return {"name": a["name"]}

    async def identities_groups(self, caller: Identity, a: Arguments) -> Any:
        return plain(await self.identities.set_groups(a["name"], a["groups"], caller.name))

    async def identities_duties(self, caller: Identity, a: Arguments) -> Any:
        return plain(await self.identities.set_duties(a["name"], a["duties"], caller.name))

    async def tokens_issue(self, caller: Identity, a: Arguments) -> Any:
        entry, secret = await self.identities.issue(
            caller,
            a.get("name") or caller.name,
            a.get("lifetime"),
            a.get("scopes"),
            a.get("act"),
            a.get("description") or "",
        )
        self.event(
            "token.issued",
            {"token": entry.id, "identity": entry.identity, "by": caller.name, "expires": entry.expires_at},
        )
        return {"token": secret.reveal().decode(), "entry": plain(entry)}

    async def tokens_list(self, caller: Identity, a: Arguments) -> Any:
        wanted = a.get("name")
        if wanted != caller.name and "administrator" not in caller.duties:
            wanted = caller.name
        return plain(await self.identities.tokens(wanted))

    async def tokens_revoke(self, caller: Identity, a: Arguments) -> Any:
        return plain(await self.identities.revoke(caller, a["id"]))

    # -- approvals ---------------------------------------------------------------------------------------------

    async def approvals_list(self, caller: Identity, a: Arguments) -> Any:
        requester = None if caller.duties & {"approver", "auditor", "administrator"} else caller.name
        states = [a["state"]] if a.get("state") else None
        return plain(await self.approvals.find(states=states, requester=requester, target=a.get("target")))

    async def approvals_show(self, caller: Identity, a: Arguments) -> Any:
        found = await self.approvals.show(a["id"])
        if found.requester != caller.name and not caller.duties & {"approver", "auditor", "administrator"}:
            raise KeyError(a["id"])
        return plain(found)

    async def approvals_approve(self, caller: Identity, a: Arguments) -> Any:
        reach, lasts = a.get("scope"), a.get("lasts")
        if reach is not None and reach not in SCOPES:
            raise ValueError(f"a scope is one of {', '.join(SCOPES)}")
        return plain(await self.approvals.decide(a["id"], caller, True, a["reason"], reach, lasts, a.get("max_rows")))

    async def approvals_deny(self, caller: Identity, a: Arguments) -> Any:
        return plain(await self.approvals.decide(a["id"], caller, False, a["reason"]))

    async def approvals_revoke(self, caller: Identity, a: Arguments) -> Any:
        return plain(await self.approvals.revoke(a["id"], caller, a["reason"]))

    async def request_statements(self, caller: Identity, a: Arguments, token: Secret) -> Any:
        target = self._open_to(caller, a["target"])
        text, reason = a["text"].encode(), a["reason"]
        if not reason.strip():
            raise ValueError("'reason' is empty: who decides must know why")
        return plain(await self.ask_ahead(token, target, a.get("database") or "", text, reason))

    async def request_window(self, caller: Identity, a: Arguments) -> Any:
        target = self._open_to(caller, a["target"])
        for word in a["do"]:
            if word not in WORDS:
                raise ValueError(f"{word!r} is no word of do: docs/policy.md lists them")
        terms = self.policy().holds_over(caller, target, a["do"], a["reason"])
        holds = tuple(each for each in terms if "window" in each.scopes)
        if not holds:
            why = "no rule holds that" if not terms else "the rules that hold it allow no window"
            raise Denied(f"{why} on {target.name}: there is nothing to ask for", tuple(each.rule for each in terms))
        asked = await self.approvals.request_window(
            caller, target.name, a["do"], a.get("objects") or (), a["lasts"], a["reason"], holds
        )
        return {"approval": plain(asked), "beside": [each.rule for each in terms if each not in holds]}

    async def request_withdraw(self, caller: Identity, a: Arguments) -> Any:
        return plain(await self.approvals.withdraw_own(a["id"], caller, a.get("why") or "withdrawn"))

    def _open_to(self, caller: Identity, name: str) -> Any:
        policy = self.policy()
        target = policy.targets().get(name)
        if target is None or policy.may_connect(caller, target, self.clock.seconds()).verdict == "deny":
            # one answer for both: who may not connect does not learn which targets there are
            raise Denied(f"no target called {name!r} is open to {caller.name}")
        return target

    # -- the record --------------------------------------------------------------------------------------------

    async def sessions_list(self, caller: Identity, a: Arguments) -> Any:
        identity = a.get("identity") if "auditor" in caller.duties else caller.name
        found = await self.index.find(identity, a.get("target"), a.get("since"), a.get("until"))
        return plain(found)

    async def sessions_transfers(self, caller: Identity, a: Arguments) -> Any:
        identity = a.get("identity") if "auditor" in caller.duties else caller.name
        return await self.transfers.find(
            a.get("path"), a.get("sha256"), identity, a.get("target"), a.get("since"), a.get("until")
        )

    async def _session(self, caller: Identity, id: str) -> Any:
        found = await self.index.get(id)
        if found.identity != caller.name and "auditor" not in caller.duties:
            raise KeyError(id)
        return found

    async def sessions_show(self, caller: Identity, a: Arguments) -> Any:
        return plain(await self._session(caller, a["id"]))

    async def sessions_recording(self, caller: Identity, a: Arguments) -> Any:
        found = await self._session(caller, a["id"])
        offset = a.get("offset") or 0
        if offset < 0:
            raise ValueError("'offset' must not be negative")
        page = _page(os.path.join(self.recordings, found.recording), offset)
        if page is None:
            raise ValueError(f"the recording of {found.id} is not on this gateway")
        return {"bytes": base64.b64encode(page).decode(), "next": offset + len(page) if len(page) == PAGE else None}

    async def sessions_watch(self, caller: Identity, a: Arguments) -> Any:
        # that they look is in the ledger by this, under the number of their watch
        return await self.watches.begin(caller, await self._session(caller, a["id"]))

    async def sessions_watch_more(self, caller: Identity, a: Arguments) -> Any:
        if a["offset"] < 0:
            raise ValueError("'offset' must not be negative")
        try:
            await self._session(caller, self.watches.session_of(caller, a["id"]))
        except KeyError:
            # what they may is asked anew each time
            await self.watches.barred(caller, a["id"])
            raise
        found = await self.watches.more(caller, a["id"], a["offset"])
        return {**found, "bytes": base64.b64encode(found["bytes"]).decode()}

    async def sessions_watch_end(self, caller: Identity, a: Arguments) -> Any:
        await self.watches.leave(caller, a["id"])
        return {"id": a["id"]}

    async def audit_views(self, caller: Identity, a: Arguments) -> Any:
        return await self.views.find(a.get("by"), a.get("subject"), a.get("since"), a.get("until"))

    async def sessions_end(self, caller: Identity, a: Arguments) -> Any:
        if not a["reason"].strip():
            raise ValueError("a session is ended for a reason")
        self.admissions.end(a["id"], caller.name, a["reason"])
        return {"id": a["id"]}

    async def audit_checkpoint(self, caller: Identity, a: Arguments) -> Any:
        # before it is signed: whoever asked for a checkpoint is under it
        act = {"verb": "audit.checkpoint", "by": caller.name, "subject": "", "detail": {}}
        await self.ledger.append("administration", act)
        return {"note": await self.ledger.checkpoint(), "witnesses": len(self.ledger.witnesses)}

    async def audit_key(self, caller: Identity, a: Arguments) -> Any:
        return {"verifier": self.ledger.verifier_key}

    # -- policy ------------------------------------------------------------------------------------------------

    async def policy_show(self, caller: Identity, a: Arguments) -> Any:
        policy = self.policy()
        files = [
            {"name": file.name, "rules": [rule.id for rule in (*file.rules, *file.break_glass)]}
            for file in policy.files
        ]
        change = self.rule_sets.change
        return {"version": policy.version, "files": files, "change": change and governance_verbs.shown(change)}

    async def policy_explain(self, caller: Identity, a: Arguments) -> Any:
        policy = self.policy()
        target = policy.targets().get(a["target"])
        if target is None:
            raise KeyError(a["target"])
        if a["name"] == caller.name:
            subject = caller
        elif caller.duties & {"administrator", "auditor"}:
            subject = await self._subject(a["name"], a.get("groups"))
        else:
            raise Denied("what others may do is for administrators and auditors to see")
        reading = read(a["statement"], target, a.get("reason"))
        if reading.refused:
            return {"verdict": "deny", "text": f"REFUSED before any rule: {reading.refused}"}
        texts = []
        verdicts = []
        for each in reading.operations:
            found = policy.explain(subject, target, each, self.clock.seconds())
            verdicts.append(found.decision.verdict)
            texts.append(explanation.render(found, subject, target, each.text))
        worst = max(verdicts, key=["allow", "hold", "deny"].index) if verdicts else "deny"
        return {"verdict": worst, "text": "\n\n".join(texts)}

    async def _subject(self, name: str, groups: list[str] | None) -> Identity:
        if groups is None:
            known = {each.name: each for each in await self.identities.identities()}
            groups = list(known[name].groups) if name in known else []
        return identity_of_name(name, tuple(groups))

    async def reload_now(self, caller: Identity, a: Arguments) -> Any:
        await self.rule_sets.reload(caller, self.reload)
        return {"reloading": True}


def _lacking(verb: str, needed: Collection[str], caller: Identity) -> Denied:
    held = set(needed) & caller.withheld
    if held:
        return Denied(
            f"{verb} needs the duty {' or '.join(needed)}; {explained(caller.name, caller.withheld)}",
            hint="ask an administrator to take one of them away, or to move you out of one of the groups that give them",
        )
    return Denied(
        f"{verb} needs the duty {' or '.join(needed)}; {caller.name} has {', '.join(sorted(caller.duties))}",
        hint="ask an administrator",
    )


def _page(path: str, offset: int) -> bytes | None:
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(PAGE)
    except FileNotFoundError:
        return None


#: secrets, and statements that nobody has scrubbed
_UNTOLD = frozenset({"value", "password", "text"})


def _detail(arguments: Arguments) -> dict[str, Any]:
    """What of the arguments may stand in the ledger: never a secret."""
    return {name: value for name, value in arguments.items() if name not in _UNTOLD and value is not None}


_Act = Callable[[Administration, Identity, Arguments], Awaitable[Any]]

_ACTS: dict[str, _Act] = {
    "whoami": Administration.whoami,
    "status": Administration.status,
    "identities.add": Administration.identities_add,
    "identities.list": Administration.identities_list,
    "identities.disable": Administration.identities_disable,
    "identities.enable": Administration.identities_enable,
    "identities.password": Administration.identities_password,
    "identities.groups": Administration.identities_groups,
    "identities.duties": Administration.identities_duties,
    "tokens.issue": Administration.tokens_issue,
    "tokens.list": Administration.tokens_list,
    "tokens.revoke": Administration.tokens_revoke,
    "approvals.list": Administration.approvals_list,
    "approvals.show": Administration.approvals_show,
    "approvals.approve": Administration.approvals_approve,
    "approvals.deny": Administration.approvals_deny,
    "approvals.revoke": Administration.approvals_revoke,
    "request.window": Administration.request_window,
    "request.withdraw": Administration.request_withdraw,
    "sessions.list": Administration.sessions_list,
    "sessions.transfers": Administration.sessions_transfers,
    "sessions.show": Administration.sessions_show,
    "sessions.recording": Administration.sessions_recording,
    "sessions.watch": Administration.sessions_watch,
    "sessions.watch-more": Administration.sessions_watch_more,
    "sessions.watch-end": Administration.sessions_watch_end,
    "sessions.end": Administration.sessions_end,
    "audit.checkpoint": Administration.audit_checkpoint,
    "audit.key": Administration.audit_key,
    "audit.views": Administration.audit_views,
    "policy.show": Administration.policy_show,
    "policy.explain": Administration.policy_explain,
    "reload": Administration.reload_now,
    **vault_verbs.ACTS,
    **break_glass_verbs.ACTS,
    **emergency_verbs.ACTS,
    **governance_verbs.ACTS,
    **recovery_verbs.ACTS,
    **ssh_verbs.ACTS,
    **notice_verbs.ACTS,
}
