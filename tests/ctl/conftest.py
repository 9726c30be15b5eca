"""The fixture of hoopctl's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ctl.running import Answers


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answers:
    return Answers(monkeypatch, tmp_path)
