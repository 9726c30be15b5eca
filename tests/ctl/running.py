"""Running hoopctl in this process, with answers that the test gives instead of a gateway."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hoopd.ctl.connection import Gateway
from hoopd.ctl.main import main
from hoopd.secret import Secret


class Answers:
    """
    @ivar asked: verb, token and arguments of every question.
    @ivar given: verb to answer, or to an exception to be raised.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.asked: list[tuple[str, str, dict[str, Any]]] = []
        self.given: dict[str, Any] = {}
        self.home = home
        monkeypatch.setattr(Gateway, "call", lambda gateway, verb, token=None, **words: self._call(verb, token, words))

    def _call(self, verb: str, token: Secret | None, words: dict[str, Any]) -> Any:
        given = {name: value for name, value in words.items() if value is not None}
        self.asked.append((verb, token.reveal().decode() if token else "", given))
        answer = self.given[verb]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def run(self, *words: str, text: str | None = None, **environment: str) -> Result:
        """hoopctl; its standard output and error are apart."""
        given = {"HOME": str(self.home), "HOOPD_TOKEN": "tok", "XDG_CONFIG_HOME": "", **environment}
        return CliRunner().invoke(main, list(words), input=text, env=given)
