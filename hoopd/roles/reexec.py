"""The supervisor in place of itself: what crosses execve(2), and with which arguments; not when.

The process id stays, and with it the children. Descriptors that must live are made inheritable for the moment; a
sealed memory file says what they are; its number is in the environment variable L{VARIABLE}.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, NoReturn

from attrs import field, frozen

from hoopd.ipc import memfd, wire

VARIABLE = "HOOPD_RESUME"

#: raise when L{State} changes so that the code before or after cannot read it: such an upgrade needs a restart
VERSION = 1

#: a signal that arrives between two lives waits for the second to take it: by default it would end the process
WAITING_SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


@frozen
class MemberState:
    """One child, as the next life must know it."""

    role: str
    name: str
    generation: int
    listener: str
    pid: int
    control: int
    phase: str
    user: str = ""
    started: float = 0.0


@frozen
class ListenerState:
    """One listener."""

    name: str
    address: str
    port: int
    fd: int


@frozen
class State:
    """Everything that crosses."""

    version: int
    pid: int
    generation: int
    members: list[MemberState] = field(factory=list)
    listeners: list[ListenerState] = field(factory=list)
    #: the settings that ran before, as JSON, for the case that the files changed again after they were checked;
    #: read only then, because newer code may know other keys
    settings: bytes = b""
    #: the settings that the next life shall run with, as JSON of its own code's check
    checked: bytes = b""
    #: who asked for it, and the person behind that
    by: str = ""
    author: str = ""


def execute(argv: list[str], state: State, pidfile: str = "") -> NoReturn:
    """Become C{argv}.

    @param argv: first the absolute path of the interpreter.
    @param pidfile: twistd's; it would take us for another server, and writes it again. Empty if there is none.
    @raise OSError: it could not be done; signals and descriptors are as before.
    """
    descriptors = [member.control for member in state.members] + [listener.fd for listener in state.listeners]
    crossing = memfd.write("hoopd-resume", wire.encode(state))
    descriptors.append(crossing)
    signal.pthread_sigmask(signal.SIG_BLOCK, WAITING_SIGNALS)
    try:
        for fd in descriptors:
            os.set_inheritable(fd, True)
        sys.stdout.flush()
        sys.stderr.flush()
        if pidfile and os.path.exists(pidfile):
            os.remove(pidfile)
        # argv is our own command line, taken apart and put together by twistd_argv
        os.execve(argv[0], argv, {**os.environ, VARIABLE: str(crossing)})  # noqa: S606
    except BaseException:
        for fd in descriptors:
            os.set_inheritable(fd, False)
        os.close(crossing)
        if pidfile:
            with open(pidfile, "w", encoding="ascii") as file:
                file.write(str(os.getpid()))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITING_SIGNALS)
        raise


def resumed(environment: MutableMapping[str, str]) -> State | None:
    """Take what a life before this one left, if there was one; every descriptor is close-on-exec again.

    @raise hoopd.ipc.wire.WireError: it is not for this process, or not understood.
    """
    number = environment.pop(VARIABLE, "")
    if not number:
        return None
    if not number.isdigit():
        raise wire.WireError(f"{VARIABLE} is not a descriptor's number")
    try:
        content = memfd.read(int(number))
    finally:
        os.close(int(number))
    state: State = wire.decode(content, State)
    if state.version != VERSION:
        raise wire.WireError(f"the running supervisor left state of version {state.version}, not {VERSION}: restart")
    if state.pid != os.getpid():
        raise wire.WireError(f"{VARIABLE} is of another process")
    for member in state.members:
        os.set_inheritable(member.control, False)
    for listener in state.listeners:
        os.set_inheritable(listener.fd, False)
    return state


def accept_signals() -> None:
    """Let signals that waited arrive; call once there is somebody to take them."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, WAITING_SIGNALS)


def interpreter_argv(script: str, original: list[str]) -> list[str]:
    """@param original: L{sys.orig_argv}.

    @return: the interpreter with the options it was given, and C{script}.
    """
    options: list[str] = []
    for argument in original[1:]:
        if options and options[-1] in ("-W", "-X"):
            options.append(argument)
            continue
        if not argument.startswith("-") or argument in ("-m", "-c", "-"):
            break
        options.append(argument)
    return [sys.executable, *options, script]


def twistd_argv(base: list[str], options: Mapping[str, Any], directory: str, tail: list[str]) -> list[str]:
    """The command that continues a twistd run.

    Never daemonised again: that would fork, and the process id with it. What daemonising had set (working directory,
    log file, umask) is there already, or is said again.

    @param base: interpreter and twistd script, absolute.
    @param options: twistd's own options, as parsed.
    @param directory: the working directory twistd was started in, before it goes to its rundir: it takes the
        names of its log and pidfile relative to that.
    @param tail: the sub-command and its arguments.
    """
    argv = [*base, "--nodaemon", f"--rundir={os.path.join(directory, options.get('rundir') or '.')}"]
    pidfile = options.get("pidfile") or ""
    argv.append(f"--pidfile={os.path.join(directory, pidfile) if pidfile else ''}")
    if options.get("syslog"):
        argv += ["--syslog", f"--prefix={options.get('prefix') or 'twisted'}"]
    elif options.get("logger"):
        argv.append(f"--logger={options['logger']}")
    else:
        logfile = log_path(options, directory)
        if logfile:
            argv.append(f"--logfile={logfile}")
    if options.get("umask") is not None:
        argv.append(f"--umask={options['umask']:o}")
    return [*argv, *tail]


def log_path(options: Mapping[str, Any], directory: str) -> str:
    """@return: absolute path of the file that twistd, started in C{directory}, logs to; empty for standard output,
    syslog or a logger."""
    logfile = options.get("logfile") or ("" if options.get("nodaemon") else "twistd.log")
    if options.get("syslog") or options.get("logger") or logfile in ("", "-"):
        return ""
    return os.path.join(directory, str(logfile))
