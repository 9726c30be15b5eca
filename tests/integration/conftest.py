"""What the tests of SSH share: a real host for each of their modules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.sshd import SshServer


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    """sshd on loopback; modules about other targets have a fixture of that name of their own."""
    with SshServer() as started:
        yield started
