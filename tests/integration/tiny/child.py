"""A child with the roles of this package in place of hoopd's."""

from __future__ import annotations

import sys

from hoopd.roles.child import main

if __name__ == "__main__":
    roles = {role: f"tests.integration.tiny.{role}" for role in ("broker", "verifier", "control", "worker")}
    main(sys.argv, roles)
