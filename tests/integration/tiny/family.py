"""C{python -m tests.integration.tiny.family DIRECTORY}: the supervisor without twistd."""

from __future__ import annotations

import os
import sys

from twisted.internet import reactor
from twisted.python import log

from hoopd.roles import reexec
from hoopd.roles.supervisor import Program, Supervisor, settle
from tests.integration.tiny.settings import read


def make(directory: str, again: list[str], pidfile: str = "", logfile: str = "") -> Supervisor:
    before = reexec.resumed(os.environ)
    module = [sys.executable, "-m", "tests.integration.tiny"]
    program = Program(
        child=[*module[:2], f"{module[2]}.child"],
        check=[*module[:2], f"{module[2]}.check"],
        again=again,
        pidfile=pidfile,
        log=logfile,
    )
    return Supervisor(reactor, directory, settle(directory, read, before), program, before)


if __name__ == "__main__":
    log.startLogging(sys.stdout, setStdout=False)
    service = make(sys.argv[1], [sys.executable, "-m", "tests.integration.tiny.family", sys.argv[1]])
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
