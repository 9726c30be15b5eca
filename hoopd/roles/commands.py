"""Commands between the supervisor and its children, on the control socketpair.

The supervisor acts on no value that a child chooses, but for the phase it reports and (broker only) the wish to
reload. L{hoopd.ipc.commands} has what children say to each other.
"""

from __future__ import annotations

from attrs import frozen
from twisted.protocols import amp

from hoopd.ipc.arguments import Given, Value
from hoopd.ipc.commands import Call


class Alive(Call):
    """A child's sign of life."""

    commandName = b"alive/1"
    requiresAnswer = False


class Report(Call):
    """A child's phase: C{starting}, C{ready}, C{draining}. Sent when it changes, and first on each new end."""

    commandName = b"report/1"
    arguments = ((b"phase", amp.Unicode()),)
    requiresAnswer = False


class Reload(Call):
    """The broker asks for a reload, for the administrator C{by}, behind whom is the person C{author}. Answered when the
    new configuration has been checked: C{problems} is empty when it is good and the reload begins."""

    commandName = b"reload/2"
    arguments = ((b"by", amp.Unicode()), (b"author", amp.Unicode()))
    response = ((b"problems", Value(list[str])),)
    deadline = 120.0


@frozen
class ProcessState:
    """One process of the family, as the supervisor sees it.

    @ivar user: the system user it changed to; empty where that is the supervisor's own.
    @ivar started: seconds since the epoch.
    @ivar restarts: how often its place was filled again since this generation began.
    @ivar heard: seconds since its last sign of life; None before its first, and for the supervisor.
    """

    role: str
    name: str
    pid: int
    user: str
    generation: int
    phase: str
    started: float
    restarts: int = 0
    heard: float | None = None


class Processes(Call):
    """The broker asks who there is, for an administrator."""

    commandName = b"processes/1"
    response = ((b"processes", Value(list[ProcessState])),)
    deadline = 5.0


class Attach(Call):
    """Here is an end to another process. To the broker: who is at the other one. To everybody else: the broker."""

    commandName = b"attach/1"
    arguments = (
        (b"end", Given()),
        (b"role", amp.Unicode()),
        (b"name", amp.Unicode()),
        (b"pid", amp.Integer()),
    )


class Renew(Call):
    """Use this end instead of this one from now on: the supervisor is about to re-execute itself."""

    commandName = b"renew/1"
    arguments = ((b"end", Given()),)


class Drain(Call):
    """Accept nothing more, let sessions end by themselves, then end. C{limit} below 0 is without limit."""

    commandName = b"drain/1"
    arguments = ((b"limit", amp.Float()),)


class Stop(Call):
    """End in order, now."""

    commandName = b"stop/1"
