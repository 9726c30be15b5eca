"""The compiled loops over rows under AddressSanitizer and UndefinedBehaviorSanitizer: no byte outside of a buffer.

Python's own bounds checks would not see a read behind a buffer; these do, because every object is malloc's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RUN = """
import importlib.util, sys
path, rounds = sys.argv[1], int(sys.argv[2])
spec = importlib.util.spec_from_file_location("hoopd.protocols.postgres._cutting", path)
compiled = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compiled)
assert compiled.COMPILED and compiled.__file__ == path
from tests.protocols.postgres.test_cutting import compare
for seed in range(10):
    compare(compiled, seed, rounds)
if rounds == 1:
    import ctypes
    ctypes.string_at(id(bytes(64)), 4096)  # far behind a small object
print("clean")
"""


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("sanitized")
    flags = "-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
    command = [sys.executable, "setup.py", "--quiet", "build_ext", "--force"]
    command += ["--build-lib", str(built), "--build-temp", str(built / "objects")]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "CFLAGS": flags}, capture_output=True, text=True)
    found = list(built.rglob("_cutting.*.so"))
    assert found, f"no sanitized build: is gcc installed? {done.stderr[-2000:]}"
    return found[0]


def run(sanitized: Path, rounds: int) -> subprocess.CompletedProcess[str]:
    libraries = [
        subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        # without it small objects share pages in which nothing is out of bounds; leaks of the interpreter are its own
        "PYTHONMALLOC": "malloc",
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", RUN, str(sanitized), str(rounds)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_no_byte_outside_of_a_buffer(sanitized: Path) -> None:
    done = run(sanitized, 2000)
    assert done.stdout == "clean\n", done.stderr[-3000:]


def test_the_sanitizer_would_have_seen_one(sanitized: Path) -> None:
    done = run(sanitized, 1)
    assert "AddressSanitizer" in done.stderr
    assert "clean" not in done.stdout
