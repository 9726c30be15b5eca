"""One question to the gateway: HTTP and JSON over control's unix socket, with a bearer token; and where the token lies.

The token comes from a file or the environment, never from the command line, where everybody on the machine could read it.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from hoopd.ctl.failures import REFUSED, UNREACHABLE, USAGE, Failure
from hoopd.secret import Secret

SOCKET = "/run/hoopd/control.sock"

#: rotating the master key of a large vault takes longest; the gateway itself gives up at 120 s
TIMEOUT = 130.0

#: a recording's page of 1 MiB as base64 is the largest honest answer
ANSWER_MAX = 64 * 1024 * 1024


def token_path(environment: Mapping[str, str]) -> Path:
    """@return: where hoopctl keeps the token of whoever calls it."""
    base = environment.get("XDG_CONFIG_HOME") or os.path.join(environment.get("HOME", "/root"), ".config")
    return Path(base) / "hoopd" / "token"


def read_token(path: Path) -> Secret:
    """@raise Failure: missing, readable for others, or empty."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise Failure(
            "you are not signed in",
            [f"there is no token in {path}, and HOOPD_TOKEN is not set"],
            "hoopctl login    (or, on a new gateway: hoopctl bootstrap)",
        ) from None
    except OSError as problem:
        raise Failure(f"the token cannot be read: {problem.strerror}", [str(path)]) from None
    with open(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise Failure(
                f"the token file is not safe: mode {stat.S_IMODE(mode):04o} lets others read it",
                [str(path), "whoever read it can act as you"],
                f"hoopctl tokens revoke it if others use this machine, then: chmod 600 {path}",
            )
        token = file.read(64 * 1024).strip()
    if not token:
        raise Failure("the token file is empty", [str(path)], "hoopctl login")
    return Secret(token)


def write_token(path: Path, token: Secret) -> None:
    """Keep C{token} in C{path}, mode 0600, replacing an older one at once or not at all. @raise Failure"""
    beside = path.with_name(f".{path.name}.writing")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(token.reveal() + b"\n")
        os.rename(beside, path)
    except OSError as problem:
        raise Failure(f"the token cannot be kept in {path}: {problem.strerror}") from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@frozen
class Gateway:
    """
    @ivar socket: path of control's socket.
    @ivar token_file: where the token is, when C{token} is not given.
    """

    socket: str
    token_file: Path
    token: Secret | None = None

    def call(self, verb: str, token: Secret | None = None, **arguments: Any) -> Any:
        """Ask for C{verb}; arguments that are None are left out.

        @param token: instead of the caller's own.
        @return: the answer's JSON value.
        @raise Failure: refused, away, or something else that a person must be told.
        """
        bearer = token or self.token or read_token(self.token_file)
        if any(byte < 33 or byte > 126 for byte in bearer.reveal()):
            raise Failure("what was given as a token is none: it has spaces or other odd characters", code=USAGE)
        given = {name: value for name, value in arguments.items() if value is not None}
        connection = _UnixConnection(self.socket)
        try:
            connection.request(
                "POST",
                f"/v1/{verb}",
                json.dumps(given).encode(),
                {"Authorization": f"Bearer {bearer.reveal().decode()}", "Content-Type": "application/json"},
            )
            response = connection.getresponse()
            body = response.read(ANSWER_MAX + 1)
            answer = json.loads(body)
        except (OSError, http.client.HTTPException) as problem:
            raise self._unreachable(problem) from None
        except ValueError:
            raise Failure(
                f"the answer to {verb} is not the gateway's", [f"something else listens on {self.socket}"],
                "check --socket", UNREACHABLE,
            ) from None  # fmt: skip
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise refusal(verb, response.status, answer if isinstance(answer, dict) else {})
        return answer

    def _unreachable(self, problem: Exception) -> Failure:
        what = f"the gateway does not answer on {self.socket}"
        if isinstance(problem, FileNotFoundError):
            return Failure(
                what,
                ["there is no such socket: hoopd is not running, or its paths.run is elsewhere"],
                "systemctl status hoopd; or name the socket: --socket PATH, HOOPD_SOCKET",
                UNREACHABLE,
            )
        if isinstance(problem, ConnectionRefusedError):
            why = ["the socket is there, but nobody listens: hoopd was killed, or is starting"]
            return Failure(what, why, "systemctl status hoopd; journalctl -u hoopd -n 50", UNREACHABLE)
        if isinstance(problem, PermissionError):
            return Failure(what, ["this user may not use the socket"], "ask whoever runs the machine", UNREACHABLE)
        if isinstance(problem, TimeoutError):
            why = [f"no answer within {TIMEOUT:.0f} s; what was asked may have been done all the same"]
            return Failure(what, why, "look before you repeat it", UNREACHABLE)
        why = [f"the connection broke: {problem or type(problem).__name__}; what was asked may have been done"]
        return Failure(what, why, "look before you repeat it; journalctl -u hoopd -n 50", UNREACHABLE)


def refusal(verb: str, status: int, answer: Mapping[str, Any]) -> Failure:
    """@return: what to tell about an answer that is an error."""
    why = str(answer.get("why") or f"status {status}")
    kind = answer.get("error")
    if kind == "authentication":
        return Failure(
            "the gateway does not know you",
            [why, "the token is wrong, expired or revoked, or the identity is disabled"],
            "hoopctl login with a fresh token; an administrator issues them",
        )
    if kind == "denied":
        rules = ", ".join(str(rule) for rule in answer.get("rules") or ())
        return Failure(f"refused: {why}", [f"rules: {rules}" if rules else ""], str(answer.get("hint") or ""))
    if kind in ("unavailable", "record"):
        do = "it is usually back within seconds: try again; journalctl -u hoopd -n 50"
        if kind == "record":
            do = "look at the space and the health of the disk under paths.state"
        return Failure(f"the gateway cannot do that now: {why}", [], do, UNREACHABLE)
    if kind == "internal":
        return Failure(f"{verb} failed inside the gateway", [why], "journalctl -u hoopd -n 50, and report it")
    first, *more = str(why).splitlines() or [""]
    return Failure(f"{verb}: {first}", [*more, *str(answer.get("detail") or "").splitlines()], "", REFUSED)
