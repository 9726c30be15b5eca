"""What a child gives up, seen from a process that did."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys

import pytest

from hoopd.roles.privileges import DESCRIPTORS_MAX, may_change_user, own_user, user_of, user_to_be

REPORT = """
import json, os, resource
from hoopd.roles import privileges
{before}
privileges.drop_capabilities()
privileges.harden()
privileges.set_name("hoopd:postgres/1")
status = dict(line.rstrip("\\n").split(":\\t", 1) for line in open("/proc/self/status"))
import ctypes
print(json.dumps({{
    "uid": os.getresuid(), "gid": os.getresgid(), "groups": os.getgroups(),
    "caps": [int(status[name], 16) for name in ("CapEff", "CapPrm", "CapAmb", "CapInh")],
    "nnp": status["NoNewPrivs"], "name": status["Name"],
    "core": resource.getrlimit(resource.RLIMIT_CORE), "umask": os.umask(0o077),
    "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
}}))
"""


#: an ordinary user with CAP_SETUID and CAP_SETGID, as systemd's AmbientCapabilities make one: by PR_SET_KEEPCAPS
AS_IN_PRODUCTION = (
    "privileges._prctl(8, 1); privileges.become('nobody'); "
    "header = (privileges.ctypes.c_uint32 * 2)(privileges._CAPABILITY_VERSION_3, 0); "
    "some = (privileges.ctypes.c_uint32 * 6)(0xC0, 0xC0, 0xC0, 0, 0, 0); "
    "assert privileges._libc.capset(header, some) == 0; "
    "privileges._prctl(47, 2, 6); privileges._prctl(47, 2, 7); "
    "assert privileges.may_change_user()"
)


def report(before: str = "") -> dict[str, object]:
    import json

    done = subprocess.run(
        [sys.executable, "-c", REPORT.format(before=before)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_no_dumps_no_new_privileges() -> None:
    found = report()
    assert found["core"] == [0, 0]
    assert found["dumpable"] == 0
    assert found["nnp"] == "1"
    assert found["umask"] == 0o077
    assert found["name"] == "hoopd:postgres/"
    soft, hard = found["nofile"]  # type: ignore[misc]
    assert soft == min(hard, DESCRIPTORS_MAX)


def test_another_user_without_capabilities() -> None:
    assert may_change_user() == (os.geteuid() == 0)
    if os.geteuid() != 0:
        # an ordinary user cannot: the refusal is what there is to show
        with pytest.raises(AssertionError, match="PermissionError"):
            report("privileges.become('nobody')")
        return
    nobody = pwd.getpwnam("nobody")
    found = report("privileges.become('nobody')")
    assert found["uid"] == [nobody.pw_uid] * 3
    assert found["gid"] == [nobody.pw_gid] * 3
    assert 0 not in found["groups"]  # type: ignore[operator]
    assert found["caps"] == [0, 0, 0, 0]


def test_capabilities_kept_over_a_change_between_ordinary_users_are_dropped() -> None:
    """As in production: ambient CAP_SETUID of user hoopd survives setresuid, and must not survive the child's start."""
    if os.geteuid() != 0:
        found = report()
        assert found["caps"] == [0, 0, 0, 0]
        return
    found = report(AS_IN_PRODUCTION)
    assert found["caps"] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("role", "name", "expected"),
    [
        ("worker", "worker/postgres/2", "hoopd-postgres"),
        ("worker", "worker/ssh/1", "hoopd-worker"),
        ("broker", "broker", None),
    ],
)
def test_users_by_role_or_by_protocol(role: str, name: str, expected: str | None) -> None:
    users = {"worker": "hoopd-worker", "worker/postgres": "hoopd-postgres"}
    assert user_of(role, name, users) == expected
    # who may not change to another user says so, and names itself
    assert user_to_be(role, name, users) == (expected if expected and may_change_user() else own_user())


KILL = """
import os, sys, time
from hoopd.roles import privileges
from hoopd.roles.member import Member
{before}
child = os.fork()
if not child:
    if {change}:
        privileges.become("daemon")
    privileges.drop_capabilities()
    privileges.harden()
    os.write({ready}, b"x")
    time.sleep(60)
    os._exit(0)
os.read({there}, 1)
member = Member("worker", "worker/x/1", 1, child, 0.0, "x", "daemon" if {change} else "")
if {change}:
    try:
        os.kill(child, 9)
    except PermissionError:
        print("not as itself")
member.kill()
print(os.waitpid(child, 0)[1], os.geteuid() == os.getuid())
"""


def test_the_supervisor_ends_children_that_became_another_user() -> None:
    there, ready = os.pipe()
    root = os.geteuid() == 0  # an ordinary user's children stay its own
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            KILL.format(before=AS_IN_PRODUCTION if root else "", change=root, ready=ready, there=there),
        ],
        pass_fds=(there, ready),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    os.close(there)
    os.close(ready)
    expected = "not as itself\n9 True\n" if root else "9 True\n"
    assert done.stdout == expected, done.stderr
