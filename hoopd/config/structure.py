"""Strict reading of a TOML table into an attrs class, by the class's own types and metadata; no files here.

Unknown keys, wrong types and missing keys are collected, each with where it stands and what to write instead. A field
may carry C{kind} ("duration", "size", "path") and C{name} (the key in the file, where it is no Python name).
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from hoopd.errors import ConfigError

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_NUMBERED = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")

#: keys that would hold a secret: those belong into the vault
_SECRET = re.compile(r"password|passwd|secret|token$|api_?key|private_?key", re.IGNORECASE)


class ConfigErrors(ConfigError):
    """All that is wrong, so that an operator mends it in one go.

    @ivar errors: list of L{ConfigError}, at least one.
    """

    def __init__(self, errors: list[ConfigError]) -> None:
        first = errors[0]
        super().__init__(first.problem, first.file, first.key, first.suggestion)
        self.errors = errors

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self.errors)


class Reading:
    """One file being read: collects its errors."""

    def __init__(self, file: str, errors: list[ConfigError]) -> None:
        self.file = file
        self.errors = errors

    def wrong(self, key: str, problem: str, suggestion: str = "") -> None:
        self.errors.append(ConfigError(problem, self.file, key, suggestion))

    def table(self, cls: type, table: Any, key: str = "") -> Any:
        """An instance of C{cls} from C{table}, or None when something in it is wrong."""
        if not isinstance(table, dict):
            self.wrong(key, f"must be a table, not {_said(table)}")
            return None
        before = len(self.errors)
        fields = {field.metadata.get("name", field.name): field for field in attrs.fields(cls) if field.init}
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        for name, value in table.items():
            where = f"{key}.{name}" if key else name
            field = fields.get(name)
            if field is None:
                self.unknown(where, name, list(fields))
                continue
            values[field.alias] = self.value(hints[field.name], value, where, field.metadata.get("kind", ""))
        for name, field in fields.items():
            if field.default is attrs.NOTHING and name not in table:
                why = field.metadata.get("why", "")
                self.wrong(f"{key}.{name}" if key else name, f"is missing: {why}" if why else "is missing")
        return cls(**values) if len(self.errors) == before else None

    def unknown(self, where: str, name: str, known: list[str]) -> None:
        if _SECRET.search(name):
            self.wrong(where, "looks like a secret: secrets are never in these files", "use hoopctl vault put NAME")
            return
        close = difflib.get_close_matches(name, known, 1)
        self.wrong(where, "unknown key", f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}")

    def value(self, hint: Any, value: Any, where: str, kind: str = "") -> Any:
        """C{value} as the type C{hint} says; None, with an error noted, if it is not."""
        origin = get_origin(hint)
        if kind == "duration":
            return self._measured(value, where, _UNITS, "s", 'a duration such as "15m" or a number of seconds')
        if kind == "size":
            size = self._measured(value, where, _SIZES, "", 'a size such as "64KiB" or a number of bytes')
            return None if size is None else int(size)
        if origin in (Union, types.UnionType):
            inner = [each for each in get_args(hint) if each is not type(None)]
            return self.value(inner[0], value, where, kind)
        if origin is Literal:
            if value in get_args(hint):
                return value
            close = difflib.get_close_matches(str(value), [str(each) for each in get_args(hint)], 1)
            words = ", ".join(repr(each) for each in get_args(hint))
            return self.wrong(where, f"must be one of {words}", f"did you mean {close[0]!r}?" if close else "")
        if origin is tuple:
            if not isinstance(value, list):
                return self.wrong(where, f"must be a list, not {_said(value)}", f"write [{value!r}]")
            return tuple(self.value(get_args(hint)[0], each, f"{where}[{n}]", kind) for n, each in enumerate(value))
        if origin is not None and issubclass(origin, Mapping):
            if not isinstance(value, dict):
                return self.wrong(where, f"must be a table, not {_said(value)}")
            inner_hint = get_args(hint)[1]
            return {name: self.value(inner_hint, each, f"{where}.{name}") for name, each in value.items()}
        if attrs.has(hint):
            return self.table(hint, value, where)
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if hint is Any:
            return value
        if type(value) is not hint:
            return self.wrong(where, f"must be {_NAMES.get(hint, hint.__name__)}, not {_said(value)}")
        return value

    def _measured(self, value: Any, where: str, units: Mapping[str, float], unit: str, form: str) -> float | None:
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return float(value)
        match = _NUMBERED.fullmatch(value) if isinstance(value, str) else None
        if match is None or (match.group(2).lower() or unit) not in units:
            self.wrong(where, f"must be {form}, not {_said(value)}")
            return None
        return float(match.group(1)) * units[match.group(2).lower() or unit]


_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def _said(value: Any) -> str:
    return "a table" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)
