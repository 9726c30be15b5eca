"""Whether an approver could still approve: asked when an approval is claimed."""

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from hoopd.config.schema import IdentityConfig
from hoopd.identity.directory import Directory
from hoopd.identity.tables import MIGRATIONS
from hoopd.store.memory import MemoryStore


class StillTests(TestCase):
    async def test_duty_groups_and_locks_count(self) -> None:
        directory = Directory(MemoryStore(MIGRATIONS), IdentityConfig(), Clock(), b"p" * 32)
        await directory.add("user:lee", "user:ada", ["leads", "eng"], ["approver"])
        self.assertTrue(await directory.may_still_approve("user:lee", ["leads"]))
        await directory.set_groups("user:lee", ["eng"], "user:ada")
        self.assertFalse(await directory.may_still_approve("user:lee", ["leads"]))
        await directory.set_groups("user:lee", ["leads"], "user:ada")
        await directory.set_duties("user:lee", [], "user:ada")
        self.assertFalse(await directory.may_still_approve("user:lee", ["leads"]))
        self.assertTrue(await directory.may_still_approve("user:from-elsewhere", ["leads"]))
        await directory.disable("user:from-elsewhere", "user:ada")
        self.assertFalse(await directory.may_still_approve("user:from-elsewhere", ["leads"]))
