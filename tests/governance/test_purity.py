"""What judges signatures is pure: no file, clock or network; the same octets get the same answer anywhere."""

import ast
from pathlib import Path

import pytest

import hoopd.governance

WORLD = {"twisted", "os", "time", "socket", "random", "subprocess", "threading", "asyncio", "pathlib", "io", "sqlite3"}
PURE = ("changes", "manifest", "papers", "signers", "sshsig")


@pytest.mark.parametrize("name", PURE)
def test_imports_nothing_of_the_world(name: str) -> None:
    path = Path(hoopd.governance.__path__[0]) / f"{name}.py"
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
            if (node.module or "").startswith("hoopd.governance."):
                assert (node.module or "").rpartition(".")[2] in PURE
    assert not imported & WORLD
