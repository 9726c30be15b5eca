"""Which addresses of a provider are asked, or shown to people; pure."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def acceptable(url: str, allow_http: bool) -> bool:
    """@return: whether C{url} may be fetched: https, or with C{allow_http} http to this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or not url.isascii() or not url.isprintable() or " " in url:
        return False
    if parts.scheme == "https":
        return True
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return parts.scheme == "http" and allow_http and local
