"""Real programs: what they read, how they are bounded, and that nothing of them is left."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from hoopd.notices import programs
from hoopd.notices.deliveries import Outcome, Run
from tests.integration.tiny.running import ROOT, alive, until
from tests.scratch import scratch

MEMORY = 1 << 28


class ProgramTests(TestCase):
    def setUp(self) -> None:
        self.directory = scratch(self)

    def program(self, text: str) -> str:
        made = self.directory / "program"
        made.write_text(f"#!/bin/sh\n{text}\n")
        made.chmod(0o700)
        return str(made)

    async def run_(self, text: str, *words: str, given: bytes = b"{}", seconds: float = 30.0) -> Outcome:
        return await programs.run(reactor, Run((self.program(text), *words), given, seconds, MEMORY))

    def said(self) -> str:
        return (self.directory / "out").read_text()

    async def test_it_reads_the_notice_and_has_its_words_as_they_are(self) -> None:
        given = b'{"text": "' + b"x" * 300_000 + b'"}'
        text = f'cat > {self.directory}/in; for w in "$@"; do echo "$w"; done > {self.directory}/out'
        found = await self.run_(text, "$(id)", "a b", "; true", given=given)
        self.assertEqual(found, Outcome(True, "exit status 0"))
        self.assertEqual((self.directory / "in").read_bytes(), given)
        self.assertEqual(self.said(), "$(id)\na b\n; true\n")

    async def test_it_has_nothing_of_ours(self) -> None:
        os.environ["HOOPD_TEST_S3CRET"] = "x"
        self.addCleanup(os.environ.pop, "HOOPD_TEST_S3CRET")
        await self.run_(f"{{ env; ls /proc/self/fd; pwd; }} > {self.directory}/out")
        lines = self.said().splitlines()
        names = {line.partition("=")[0] for line in lines if "=" in line}
        self.assertEqual(names - {"PWD", "OLDPWD", "SHLVL", "_"}, {"PATH", "LANG"})
        # 3 is the directory that ls reads
        self.assertEqual([line for line in lines if line.isdigit()], ["0", "1", "2", "3"])
        self.assertEqual(lines[-1], "/")

    async def test_what_it_prints_goes_nowhere_and_stops_nothing(self) -> None:
        found = await self.run_("yes | head -c 1000000; yes | head -c 1000000 >&2; exit 3")
        self.assertEqual(found, Outcome(False, "exit status 3"))

    async def test_one_that_reads_nothing(self) -> None:
        self.assertEqual(await self.run_("exit 0", given=b"x" * 1_000_000), Outcome(True, "exit status 0"))

    async def test_one_that_takes_too_long_ends_with_its_children(self) -> None:
        text = f"sh -c 'echo $$ > {self.directory}/out; exec sleep 1000' & wait"
        began = time.monotonic()
        found = await self.run_(text, seconds=1.0)
        self.assertEqual(found, Outcome(False, "killed after 1 s"))
        self.assertLess(time.monotonic() - began, 100)
        until(lambda: not alive(int(self.said())), "its child is gone")

    async def test_what_it_leaves_running_ends_with_it(self) -> None:
        found = await self.run_(f"sleep 1000 & echo $! > {self.directory}/out; exit 0")
        self.assertEqual(found, Outcome(True, "exit status 0"))
        until(lambda: not alive(int(self.said())), "its child is gone")

    def test_it_ends_with_whoever_started_it(self) -> None:
        out = self.directory / "out"
        path = self.program(f"echo $$ > {out}; exec sleep 1000")
        starter = (
            "from twisted.internet import reactor\n"
            "from twisted.internet.defer import Deferred\n"
            "from hoopd.notices import programs\n"
            "from hoopd.notices.deliveries import Run\n"
            f"Deferred.fromCoroutine(programs.run(reactor, Run(({path!r},), b'', 900.0, {MEMORY})))\n"
            "reactor.run()\n"
        )
        with subprocess.Popen([sys.executable, "-c", starter], cwd=ROOT, stdin=subprocess.DEVNULL) as process:
            until(lambda: out.exists() and out.read_text().strip(), "the program runs")
            process.kill()
        until(lambda: not alive(int(self.said())), "the program is gone")

    async def test_a_signal_of_its_own(self) -> None:
        self.assertEqual(await self.run_("kill -TERM $$"), Outcome(False, "ended by signal 15"))

    async def test_memory_and_core_are_bounded(self) -> None:
        await self.run_(f"ulimit -v > {self.directory}/out; ulimit -c >> {self.directory}/out")
        self.assertEqual(self.said().split(), [str(MEMORY // 1024), "0"])

    async def test_one_that_is_gone_or_that_others_may_write(self) -> None:
        path = self.program("exit 0")
        os.chmod(path, 0o722)
        run = Run((path,), b"", 5.0, MEMORY)
        self.assertIn("is writable by group or others", (await programs.run(reactor, run)).detail)
        os.unlink(path)
        self.assertIn("No such file", (await programs.run(reactor, run)).detail)

    async def test_no_interpreter_for_it(self) -> None:
        path = self.directory / "broken"
        path.write_text("#!/nowhere/at/all\n")
        path.chmod(0o700)
        found = await programs.run(reactor, Run((str(path),), b"", 5.0, MEMORY))
        self.assertEqual(found, Outcome(False, "exit status 1"))
