"""Every checkpoint that an https witness has, fetched for an auditor who asks no gateway; not what they prove.

GET below the witness's URL (docs/record.md, section 5), one connection for all of them, no redirection.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from hoopd.audit.witness_places import NOTE_MAX, REQUEST_MAX, allowed
from hoopd.audit.witnesses import file_name


def fetch(url: str, origins: Iterable[str]) -> dict[str, str]:
    """
    @param origins: names of the logs.
    @return: notes by file name, as L{hoopd.audit.verify.verify} takes them.
    @raise OSError: the witness does not answer, or not as one. @raise ConfigError: the URL is not https.
    """
    allowed(url)
    parts = urlsplit(url)
    if parts.hostname is None:
        raise OSError("there is no host in it")
    connection = (
        HTTPSConnection(parts.hostname, parts.port, timeout=REQUEST_MAX, context=ssl.create_default_context())
        if parts.scheme == "https"
        else HTTPConnection(parts.hostname, parts.port, timeout=REQUEST_MAX)
    )
    held: dict[str, str] = {}
    try:
        for origin in dict.fromkeys(origins):
            number = 1
            while (note := _get(connection, f"{parts.path.rstrip('/')}/{file_name(origin, number)}")) is not None:
                held[file_name(origin, number)] = note
                number += 1
    except HTTPException as error:
        raise OSError(str(error) or type(error).__name__) from error
    finally:
        connection.close()
    return held


def _get(connection: HTTPConnection, path: str) -> str | None:
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read(NOTE_MAX + 1)
    if answer.status == 404 and len(content) <= NOTE_MAX:
        return None
    if answer.status != 200 or len(content) > NOTE_MAX:
        raise OSError(f"it answered {answer.status} with {len(content)} bytes for {path}")
    # what is no text is no checkpoint, and will be found not to be
    return content.decode("utf-8", "replace")
