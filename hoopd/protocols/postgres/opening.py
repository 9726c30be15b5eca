"""What a session needs before it begins: admission, recording, catalogue, target; and the giving back of all of it.

Asks the broker's services in the order of the route: admit, authorise, inject. Not the client's wire
(L{hoopd.protocols.postgres.adapter}) nor the session itself (L{hoopd.protocols.postgres.relay}).
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.logger import Logger
from twisted.python.failure import Failure

from hoopd.errors import Denied, HoopdError, PeerError, Unavailable
from hoopd.flow.route import Route
from hoopd.protocols.postgres.catalogue_reader import SharedCatalogue
from hoopd.protocols.postgres.startup import Login
from hoopd.protocols.postgres.target import TargetConnection, connect, settings_for
from hoopd.protocols.postgres.upstream import Ready
from hoopd.sql.catalogue import Catalogue
from hoopd.values import Admission, Proof


class Opening:
    """
    @param factory: L{hoopd.protocols.postgres.plugin.PostgresFactory}
    @ivar admission, route, database, target, ready, catalogue, key: there once L{run} has fired.
    """

    log = Logger()

    def __init__(self, factory: Any, login: Login, user: Any) -> None:
        self.login = login
        self.database = ""
        self.key = b""
        self.admission: Admission | None = None
        self.route: Route | None = None
        self.target: TargetConnection | None = None
        self.ready: Ready | None = None
        self.catalogue: Catalogue | None = None
        self.shared: SharedCatalogue | None = None
        self._factory = factory
        self._user = user
        self._closed = ""

    async def run(self, proof: Proof) -> None:
        """
        @raise AuthenticationFailed, Denied: who it is, or what is named, is not good enough.
        @raise TargetError, Unavailable, RecordError: what is behind us, or of us, is away.
        """
        worker, login = self._factory.worker, self.login
        admitted = await worker.sessions.admit(proof, login.target, "postgres")
        self.admission = admission = evolve(admitted, target=self._factory.known(admitted.target))
        self.route = Route(worker, admission, worker.recorder(admission), worker.config.durability)
        self._still_wanted()
        self.database = self._database(admission)
        self.route.record("state", {"name": "database", "value": self.database})
        if login.application_name:
            shown = "".join(each if each.isprintable() else "?" for each in login.application_name)
            self.route.record("state", {"name": "application_name", "value": shown[:200]})
        self.shared = self._factory.catalogues.of(admission.target, self.database)
        reading = self.shared.join(
            self._user,
            lambda: worker.sessions.catalogue_grant(admission.session, admission.token),
            self._user.catalogue_changed,
        )
        try:
            name = f"hoopd {admission.identity.name} {admission.session}"
            settings = settings_for(admission.target, self.database, name, login.settings)
            self.target, self.ready = await connect(
                worker.reactor, worker.vault, admission.grant, admission.target, settings, self._factory.liveness
            )
        except BaseException:
            reading.addErrback(self._also_failed)
            raise
        self.catalogue = await reading
        self.key = self._cancel_key(self.ready.key)
        await worker.sessions.register_cancel(admission.session, admission.token, self.key)
        if login.break_glass is not None:
            # refused is refused: whoever asks for it at the start must not learn in the middle that it is not there
            try:
                await worker.break_glass.open(admission.session, admission.token, login.break_glass)
            except ValueError as error:
                raise PeerError(f"hoopd.break_glass: {error}") from None
        self._still_wanted()

    def _cancel_key(self, own: bytes | None) -> bytes:
        """A cancel key of ours: the target's process id, which notifications and pg_stat_activity show, and our secret.

        A target that gave none (some poolers do not) has no id either: then 31 random bits, as drivers read it signed.
        """
        random = self._factory.random
        number = own[:4] if own else bytes((random(1)[0] & 0x7F,)) + random(3)
        # the secret of protocol 3.2 may be longer than 4 bytes
        return number + random(32 if self.login.spoken else 4)

    def _also_failed(self, failure: Failure) -> None:
        self.log.debug("catalogue of a session that ended: {why}", why=failure.getErrorMessage())

    def _still_wanted(self) -> None:
        if self._closed:
            # close() came before there was anything to give back
            closed, self._closed = self._closed, ""
            self.close(closed)
            raise Unavailable("the client left before the session began")

    def _database(self, admission: Admission) -> str:
        named, databases = self.login.database, admission.target.databases
        if not named:
            return databases[0] if databases else admission.target.username
        if databases and named not in databases:
            raise Denied(f'no database "{named}" is open at {admission.target.name}', hint=", ".join(databases))
        return named

    def close(self, why: str) -> None:
        """Give back what there is."""
        self._closed = why
        shared, self.shared = self.shared, None
        if shared is not None:
            shared.leave(self._user)
        target, self.target = self.target, None
        if target is not None:
            target.leave(self._factory.worker.reactor)
        route, self.route = self.route, None
        if route is not None:
            route.close(why)

    def record(self, kind: str, fields: dict[str, Any]) -> None:
        """Write a frame as the session ends; what cannot be written any more is logged."""
        if self.route is not None:
            try:
                self.route.record(kind, fields)
            except HoopdError as error:
                self.log.error("recording: {error}", error=str(error))
