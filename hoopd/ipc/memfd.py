"""Sealed memory files: bytes that one process gives another, and that nobody can change afterwards.

memfd_create(2) and fcntl(2) F_ADD_SEALS. Used for what does not fit an AMP value, for a child's configuration
and for the supervisor's state over a re-exec.
"""

from __future__ import annotations

import fcntl
import os

from hoopd.ipc.wire import WireError

#: a statement and its parameters are at most 16 MiB each (listen.*.max_message), a third more in base64; a
#: catalogue or policy snapshot is far smaller. More than this is nobody's honest value.
PAYLOAD_MAX = 64 * 1024 * 1024

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def write(name: str, content: bytes) -> int:
    """@param name: shown in /proc only.

    @return: a new descriptor (close-on-exec) of a sealed file that holds C{content}.
    """
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read(fd: int, limit: int = PAYLOAD_MAX) -> bytes:
    """Read all of a sealed file; C{fd} stays open.

    Only memory files have seals, so that whoever passes a pipe or a device, on which a read would hang, is refused.

    @raise WireError: not sealed, or larger than C{limit}.
    """
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        raise WireError("the descriptor is no memory file") from None
    if seals & _SEALS != _SEALS:
        raise WireError("the memory file is not sealed")
    size = os.fstat(fd).st_size
    if size > limit:
        raise WireError(f"the memory file is larger than {limit} bytes")
    parts = []
    offset = 0
    while offset < size:
        part = os.pread(fd, size - offset, offset)
        if not part:
            raise WireError("the memory file ended early")
        parts.append(part)
        offset += len(part)
    return b"".join(parts)
