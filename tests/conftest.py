"""What tests run is what the sources say: the compiled module is built anew where its source is newer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return  # the process that started this one has looked
    package = ROOT / "hoopd" / "protocols" / "postgres"
    built = max((each.stat().st_mtime for each in package.glob("_cutting.*.so")), default=0.0)
    if built < max((package / "cutting.py").stat().st_mtime, (ROOT / "setup.py").stat().st_mtime):
        # without a compiler this succeeds and builds nothing: tests/protocols/postgres/test_cutting.py says so
        subprocess.run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=ROOT, check=True)
