"""A gateway that was set back to an old copy of its state, found out by a witness that is reached over a network."""

from __future__ import annotations

import shutil

import pytest

from hoopd.ctl.failures import UNVERIFIED
from tests.audit.witness_server import WitnessServer
from tests.integration.installation import SETTINGS, Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.tiny.running import until

pytestmark = pytest.mark.integration


def test_a_gateway_that_was_set_back_is_found_out() -> None:
    with WitnessServer() as witness, PostgresServer() as server:
        settings = {"audit": {**SETTINGS["audit"], "witness": [witness.url]}}
        with Gateway(server, settings=settings) as gateway:
            key = gateway.hoopctl("audit", "key").stdout.strip()
            verify = ("audit", "verify", gateway.state, "--key", key, "--witness", witness.url)

            def published() -> int:
                """Have the record signed as it is. @return: how many checkpoints the witness has then."""
                before = len(witness.kept)
                gateway.hoopctl("identities", "add", f"agent:{before}")
                gateway.hoopctl("audit", "checkpoint")
                return until(lambda: len(witness.kept) if len(witness.kept) > before else 0, "the witness has it")

            published()
            assert gateway.terminate() == 0
            old = gateway.directory / "old"
            shutil.copytree(gateway.state, old)
            gateway.start()
            published()
            assert "WRONG" not in gateway.hoopctl("status").stdout
            assert gateway.terminate() == 0
            good = gateway.ctl(*verify)
            assert "the record is as it was written" in good.stdout

            shutil.rmtree(gateway.state)
            old.rename(gateway.state)
            set_back = gateway.ctl(*verify, ok=False)
            assert set_back.returncode == UNVERIFIED
            assert "leaves were removed or an old copy was put back" in set_back.stdout
            assert "the record is as it was written" in gateway.ctl(*verify[:-2]).stdout, "without it nothing is seen"

            kept = dict(witness.kept)
            gateway.start()
            conflict = f"the witness {witness.url} contradicts the record"
            until(lambda: conflict in gateway.hoopctl("status").stdout, "status says so")
            (event,) = gateway.events("audit.witness-conflict")
            assert event["severity"] == "alert"
            assert "leaves were lost" in event["why"]
            gateway.hoopctl("audit", "checkpoint")
            assert witness.kept == kept, "nothing is published on top of it"
