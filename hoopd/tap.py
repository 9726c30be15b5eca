"""C{twistd hoopd}: options, and the supervisor as a service. The only place that knows twistd."""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from hoopd.errors import HoopdError
from hoopd.roles import reexec
from hoopd.roles.settings import read
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


def makeService(options: Options) -> IService:
    """@return: the L{Supervisor}. A wrong configuration ends the process with the reasons."""
    from twisted.internet import reactor

    try:
        before = reexec.resumed(os.environ)
        settings = settle(options["config"], read, before)
        problems = settings.problems() if before is None else []
    except HoopdError as problem:
        sys.exit(f"hoopd: {problem}")
    if problems:
        sys.exit("\n".join(f"hoopd: {problem}" for problem in problems))
    parent = getattr(options, "parent", None)
    what = program(parent, ["hoopd", "--config", options["config"]])
    return Supervisor(reactor, options["config"], settings, what, before)
