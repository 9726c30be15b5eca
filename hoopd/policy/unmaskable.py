"""Operations of SSH hosts whose output masks cannot look into: files and forwards are refused under masks, or pass as they are."""

from __future__ import annotations

from posixpath import basename

from hoopd.policy import commands
from hoopd.values import Operation

#: what comes back of these is a file, or another protocol
_WORDS = frozenset({"download", "forward-local", "forward-remote", "forward-x11"})

#: far ends of copies, which speak protocols of their own; C{scp -t} only says that it has taken a file
_FAR_ENDS = frozenset({"git-upload-pack", "git-receive-pack", "git-upload-archive", "git-shell", "sftp-server"})

HINT = 'whoever writes the mask can let files and forwards pass, by transfers = "pass"'


def passes_by(operation: Operation) -> bool:
    """Whether a mask of streams would miss what is in it, or break it."""
    if operation.protocol != "ssh":
        return False
    if not operation.classes.isdisjoint(_WORDS):
        return True
    found = commands.found(operation)
    if found is None:
        return False
    for command in found.commands:
        # wherever it is installed
        program = basename(command.program)
        if program in _FAR_ENDS or (program == "rsync" and "--server" in command.arguments):
            return True
        if program == "scp" and "upload" not in operation.classes:
            return True
    return False


#: what comes back of these goes through masks of streams
_SHOWN = frozenset({"exec", "shell", "subsystem"})


def shows(operation: Operation) -> bool:
    """Whether there is output that masks of streams look into."""
    return not operation.classes.isdisjoint(_SHOWN) and not passes_by(operation)
