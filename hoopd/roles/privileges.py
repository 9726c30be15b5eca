"""What a child gives up before it reads anybody's bytes: core dumps, capabilities, its user; Linux only.

prctl(2), capset(2), setresuid(2). In production the supervisor is user hoopd with ambient CAP_SETUID and
CAP_SETGID; a change of user between two ordinary users keeps capabilities, so they are dropped by name.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from collections.abc import Mapping

_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAP_SETUID = 7
_CLOSE_RANGE_CLOEXEC = 4
_CAPABILITY_VERSION_3 = 0x20080522

DESCRIPTORS_MAX = 65536

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *arguments: int) -> None:
    padded = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc.prctl(option, *padded) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def may_change_user() -> bool:
    """Whether this process may become another user: root, or CAP_SETUID effective (/proc/self/status)."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> _CAP_SETUID & 1)
    return os.geteuid() == 0


def user_of(role: str, name: str, users: Mapping[str, str]) -> str | None:
    """@return: the configured system user: of C{worker/postgres}, else of C{worker}; None if there is none."""
    kind = "/".join(name.split("/")[:2])
    return users.get(kind) or users.get(role)


def own_user() -> str:
    """@return: whom this process runs as: a name, or the number of a user without one."""
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def user_to_be(role: str, name: str, users: Mapping[str, str]) -> str:
    """@return: whom a child of this process will run as: the configured user only where we may change to it."""
    return (user_of(role, name, users) if may_change_user() else None) or own_user()


def become(user: str) -> None:
    """Change to C{user} and its groups for good.

    @raise KeyError: no such user. @raise OSError: not permitted.
    """
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    os.environ["HOME"] = entry.pw_dir
    os.environ["USER"] = os.environ["LOGNAME"] = user


def drop_capabilities() -> None:
    """Give up every capability, and the means to get any back."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    if os.geteuid() != 0:
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
        nothing = (ctypes.c_uint32 * 6)()
        if _libc.capset(header, nothing) != 0:
            code = ctypes.get_errno()
            raise OSError(code, f"capset: {os.strerror(code)}")
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def harden() -> None:
    """No core dumps, no debugger of the same user, files for nobody else, as many descriptors as are allowed."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # a session takes three descriptors (client, target, recording), 1,000 sessions more than the usual 1,024; and
    # not all that a container may allow (a thousand million), because some libraries count up to the limit
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    # after any change of user: that resets it
    _prctl(_PR_SET_DUMPABLE, 0)


def keep_descriptors() -> None:
    """Make every descriptor but the standard three close-on-exec, also those that whoever started us left open.

    close_range(2): Linux 5.11 and glibc 2.34.
    """
    if _libc.close_range(ctypes.c_uint(3), ctypes.c_uint(0xFFFFFFFF), ctypes.c_int(_CLOSE_RANGE_CLOEXEC)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"close_range: {os.strerror(code)}")


def set_name(name: str) -> None:
    """What C{ps} and C{top} show, cut to 15 bytes by the kernel."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _prctl(_PR_SET_NAME, ctypes.addressof(buffer))
