"""What a child process is given when it starts; not how it came by it (L{hoopd.roles.child})."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

from hoopd.config.schema import Config
from hoopd.ipc.broker import Peers
from hoopd.ipc.link import Link
from hoopd.roles.commands import ProcessState
from hoopd.roles.launch import Rules
from hoopd.roles.serving import Serving
from hoopd.roles.sharing import Share


@define(eq=False)
class ChildContext:
    """
    @ivar role: C{"broker"}, C{"verifier"}, C{"notifier"}, C{"control"} or C{"worker"}.
    @ivar name: C{"broker"}, or C{"worker/postgres/2"}: unique among the processes of one generation.
    @ivar generation: how many times the supervisor has re-executed itself before this child began.
    @ivar config: the configuration this generation was checked with. Files on disk may be newer: do not read
        hoopd.toml or targets.d again.
    @ivar rules: the text of each file of policies.d by its name, and what comes with them, as it was when this
        generation was checked; only the broker is given them.
    @ivar listeners: name to descriptor of the inherited listeners; use L{serve}.
    @ivar link: worker, control, verifier and notifier: the way to the broker, whichever one lives. None in the broker.
    @ivar peers: the broker's view on everybody attached to it. None elsewhere.
    @ivar reload: broker only: ask the supervisor to reload, for somebody, behind whom is a person; Deferred of None when the new configuration is good
        and the reload begins. Fails with ValueError, whose text is the reasons, a line each, when it is not.
    @ivar processes: broker only: ask the supervisor who there is; Deferred of a list of L{ProcessState}.
    """

    role: str
    name: str
    generation: int
    config: Config
    reactor: Any
    rules: Rules = field(factory=Rules, repr=False)
    listeners: Mapping[str, int] = field(factory=dict)
    link: Link | None = None
    peers: Peers | None = None
    share: Share | None = None
    reload: Callable[[str, str], Deferred[None]] | None = None
    processes: Callable[[], Deferred[list[ProcessState]]] | None = None
    serving: list[Serving] = field(factory=list)

    @property
    def listener(self) -> str:
        """A worker's listener table: C{"postgres"} of C{"worker/postgres/2"}."""
        return self.name.split("/")[1]

    def serve(self, name: str, factory: Any, limit: int | None = None) -> Serving:
        """Accept connections on the inherited listener C{name}, sharing fairly with the other workers.

        @param factory: IProtocolFactory.
        @param limit: while so many connections are open (see L{Serving.opened}) none is accepted.
        @return: the L{Serving}; it is closed by the child itself when the process drains.
        """
        serving = Serving(self.reactor, self.listeners[name], factory, self.share, limit)
        self.serving.append(serving)
        serving.start()
        return serving
