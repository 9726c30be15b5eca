"""A worker process: one protocol's sessions, judged by a snapshot of the policy; composition only.

It has the listener's TLS key and no other standing secret. What it may do for a session it does with that session's
token through the broker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from OpenSSL import SSL
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from hoopd.audit.log import JsonLog
from hoopd.audit.recorder import FileRecorder
from hoopd.config.schema import IdentityConfig, Listener
from hoopd.errors import Denied
from hoopd.interfaces import IRecorder, IWorker
from hoopd.ipc.interfaces import IWorkerRole
from hoopd.ipc.stubs import (
    RemoteApprovals,
    RemoteBreakGlass,
    RemoteLobby,
    RemoteLoginLinks,
    RemoteSessions,
    RemoteSshCredentials,
    RemoteVault,
)
from hoopd.masking.redactors import Redactors
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.protocols.postgres.oauthbearer import Discovery
from hoopd.protocols.postgres.plugin import PostgresPlugin
from hoopd.protocols.ssh.plugin import SshPlugin
from hoopd.roles.context import ChildContext
from hoopd.secret import Secret
from hoopd.values import Admission, Identity, Opening

#: what serves each listener table
PLUGINS: Mapping[str, Callable[[], Any]] = {"postgres": PostgresPlugin, "ssh": SshPlugin}

#: seconds between looks whether the last session has ended
LOOK = 0.1


@implementer(IWorker, IWorkerRole)
class Worker:
    log = Logger()

    def __init__(self, context: ChildContext) -> None:
        assert context.link is not None
        self.context = context
        self.reactor = context.reactor
        self.config: Listener = context.config.listen[context.listener]
        self.limits = context.config.limits
        self.sessions = RemoteSessions(context.link)
        self.approvals = RemoteApprovals(context.link)
        self.vault = RemoteVault(context.link)
        self.break_glass = RemoteBreakGlass(context.link)
        self.ssh = RemoteSshCredentials(context.link)
        self.lobby = RemoteLobby(context.link)
        self.login_links = RemoteLoginLinks(context.link)
        self.login_providers = tuple(name for name, each in context.config.identity.oidc.items() if each.login_client)
        self.policy: Any = None
        self.masker: Any = None
        self.asks_certificates = bool(context.config.identity.certificates)
        self.tls = server_tls(self.config, self.asks_certificates)
        self.discovery = discovery(self.config, context.config.identity)
        self._log = JsonLog(context.config.paths.log)
        self._open: set[Any] = set()
        self._openings: tuple[Opening, ...] = ()
        self._first_policy: Deferred[None] = Deferred()
        self._serving: Any = None
        self._plugin: Any = None

    # -- IRole -------------------------------------------------------------------------------------------------

    def start(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        await self._first_policy
        self._plugin = PLUGINS[self.context.listener]()
        factory = self._plugin.factory(self)
        self._serving = self.context.serve(self.context.listener, factory, self.config.max_connections)

    def drain(self, limit: float | None) -> Deferred[None]:
        return Deferred.fromCoroutine(self._drain(limit))

    async def _drain(self, limit: float | None) -> None:
        began = self.reactor.seconds()
        while self._open:
            if limit is not None and self.reactor.seconds() - began >= limit:
                for session in list(self._open):
                    session.end("the gateway is stopping")
                break
            await deferLater(self.reactor, LOOK)

    def stop(self) -> Deferred[None]:
        for session in list(self._open):
            session.end("the gateway is stopping")
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        # ended sessions tell the broker: give those words their way out
        for _ in range(20):
            if not self._open:
                break
            await deferLater(self.reactor, LOOK)
        if self._plugin is not None and hasattr(self._plugin, "stop"):
            stopped = self._plugin.stop()
            if isinstance(stopped, Deferred):
                await stopped

    # -- IWorkerRole -------------------------------------------------------------------------------------------

    def live_sessions(self) -> list[tuple[str, Secret]]:
        return [each.identified for each in self._open if each.session is not None]

    def cancel(self, session: str) -> None:
        for each in self._named(session):
            each.cancel()

    def ask_ahead(self, token: Secret, target: str, database: str, text: bytes, reason: str) -> Deferred[Any]:
        if self._plugin is None or not hasattr(self._plugin, "ask_ahead"):
            raise Denied(
                "statements are not asked for ahead there",
                hint="Ask for a time (hoopctl request window), or run it and wait.",
            )
        answer: Deferred[Any] = self._plugin.ask_ahead(token, target, database, text, reason)
        return answer

    def end(self, session: str, why: str) -> None:
        for each in self._named(session):
            each.end(why)

    def _named(self, session: str) -> list[Any]:
        return [each for each in self._open if each.session == session]

    def take_policy(self, document: bytes) -> None:
        """A snapshot arrived; one that cannot be read leaves the old one in force."""
        snapshot = PolicySnapshot.from_document(document)
        self.masker = Redactors(snapshot.mask_key)
        self.policy = snapshot
        if not self._first_policy.called:
            self._first_policy.callback(None)

    def take_openings(self, openings: list[Opening]) -> None:
        """What break glass is in use now; sessions are told."""
        self._openings = tuple(openings)
        for each in list(self._open):
            if hasattr(each, "broken"):
                each.broken()

    # -- IWorker -----------------------------------------------------------------------------------------------

    def recorder(self, admission: Admission) -> IRecorder:
        recorder: IRecorder = FileRecorder(admission.recording, admission.session)
        return recorder

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        self._log.event(name, fields)

    def opening(self, identity: Identity, target: str, now: float) -> Opening | None:
        mine = [each for each in self._openings if (each.identity, each.target) == (identity.name, target)]
        good = [each for each in mine if now < each.until and each.scopes in (None, identity.scopes)]
        # of two the one that lasts
        return max(good, key=lambda each: each.until, default=None)

    def available(self) -> str:
        away = self.context.link.away_since if self.context.link is not None else None
        if away is None:
            return ""
        gone = self.reactor.seconds() - away
        if gone < self.context.config.processes.broker_grace:
            return ""
        return f"the gateway's broker has been away for {gone:.0f} s; no operation runs without it"

    def opened(self, session: Any) -> None:
        self._open.add(session)
        self._serving.opened()

    def closed(self, session: Any) -> None:
        if session in self._open:
            self._open.discard(session)
            self._serving.closed()


def discovery(config: Listener, identity: IdentityConfig) -> Discovery | None:
    """What a client without a token is told, where the listener takes OAUTHBEARER."""
    provider = identity.oidc.get(config.oauth_provider)
    return None if provider is None else Discovery(provider.issuer, config.oauth_scope)


def server_tls(config: Listener, ask: bool = False) -> Any:
    """TLS for the client leg: 1.2 at least (RFC 8996), ALPN C{postgresql} for direct TLS; None without certificate.

    @param ask: ask clients for certificates. Any is taken in the handshake, none is needed: libpq sends what it finds in
        ~/.postgresql unasked, and whether one counts is the broker's to say.
    """
    if not config.certificate:
        return None
    with open(config.certificate, "rb") as file:
        chain = file.read()
    with open(config.key, "rb") as file:
        key = ssl.KeyPair.load(file.read(), SSL.FILETYPE_PEM)
    first, *rest = _certificates(chain)
    options = ssl.CertificateOptions(
        privateKey=key.original,
        certificate=first.original,
        extraCertChain=[each.original for each in rest],
        raiseMinimumTo=ssl.TLSVersion.TLSv1_2,
        acceptableProtocols=[b"postgresql"],
    )
    if ask:
        tls = options.getContext()
        tls.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE, lambda *_: True)
        # a resumed session would carry its certificate over without the key being shown again
        tls.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        tls.set_options(SSL.OP_NO_TICKET)
    return options


def _certificates(chain: bytes) -> list[Any]:
    end = b"-----END CERTIFICATE-----"
    parts = [part + end for part in chain.split(end)[:-1]]
    return [ssl.Certificate.loadPEM(part) for part in parts]


def start(context: ChildContext) -> Worker:
    return Worker(context)
