"""C{python -m hoopd.roles.check DIRECTORY}: would this code run with this configuration? Changes nothing.

Before a reload or upgrade the supervisor runs it as a new process, so that it is the new code on disk that reads the
new files. It prints what is wrong, a line each, and exits with 1; or it exits with 0, having printed L{Settings} as JSON:
the family runs with what was checked, and not with what the files may say a moment later.
"""

from __future__ import annotations

import importlib
import sys

from hoopd.errors import HoopdError
from hoopd.ipc import wire
from hoopd.roles import settings
from hoopd.roles.child import ROLES
from hoopd.roles.listeners import unavailable


def check(
    directory: str, present: list[tuple[str, int]], modules: list[str]
) -> tuple[list[str], settings.Settings | None]:
    """@param present: addresses and ports that the running supervisor has bound.

    @return: what is wrong, as text, empty is well; and what was read, None where it cannot be.
    """
    found = []
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as problem:
            found.append(f"{module} cannot be imported: {type(problem).__name__}: {problem}")
    try:
        read = settings.read(directory)
    except HoopdError as problem:
        return [*found, *str(problem).splitlines()], None
    return found + settings.problems(read) + unavailable(read.config.listen, present), read


def main(argv: list[str]) -> int:
    """@param argv: program, directory, then C{ADDRESS PORT} pairs of sockets bound already."""
    directory, *bound = argv[1:]
    present = [(address, int(port)) for address, port in zip(bound[::2], bound[1::2], strict=True)]
    found, read = check(directory, present, [*ROLES.values(), "hoopd.tap", "hoopd.roles.supervisor"])
    for line in found:
        print(line)
    if not found:
        sys.stdout.buffer.write(wire.encode(read))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
