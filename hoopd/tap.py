"""C{twistd hoopd}: options, and the supervisor as a service. The only place that knows twistd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from hoopd.errors import ConfigError, HoopdError
from hoopd.ipc import wire
from hoopd.roles import reexec
from hoopd.roles.launch import environment
from hoopd.roles.settings import Settings, read
from hoopd.roles.supervisor import Program, Supervisor, production, settle


class Options(usage.Options):
    synopsis = "[--config DIRECTORY]"
    longdesc = "Access gateway between identities and infrastructure."
    optParameters = [  # noqa: RUF012 - the name and form are twisted.python.usage's
        ["config", "c", "/etc/hoopd", "directory of hoopd.toml, targets.d and policies.d"],
    ]

    def postOptions(self) -> None:
        self["config"] = os.path.abspath(self["config"])


def program(options: Any, tail: list[str]) -> Program:
    """What to run, given twistd's own options (the parent of ours) and the rest of its command line.

    @raise usage.UsageError: twistd was told something that a re-exec could not keep.
    """
    twistd = options or {}
    if twistd.get("chroot"):
        raise usage.UsageError("--chroot would not survive a reload: use the service's own sandbox")
    directory = os.getcwd()  # twistd has not gone to its rundir yet
    script = os.path.abspath(sys.argv[0])
    base = reexec.interpreter_argv(script, sys.orig_argv)
    pidfile = twistd.get("pidfile") or ""
    log = reexec.log_path(twistd, directory)
    return production(
        reexec.twistd_argv(base, twistd, directory, tail),
        pidfile=os.path.join(directory, pidfile) if pidfile else "",
        # not the same file: twistd writes where it believes the end to be, over what others have written
        log=f"{log}.children" if log else "",
        syslog=(twistd.get("prefix") or "twisted") if twistd.get("syslog") else "",
    )


def check(what: Program, directory: str, settings: Settings) -> Settings:
    """Load everything that the family will, policies and their tests too, in a process of its own.

    @return: what was checked.
    @raise ConfigError: what is wrong.
    """
    # that an address is free is seen when it is bound: workers of a gateway that was killed may still let go of it
    bound = [text for one in settings.config.listen.values() for text in (one.address, str(one.port))]
    done = subprocess.run(
        [*what.check, directory, *bound], stdin=subprocess.DEVNULL, capture_output=True, env=environment(), check=False
    )
    if done.returncode:
        raise ConfigError((done.stdout + done.stderr).decode("utf-8", "replace").strip())
    checked: Settings = wire.decode(done.stdout, Settings)
    return checked


def makeService(options: Options) -> IService:
    """@return: the L{Supervisor}. A wrong configuration ends the process with the reasons."""
    from twisted.internet import reactor

    # a reload that is asked for before we can take it must not end us
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        before = reexec.resumed(os.environ)
        settings = settle(options["config"], read, before)
        what = program(getattr(options, "parent", None), ["hoopd", "--config", options["config"]])
        if before is None:  # a reload has been checked by the life before
            settings = check(what, options["config"], settings)
    except HoopdError as problem:
        sys.exit("\n".join(f"hoopd: {line}" for line in str(problem).splitlines()))
    return Supervisor(reactor, options["config"], settings, what, before)
