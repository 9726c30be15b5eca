"""The check of a new configuration, for this family."""

from __future__ import annotations

import sys

from hoopd.errors import ConfigError
from hoopd.roles.listeners import unavailable
from tests.integration.tiny.settings import read

if __name__ == "__main__":
    directory, *bound = sys.argv[1:]
    try:
        settings = read(directory)
    except ConfigError as problem:
        sys.exit(f"broken: {problem}")
    present = [(address, int(port)) for address, port in zip(bound[::2], bound[1::2], strict=True)]
    if found := unavailable(settings.config.listen, present):
        sys.exit("\n".join(found))
