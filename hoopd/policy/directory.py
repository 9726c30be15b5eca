"""Reads policies.d/: texts by file name, with the same care for who may write them as the rest of the configuration."""

from __future__ import annotations

from pathlib import Path

from hoopd.config.files import Files
from hoopd.config.structure import ConfigErrors


def read_directory(directory: str, check_files: bool = True) -> dict[str, str]:
    """
    @param directory: the configuration's, which has policies.d/
    @raise ConfigErrors
    """
    files = Files(Path(directory), [], check_files)
    found = {path.name: files.read(path) for path in files.listed("policies.d")}
    if files.errors:
        raise ConfigErrors(files.errors)
    return {name: text for name, text in found.items() if text is not None}
