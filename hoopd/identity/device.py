"""The answers of a provider's device authorization grant, read; pure. Not the asking (L{hoopd.identity.device_requests}).

RFC 8628 sections 3.2 and 3.5. Whatever a provider says goes to somebody's terminal or decides how often it is asked, so it
is bounded here: a link that is https and a URI's own characters, a code of letters and digits, seconds within reason.
Whatever is otherwise is refused, not mended.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hoopd.identity.jwt import strict_json
from hoopd.identity.urls import acceptable
from hoopd.identity.values import DeviceAnswer, DeviceRequest
from hoopd.secret import Secret

GRANT = "urn:ietf:params:oauth:grant-type:device_code"

#: seconds where the provider names none (RFC 8628 section 3.2)
INTERVAL = 5.0
#: the range that a provider may ask for: oftener than each second is a mistake, and seldomer no login
MIN_INTERVAL, MAX_INTERVAL = 1.0, 60.0
#: what a code lives at most here: nobody waits longer, and what is forgotten is over
MAX_LIFE = 1800.0
#: providers have 32 to 200 characters; it travels in one form
MAX_DEVICE_CODE = 4096
#: a terminal's line, and what of an instruction OpenSSH shows is 1,023 bytes
MAX_LINK = 256
#: seconds: what is more is no time to wait, and perhaps no float
_YEAR = 366 * 86400
#: as large as a token that is pasted may be
MAX_TOKEN = 16 * 1024

#: people read it from one screen and type it into another: at most a few groups of letters and digits
_USER_CODE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,30}[A-Za-z0-9])?")
#: the characters of a URI (RFC 3986 section 2), without the quotes that terminals and chats end a link at
_LINK = re.compile(r"[A-Za-z0-9._~:/?#@!$&()*+,;=%\[\]-]+")
#: an error of RFC 6749 section 5.2
_ERROR = re.compile(r"[a-z_]{1,40}")


def _text(found: Mapping[str, Any], name: str, most: int) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isascii() or not value.isprintable():
        raise ValueError(f"its {name} cannot be used")
    return value


def _seconds(found: Mapping[str, Any], name: str, default: float | None) -> float:
    value = found.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _YEAR:
        raise ValueError(f"its {name} is no number of seconds")
    return float(value)


def link_problem(link: str, allow_http: bool) -> str:
    """@return: why C{link} is not shown to people, or C{""}."""
    if len(link) > MAX_LINK or not _LINK.fullmatch(link):
        return "no link that a terminal may show"
    return "" if acceptable(link, allow_http) else "not an https link"


def code_problem(code: str) -> str:
    """@return: why C{code} is not shown to people, or C{""}."""
    return "" if _USER_CODE.fullmatch(code) else "no code of letters and digits"


def read_request(body: bytes, allow_http: bool) -> DeviceRequest:
    """
    @param body: the answer to a device authorization request, status 200.
    @raise ValueError: it cannot be used; the text quotes nothing of it.
    """
    found = strict_json(body)
    # Google's came before the RFC
    name = "verification_uri" if "verification_uri" in found else "verification_url"
    link, code = _text(found, name, MAX_LINK), _text(found, "user_code", 32)
    for problem in (link_problem(link, allow_http), code_problem(code)):
        if problem:
            raise ValueError(f"what it would have shown to people is {problem}")
    lives = min(_seconds(found, "expires_in", None), MAX_LIFE)
    interval = _seconds(found, "interval", INTERVAL)
    if not lives or interval > MAX_INTERVAL:
        raise ValueError("its expires_in or interval leaves no time to log in")
    device_code = Secret(_text(found, "device_code", MAX_DEVICE_CODE))
    return DeviceRequest(device_code, code, link, lives, max(interval, MIN_INTERVAL))


def error_of(body: bytes) -> str:
    """@return: the C{error} of an OAuth answer (RFC 6749 section 5.2), or words for there being none; plain."""
    try:
        error = strict_json(body).get("error")
    except ValueError:
        error = None
    return error if isinstance(error, str) and _ERROR.fullmatch(error) else "an answer that is none of OAuth"


_STATES: Mapping[str, Any] = {
    "authorization_pending": "pending",
    "slow_down": "slow_down",
    "access_denied": "denied",
    "expired_token": "expired",
}


def read_answer(status: int, body: bytes, wanted: str) -> DeviceAnswer:
    """
    @param status: 200, or one that comes with an OAuth error.
    @param wanted: C{"id_token"} or C{"access_token"}.
    """
    if status != 200:
        error = error_of(body)
        state = _STATES.get(error, "failed")
        return DeviceAnswer(state, Secret(b""), error if state == "failed" else "")
    try:
        token = _text(strict_json(body), wanted, MAX_TOKEN)
    except ValueError:
        return DeviceAnswer("failed", Secret(b""), f"no {wanted.replace('_', ' ')} came")
    return DeviceAnswer("granted", Secret(token))
