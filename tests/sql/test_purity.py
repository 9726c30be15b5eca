"""The analysis and the masks are pure: values in, values out. Only the process pool and its child touch the world."""

import ast
from pathlib import Path

import pytest

import hoopd.masking
import hoopd.sql

WORLD = {"twisted", "os", "time", "socket", "random", "subprocess", "threading", "asyncio", "pathlib", "io"}
# packed.py: pickle reads from files, be they in memory
ADAPTERS = {"pool.py", "child.py", "packed.py"}
MODULES = [
    path
    for package in (hoopd.sql, hoopd.masking)
    for path in sorted(Path(package.__path__[0]).glob("*.py"))
    if path.name not in ADAPTERS
]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_imports_nothing_of_the_world(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
            assert node.module not in ("hoopd.sql.pool", "hoopd.sql.child")
    assert not imported & WORLD


def test_there_is_something_to_look_at() -> None:
    assert len(MODULES) > 10
