"""Reads policies.d/: texts by file name, with the same care for who may write them as the rest of the configuration."""

from __future__ import annotations

from pathlib import Path

from hoopd.config.loader import check_mode, listed
from hoopd.config.structure import ConfigErrors
from hoopd.errors import ConfigError


def read_directory(directory: str, check_files: bool = True) -> dict[str, str]:
    """
    @param directory: the configuration's, which has policies.d/
    @raise ConfigErrors
    """
    errors: list[ConfigError] = []
    sources = {}
    for path in listed(Path(directory) / "policies.d", errors):
        try:
            if check_files:
                check_mode(path, errors)
            sources[path.name] = path.read_text()
        except (OSError, UnicodeDecodeError) as problem:
            errors.append(ConfigError(f"cannot be read: {problem}", str(path)))
    if errors:
        raise ConfigErrors(errors)
    return sources
