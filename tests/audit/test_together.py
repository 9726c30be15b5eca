"""Recorder, sealing, ledger and proof together, with a real reactor and real threads."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from hoopd.audit.ledger import Ledger
from hoopd.audit.recorder import FileRecorder
from hoopd.audit.sealing import Recordings
from hoopd.audit.verify import render, verify
from hoopd.config.schema import AuditConfig

CONFIG = AuditConfig(checkpoint_every=0.05, segment_bytes=20_000, segment_every=0.1)


class Together(TestCase):
    timeout = 60

    async def test_many_sessions_at_once_are_whole_and_proven(self) -> None:
        state = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, state)
        ledger = Ledger(state / "ledger", bytes(32), CONFIG, reactor)
        await ledger.start()
        recordings = Recordings(state / "recordings", ledger, CONFIG, reactor)
        recordings.start()

        async def session(id: str) -> None:
            made = FileRecorder(await recordings.open(id, {"identity": "user:priya"}), id)
            for operation in range(30):
                made.write("operation", {"operation": operation, "text": "select " + "x" * 2000})
                await made.sync()
                if operation % 10 == 0:
                    await deferLater(reactor, 0.1)
            made.write("close", {"why": "bye"})
            made.close()
            await recordings.close(id, "bye")

        await gatherResults([Deferred.fromCoroutine(session(f"S-{number}")) for number in range(20)])
        await recordings.stop()
        await ledger.stop()
        report = verify(state, ledger.verifier_key)
        assert report.ok, render(report)
        assert (report.recordings, report.open_recordings, report.frames) == (20, 0, 20 * 32)
        assert report.segments >= 40
        assert [each for each in report.findings if each.severity == "exposure"] == []
