"""What an emergency export says when both officers have opened it: how to reach the target, and with what; pure.

For PostgreSQL it is a connection service file (PostgreSQL 15 manual, 34.17), so that psql takes it as it is.
"""

from __future__ import annotations

import base64
import ipaddress
from datetime import UTC, datetime

from hoopd.display import visible
from hoopd.values import Target

#: libpq reads such files line by line into 1,024 bytes
LINE_MAX = 1000


def contents(
    id: str,
    target: Target,
    credential: str,
    version: int,
    value: bytes,
    officers: tuple[str, str],
    reason: str,
    at: float,
) -> bytes:
    """
    @param value: the secret itself. @param at: epoch seconds.
    @return: the text, in UTF-8 but for C{value}, which is as it is.
    """
    made = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    lines = [
        f"# hoopd emergency export {id}: target {target.name}, made {made} for {' and '.join(officers)}",
        f"# reason: {visible(' '.join(reason.split()))}",
        f"# credential: {credential}, version {version}. Whoever reads this has it: use it, then rotate it.",
        *_use(target),
    ]
    head = "\n".join(lines).encode() + b"\n"
    service = target.protocol == "postgres"
    if service and _fits(value):
        secret = b"password=" + value + b"\n"
    else:
        head += f"# {target.username} at {target.host} port {target.port}; the secret itself, in base64:\n".encode()
        secret = b"#secret " + base64.b64encode(value) + b"\n"
    return head + (_service(target) if service else b"") + secret + _authorities(target)


def _use(target: Target) -> list[str]:
    if target.protocol != "postgres":
        return []
    lines = [f"# use: PGSERVICEFILE=this-file psql service={target.name}"]
    if target.tls.mode != "off":
        lines.append("# its certificate: sed -n 's/^#ca //p' this-file >ca.pem; export PGSSLROOTCERT=ca.pem")
        if target.tls.authorities is None:
            lines[-1] = "# its certificate: export PGSSLROOTCERT=/etc/ssl/certs/ca-certificates.crt"
    return lines


def _fits(value: bytes) -> bool:
    """Whether libpq reads this back from a line as it is."""
    return not set(value) & set(b"\r\n\0") and value == value.rstrip() and len(value) <= LINE_MAX


def _service(target: Target) -> bytes:
    mode, host = target.tls.mode, [f"host={target.host}"]
    if target.tls.server_name and _is_address(target.host):
        # libpq has no other way to check a name that is not the host's
        host = [f"host={target.tls.server_name}", f"hostaddr={target.host}"]
    elif target.tls.server_name and mode == "verify-full":
        host = [f"# its certificate is for {target.tls.server_name}: to check that, add hostaddr=", *host]
        mode = "verify-ca"
    words = [
        f"[{target.name}]",
        *host,
        f"port={target.port}",
        f"user={target.username}",
        f"sslmode={'prefer' if mode == 'off' else mode}",
    ]
    if target.databases:
        words.insert(-2, f"dbname={target.databases[0]}")
    return "\n".join(words).encode() + b"\n"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _authorities(target: Target) -> bytes:
    if target.tls.mode == "off" or target.tls.authorities is None:
        return b""
    return "".join(f"#ca {line}\n" for line in target.tls.authorities.splitlines()).encode()
