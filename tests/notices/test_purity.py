"""What makes notices is pure: the same notice gives the same bytes anywhere; and every kind is in the documentation."""

import ast
from pathlib import Path

import pytest

import hoopd.notices
from hoopd.notices.notice import KINDS
from tests.integration.tiny.running import ROOT

WORLD = {"twisted", "os", "time", "socket", "random", "subprocess", "threading", "asyncio", "pathlib", "io", "sqlite3"}
PURE = ("deliveries", "held", "mail", "notice", "rendering", "rule_sets", "signing", "slack", "teams", "words")


@pytest.mark.parametrize("name", PURE)
def test_imports_nothing_of_the_world(name: str) -> None:
    imported = set()
    for node in ast.walk(ast.parse((Path(hoopd.notices.__path__[0]) / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    assert not imported & WORLD


def test_every_kind_is_documented() -> None:
    text = (ROOT / "docs" / "notifications.md").read_text()
    assert [kind for kind in KINDS if f"`{kind}`" not in text] == []
