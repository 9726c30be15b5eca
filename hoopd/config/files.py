"""Files of the configuration, each read once and whole: what was checked, hashed and parsed is the same text.

Files that others could have written are refused: whoever writes them rules here.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from attrs import define, field

from hoopd.errors import ConfigError

#: a thousand rules have 200 kB; what is larger was not written by a person
FILE_MAX = 4 * 1024 * 1024


@define
class Files:
    """
    @ivar top: the configuration's directory.
    @ivar check: also look who may write the files.
    @ivar texts: what was read, by path below C{top}, or the path as it is where it is elsewhere.
    """

    top: Path
    errors: list[ConfigError]
    check: bool = True
    texts: dict[str, str] = field(factory=dict)

    def read(self, path: Path) -> str | None:
        """@return: the text, line ends as they are; None, with the error noted, where it cannot be read."""
        try:
            text = self._content(path).decode("utf-8")
        except UnicodeDecodeError:
            self.errors.append(ConfigError("not UTF-8 text", str(path)))
        except OSError as problem:
            self.errors.append(ConfigError(f"cannot be read: {problem.strerror}", str(path)))
        except ConfigError as problem:
            self.errors.append(problem)
        else:
            self.texts[self.name(path)] = text
            return text
        return None

    def _content(self, path: Path) -> bytes:
        # one descriptor, looked at and read: not a link whose target changes, nor a pipe that never ends
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise ConfigError("is no file", str(path))
            if self.check:
                check_mode(found, path, self.errors)
            content = file.read(FILE_MAX + 1)
        if len(content) > FILE_MAX:
            raise ConfigError(f"is larger than {FILE_MAX // 1024} KiB", str(path))
        return content

    def name(self, path: Path) -> str:
        """C{path} below the configuration's directory, where it is there."""
        try:
            return str(path.relative_to(self.top))
        except ValueError:
            return str(path)

    def listed(self, name: str) -> list[Path]:
        """The *.toml files of a directory below C{top}, by name; a missing directory has none."""
        directory = self.top / name
        if not directory.is_dir():
            return []
        if self.check:
            check_mode(directory.stat(), directory, self.errors)
        return sorted(path for path in directory.iterdir() if path.suffix == ".toml")


def check_mode(found: os.stat_result, path: Path, errors: list[ConfigError]) -> None:
    """Configuration that somebody else may write is refused."""
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        errors.append(ConfigError("is writable by group or others", str(path), "", f"chmod go-w {path}"))
    if found.st_uid not in (0, os.geteuid()):
        errors.append(ConfigError(f"belongs to user id {found.st_uid}", str(path), "", f"chown root {path}"))
