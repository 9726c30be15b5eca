"""A directory of a test's own, removed after it; trial's own mktemp leaves what it made where pytest was started."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any


def scratch(case: Any) -> Path:
    """@param case: a trial or unittest TestCase. @return: an existing empty directory."""
    made = Path(tempfile.mkdtemp(prefix="hoopd-test-"))
    case.addCleanup(shutil.rmtree, made, ignore_errors=True)
    return made
