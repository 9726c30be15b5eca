"""How a child is started: the interpreter again, with exactly the descriptors it needs; not when (L{family}).

posix_spawn(3), never fork: the supervisor has a reactor running. Everything is made close-on-exec first, so a child
has the descriptors below and no other.
"""

from __future__ import annotations

import fcntl
import os
import signal
import site
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

import hoopd
from hoopd.config.schema import Config
from hoopd.governance.papers import Papers
from hoopd.ipc import memfd, wire
from hoopd.roles.privileges import keep_descriptors

#: numbers of descriptors in a child
CONTROL, LAUNCH, TABLE, LISTENER = 3, 4, 5, 6


@frozen
class Rules:
    """Of L{hoopd.roles.settings.Settings} what the broker alone is given."""

    policies: Mapping[str, str] = field(factory=dict, repr=False)
    papers: Papers = field(factory=Papers, repr=False)
    by: str = ""
    author: str = ""


@frozen
class Launch:
    """What a child is told at its start; travels as a sealed memory file.

    @ivar rules: the broker's only.
    @ivar slot: a worker's place in the table of shares.
    @ivar heartbeat: seconds between signs of life.
    @ivar syslog: prefix of syslog messages, where the supervisor logs there; else empty.
    """

    role: str
    name: str
    generation: int
    config: Config = field(repr=False)
    rules: Rules = field(factory=Rules, repr=False)
    listener: str = ""
    slot: int = 0
    heartbeat: float = 2.0
    syslog: str = ""


def read_launch(fd: int) -> Launch:
    """@raise hoopd.ipc.wire.WireError: not what a supervisor wrote."""
    launch: Launch = wire.decode(memfd.read(fd), Launch)
    return launch


def environment() -> dict[str, str]:
    """@return: the environment of a child: ours, without what is the supervisor's alone, importing what we import."""
    child = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_PID")}
    root = os.path.dirname(os.path.dirname(os.path.abspath(hoopd.__file__)))
    if root not in site.getsitepackages():
        # from a checkout; installed, the interpreter finds it by itself
        child["PYTHONPATH"] = os.pathsep.join(part for part in (root, child.get("PYTHONPATH", "")) if part)
    # the working directory is no place to import from
    child["PYTHONSAFEPATH"] = "1"
    return child


def run(argv: Sequence[str], descriptors: Sequence[tuple[int | None, int]]) -> int:
    """Start a process with exactly these descriptors, /dev/null as its standard input, and no signal changed.

    @param argv: first the absolute path of the program.
    @param descriptors: (ours, its number there); ours None is skipped. All stay open here.
    @return: its process id.
    @raise OSError: the system has no process or memory left.
    """
    keep_descriptors()
    opened: list[int] = []
    actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)]
    try:
        for source, number in descriptors:
            if source is not None:
                # from above all the numbers given, so that no step overwrites what a later one needs
                high = fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, 64)
                opened.append(high)
                actions.append((os.POSIX_SPAWN_DUP2, high, number))
        return os.posix_spawn(
            argv[0],
            list(argv),
            environment(),
            file_actions=actions,
            # a process group of its own: Ctrl-C and the terminal's hang-up are for the supervisor, which speaks
            # for the family
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD),
        )
    finally:
        for fd in opened:
            os.close(fd)


def spawn(
    program: Sequence[str],
    launch: Launch,
    control: int,
    table: int | None = None,
    listener: int | None = None,
    output: int | None = None,
) -> int:
    """Start a child.

    @param program: argument vector up to the role, first its absolute path.
    @param control: the child's end of its control socketpair.
    @param output: descriptor for its standard output and error; None: ours.
    @return: its process id.
    @raise OSError: the system has no process or memory left.
    """
    snapshot = memfd.write("hoopd-launch", wire.encode(launch))
    try:
        return run(
            [*program, launch.role, launch.name],
            [(control, CONTROL), (snapshot, LAUNCH), (table, TABLE), (listener, LISTENER), (output, 1), (output, 2)],
        )
    finally:
        os.close(snapshot)
