"""Where tests run: beside compiled modules that are what the sources say, and reaching their own servers directly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]


#: what a machine behind a proxy has for pip and npm; the servers of the tests are on this machine
PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})


# how long one example takes says how busy the machine is, and fails tests that have nothing wrong
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    for name in [name for name in os.environ if name.lower() in PROXIES]:
        del os.environ[name]
    if hasattr(config, "workerinput"):
        return  # the process that started this one has looked
    package = ROOT / "hoopd" / "protocols" / "postgres"
    built = max((each.stat().st_mtime for each in package.glob("_cutting.*.so")), default=0.0)
    if built < max((package / "cutting.py").stat().st_mtime, (ROOT / "setup.py").stat().st_mtime):
        # without a compiler this succeeds and builds nothing: tests/protocols/postgres/test_cutting.py says so
        subprocess.run([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"], cwd=ROOT, check=True)
