"""C{python -I -S confined.py PARENT MEMORY SECONDS PROGRAM ARGUMENT…}: becomes the program, in a session and within limits.

Started by L{hoopd.notices.programs}; imports nothing of hoopd, so that it starts within a few hundredths of a second.
"""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    parent, memory, seconds = map(int, sys.argv[1:4])
    # whoever would end it in time may be killed itself; prctl(2), kept across execve
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    # a session of its own: whatever it starts can be ended with it
    os.setsid()
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 256),
    ):
        resource.setrlimit(what, (most, most))
    os.execv(sys.argv[4], sys.argv[4:])  # noqa: S606 no shell is the point
