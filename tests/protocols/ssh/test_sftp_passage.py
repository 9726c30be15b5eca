"""SFTP through the core: what is judged as what, what goes on, what is on record; and hostile peers on both sides."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import Denied, HoopdError, PeerError, TargetError
from hoopd.protocols.ssh import messages, sftp
from hoopd.protocols.ssh.channels import WINDOW_MAX
from hoopd.protocols.ssh.messages import number, string
from hoopd.protocols.ssh.sftp_passage import ASKED_MAX, LISTED_MAX, SAID_MAX, UNREAD_MAX
from tests.protocols.ssh.playbook import Play

HOME = b"/home/d"
NONE = number(0)


def long(value: int) -> bytes:
    return value.to_bytes(8, "big")


class Files(Play):
    """A channel with sftp in it.

    @ivar links: what the target's REALPATH answers otherwise than by the path itself; None: there is no such file.
    @ivar modes: of files, for LSTAT; regular ones else.
    """

    def __init__(self, verdicts: Any = None) -> None:
        super().__init__(verdicts)
        self.links: dict[bytes, bytes | None] = {}
        self.modes: dict[bytes, int] = {}
        self.asked: list[bytes] = []
        self.number = self.opened()
        self.request(self.number, "subsystem", string(b"sftp"))
        self.target(messages.SUCCESS, messages.number(self.number))
        self.to_client()
        self.to_target()
        self.route.frames.clear()
        self.say(number(5) + b"\1" + number(3))
        assert self.forwarded() == [number(5) + b"\1" + number(3)]
        self.reply(number(5) + b"\2" + number(3))
        assert self.answers() == [number(5) + b"\2" + number(3)]

    def say(self, octets: bytes) -> None:
        """The client sends."""
        self.client(*messages.data(self.number, 0, octets))

    def reply(self, octets: bytes) -> None:
        """The target sends."""
        self.target(*messages.data(self.number, 0, octets))

    def forwarded(self) -> list[bytes]:
        """What the target has been sent, but for the gateway's own questions, which it answers."""
        found: list[bytes] = []
        while sent := [each for kind, payload in self.to_target() if kind == messages.DATA
                       for each in packets(messages.read_data(kind, payload)[2])]:  # fmt: skip
            for packet in sent:
                if packet[4] == sftp.INIT or sftp.head(packet)[1] < 0xFFFF0000:
                    found.append(packet)
                else:
                    self.asked.append(packet)
                    self.reply(self._told(packet))
        return found

    def _told(self, packet: bytes) -> bytes:
        kind, id = sftp.head(packet)
        path = sftp.body(packet).string()
        if kind == sftp.LSTAT:
            return sftp.packet(sftp.ATTRS, id, number(4) + number(self.modes.get(path, 0o100644)))
        real = HOME if path == b"." else path if path.startswith(b"/") else HOME + b"/" + path
        real_ = self.links.get(real, real)
        if real_ is None:
            return sftp.status(id, sftp.NO_SUCH_FILE, "No such file")
        return sftp.packet(sftp.NAME, id, number(1) + string(real_) + string(real_) + number(0))

    def answers(self) -> list[bytes]:
        """What the client has been sent on the first stream."""
        return packets(self.data_to_client()[0])

    def open(self, path: bytes, flags: int = 1, id: int = 1, handle: bytes = b"h") -> None:
        """A file, open at both ends."""
        self.say(sftp.packet(sftp.OPEN, id, string(path) + number(flags) + NONE))
        assert len(self.forwarded()) == 1
        self.reply(sftp.packet(sftp.HANDLE, id, string(handle)))
        self.answers()

    def close(self, id: int = 2, handle: bytes = b"h") -> dict[str, Any]:
        """@return: the transfer's frame"""
        self.say(sftp.packet(sftp.CLOSE, id, string(handle)))
        assert len(self.forwarded()) == 1
        self.reply(sftp.status(id, sftp.OK, "Success"))
        self.answers()
        return self.frame("transfer")

    def frame(self, kind: str) -> dict[str, Any]:
        """The last of a kind."""
        return dict([fields for name, fields in self.route.frames if name == kind][-1])

    def operations(self) -> list[tuple[str, str]]:
        return [(fields["text"], fields["decision"]) for name, fields in self.route.frames if name == "operation"]


def packets(octets: bytes) -> list[bytes]:
    cut, found = sftp.Packets(), []
    cut.feed(octets)
    while (packet := cut.next()) is not None:
        found.append(packet)
    return found


def code(answer: bytes) -> int:
    assert answer[4] == sftp.STATUS
    return sftp.status_code(answer)


# -- what is judged ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "content", "text", "classes"), [
    (sftp.OPEN, string(b"/a") + number(1) + NONE, "sftp get /a", ["download"]),
    (sftp.OPEN, string(b"a b") + number(0x1A) + NONE, "sftp put '/home/d/a b'", ["upload"]),
    (sftp.OPEN, string(b"/a") + number(3) + NONE, "sftp edit /a", ["download", "upload"]),
    (sftp.OPENDIR, string(b"/a"), "sftp ls /a", ["list"]),
    (sftp.STAT, string(b"/a/../b"), "sftp stat /b", ["list"]),
    (sftp.LSTAT, string(b"/a/"), "sftp stat /a", ["list"]),
    (sftp.READLINK, string(b"/a"), "sftp readlink /a", ["list"]),
    (sftp.SETSTAT, string(b"/a") + number(4) + number(0o4755), "sftp chmod /a mode 4755", ["upload"]),
    (sftp.REMOVE, string(b"/a"), "sftp rm /a", ["remove"]),
    (sftp.RMDIR, string(b"/a"), "sftp rmdir /a", ["remove"]),
    (sftp.MKDIR, string(b"/a") + NONE, "sftp mkdir /a", ["upload"]),
    (sftp.RENAME, string(b"/a") + string(b"b"), "sftp rename /a /home/d/b", ["rename", "upload"]),
    (sftp.SYMLINK, string(b"b") + string(b"/a/l"), "sftp symlink /a/b /a/l", ["upload"]),
    (200, string(b"posix-rename@openssh.com") + string(b"/a") + string(b"/b"), "sftp rename /a /b", ["rename", "upload"]),
    (200, string(b"hardlink@openssh.com") + string(b"/a") + string(b"/b"), "sftp ln /a /b", ["rename", "upload"]),
    (200, string(b"lsetstat@openssh.com") + string(b"/a") + number(4) + number(0o600), "sftp chmod /a mode 0600", ["upload"]),
    (200, string(b"statvfs@openssh.com") + string(b"/a"), "sftp stat /a", ["list"]),
])  # fmt: skip
def test_each_request_is_an_operation_before_it_is_forwarded(
    kind: int, content: bytes, text: str, classes: list[str]
) -> None:
    files = Files()
    files.say(sftp.packet(kind, 9, content))
    (packet,) = files.forwarded()
    assert (packet[4], sftp.head(packet)[1]) == (kind, 9)
    frame = files.frame("operation")
    assert (frame["text"], frame["classes"], frame["decision"]) == (text, classes, "allow")
    refused = Files(dict.fromkeys(classes, "deny"))
    refused.say(sftp.packet(kind, 9, content))
    assert refused.forwarded() == []
    data = refused.data_to_client()
    (answer,) = packets(data[0])
    assert code(answer) == sftp.PERMISSION_DENIED
    assert b"because deny [rule web.rule]" in answer
    assert b"hint: ask us" in answer
    assert b"hoopd: refused: because deny" in data[1]
    assert refused.operations() == [(text, "deny")]


@pytest.mark.parametrize("content", [
    (sftp.REALPATH, string(b".")), (200, string(b"limits@openssh.com")), (200, string(b"expand-path@openssh.com") + string(b"~")),
    (200, string(b"home-directory") + string(b"d")), (200, string(b"users-groups-by-id@openssh.com") + string(b"") + string(b"")),
])  # fmt: skip
def test_what_is_about_no_file_goes_on_by_itself(content: tuple[int, bytes]) -> None:
    files = Files({"list": "deny", "download": "deny"})
    packet = sftp.packet(content[0], 9, content[1])
    files.say(packet)
    assert files.forwarded() == [packet]
    assert files.operations() == []


def test_what_is_judged_is_what_goes_on() -> None:
    files = Files()
    files.links[b"/in/x"] = b"/etc/shadow"
    files.say(sftp.packet(sftp.OPEN, 1, string(b"/in/x") + number(1) + NONE))
    (packet,) = files.forwarded()
    assert packet == sftp.packet(sftp.OPEN, 1, string(b"/etc/shadow") + number(1) + NONE)
    assert files.operations() == [("sftp get /etc/shadow", "allow")]
    # an entry is itself, whatever it leads to, below what its directory leads to
    files.links[b"/in"] = b"/srv/in"
    files.say(sftp.packet(sftp.REMOVE, 2, string(b"/in/x")))
    assert files.forwarded() == [sftp.packet(sftp.REMOVE, 2, string(b"/srv/in/x"))]
    # so is what must not be there yet
    files.say(sftp.packet(sftp.OPEN, 3, string(b"/in/x") + number(0x2A) + NONE))
    assert files.forwarded() == [sftp.packet(sftp.OPEN, 3, string(b"/srv/in/x") + number(0x2A) + NONE)]
    # where a link leads to is judged, and written as it was said
    files.links[b"/srv/in/../../etc"] = b"/etc"
    files.say(sftp.packet(sftp.SYMLINK, 4, string(b"../../etc") + string(b"/in/l")))
    assert files.forwarded() == [sftp.packet(sftp.SYMLINK, 4, string(b"../../etc") + string(b"/srv/in/l"))]
    assert files.operations()[-1] == ("sftp symlink /etc /srv/in/l", "allow")


def test_servers_that_know_only_what_is_there() -> None:
    files = Files()
    files.links[b"/in/new"] = None
    files.say(sftp.packet(sftp.OPEN, 1, string(b"/in/new") + number(0x1A) + NONE))
    assert files.forwarded() == [sftp.packet(sftp.OPEN, 1, string(b"/in/new") + number(0x1A) + NONE)]


def test_what_cannot_be_resolved_is_not_forwarded() -> None:
    files = Files({"download": "deny"})
    files.links |= {b"/no/x": None, b"/no": None}
    files.say(sftp.packet(sftp.OPEN, 1, string(b"/no/x") + number(0x1A) + NONE))
    assert files.forwarded() == []
    assert [code(each) for each in files.answers()] == [sftp.NO_SUCH_FILE]
    # whoever may not know learns nothing of it
    files.say(sftp.packet(sftp.OPEN, 2, string(b"/no/x") + number(1) + NONE))
    assert files.forwarded() == []
    assert [code(each) for each in files.answers()] == [sftp.PERMISSION_DENIED]
    files.links[b"/odd"] = b"relative"
    files.say(sftp.packet(sftp.OPEN, 3, string(b"/odd") + number(2) + NONE))
    assert [code(each) for each in (files.forwarded(), files.answers())[1]] == [sftp.FAILURE]


def test_looking_is_recorded_once_and_judged_each_time() -> None:
    files = Files()
    for id in range(5):
        files.say(sftp.packet(sftp.STAT, id, string(b"/a")))
        assert len(files.forwarded()) == 1
        files.reply(sftp.status(id, sftp.NO_SUCH_FILE, ""))
    assert files.operations() == [("sftp stat /a", "allow")]
    assert "result" not in [kind for kind, _ in files.route.frames]
    files.verdicts["list"] = "deny"
    files.say(sftp.packet(sftp.STAT, 9, string(b"/a")))
    assert files.forwarded() == []
    assert files.operations()[1:] == [("sftp stat /a", "deny")]


def test_a_directory_is_renamed_as_a_tree() -> None:
    files = Files()
    seen: list[Any] = []
    judge = files.core.permission._judge
    files.core.permission._judge = lambda operation: (seen.append(operation), judge(operation))[1]  # type: ignore[method-assign]
    files.modes[b"/dir"] = 0o040755
    for id, path in enumerate((b"/dir", b"/file")):
        files.say(sftp.packet(sftp.RENAME, id, string(path) + string(b"/b")))
        assert len(files.forwarded()) == 1
    assert [each.facts["tree"] for each in seen] == [True, False]
    assert seen[0].facts["home"] == "/home/d"


def test_refusals_are_said_so_often_and_no_oftener() -> None:
    files = Files({"download": "deny"})
    for id in range(SAID_MAX + 20):
        files.say(sftp.packet(sftp.OPEN, id, string(b"/a") + number(1) + NONE))
        assert files.forwarded() == []
    data = files.data_to_client()
    assert len(packets(data[0])) == SAID_MAX + 20
    assert data[1].count(b"refused: because") == SAID_MAX
    assert b"more is refused" in data[1]


def test_what_came_of_a_change_is_on_record() -> None:
    files = Files()
    for id, (said, tag) in enumerate(((0, "done"), (3, "the target answered permission denied"))):
        files.say(sftp.packet(sftp.MKDIR, id, string(b"/d") + NONE))
        files.forwarded()
        files.reply(sftp.status(id, said, ""))
        frame = files.frame("result")
        assert (frame["tag"], frame["operation"]) == (tag, files.frame("operation")["operation"])


# -- held --------------------------------------------------------------------------------------------------------


def test_what_is_held_keeps_the_channel_and_then_goes_on_in_order() -> None:
    files = Files({"download": "hold"})
    later = sftp.packet(sftp.MKDIR, 2, string(b"/d") + NONE)
    files.say(sftp.packet(sftp.OPEN, 1, string(b"/a") + number(1) + NONE) + later)
    files.say(later.replace(b"\0\0\0\2", b"\0\0\0\3", 1))
    assert files.forwarded() == []
    (ask,) = files.core.permission.asks
    assert ask.held is not None
    assert ask.channel == files.number
    assert ask.tell is not None
    ask.tell("hoopd: held for approval")
    assert files.data_to_client()[1] == b"hoopd: held for approval\n"
    files.core.permission.released(ask, "A-1")
    assert [sftp.head(each) for each in files.forwarded()] == [(sftp.OPEN, 1), (sftp.MKDIR, 2), (sftp.MKDIR, 3)]
    files.reply(sftp.packet(sftp.HANDLE, 1, string(b"h")))
    assert files.close(4)["whole"] is False
    assert files.route.settled == [("A-1", "executed", "closed")]


def test_what_leads_elsewhere_by_then_is_not_what_was_approved() -> None:
    files = Files({"download": "hold"})
    files.say(sftp.packet(sftp.OPEN, 1, string(b"/a") + number(1) + NONE))
    assert files.forwarded() == []
    (ask,) = files.core.permission.asks
    files.links[b"/a"] = b"/etc/shadow"
    files.core.permission.released(ask, "A-1")
    assert files.forwarded() == []
    assert [code(each) for each in files.answers()] == [sftp.PERMISSION_DENIED]
    assert files.route.settled == [("A-1", "failed", "it is another file now")]


def test_what_is_not_approved_is_refused_and_the_rest_goes_on() -> None:
    files = Files({"download": "hold"})
    files.say(
        sftp.packet(sftp.OPEN, 1, string(b"/a") + number(1) + NONE) + sftp.packet(sftp.MKDIR, 2, string(b"/d") + NONE)
    )
    assert files.forwarded() == []
    (ask,) = files.core.permission.asks
    files.core.permission.refused(ask, Denied("not today"))
    assert [sftp.head(each) for each in files.forwarded()] == [(sftp.MKDIR, 2)]
    assert b"not today" in files.answers()[0]


def test_answers_go_on_while_something_is_held() -> None:
    files = Files({"upload": "hold"})
    files.open(b"/a")
    files.say(sftp.packet(sftp.READ, 2, string(b"h") + long(0) + number(10)))
    files.say(sftp.packet(sftp.MKDIR, 3, string(b"/d") + NONE))
    assert [sftp.head(each) for each in files.forwarded()] == [(sftp.READ, 2)]
    files.reply(sftp.packet(sftp.DATA, 2, string(b"abc")))
    assert [sftp.head(each) for each in files.answers()] == [(sftp.DATA, 2)]


def test_who_closes_the_channel_while_it_is_held_runs_nothing() -> None:
    files = Files({"download": "hold"})
    files.say(sftp.packet(sftp.OPEN, 1, string(b"/a") + number(1) + NONE))
    assert files.forwarded() == []
    (ask,) = files.core.permission.asks
    files.client(messages.CLOSE, messages.number(files.number))
    assert files.withdrawn == [(files.number, "the requester closed the channel")]
    files.to_target()
    files.core.permission.released(ask, "A-1")
    assert files.forwarded() == []
    assert files.route.settled == [("A-1", "failed", "the requester closed the channel")]


# -- files -------------------------------------------------------------------------------------------------------


def test_a_file_that_is_read_with_many_requests_at_once_and_answers_in_any_order() -> None:
    files = Files()
    files.open(b"/a")
    for id in range(10, 14):
        files.say(sftp.packet(sftp.READ, id, string(b"h") + long(4 * (id - 10)) + number(4)))
    assert len(files.forwarded()) == 4
    for id, piece in ((11, b"efgh"), (12, b"ij"), (10, b"abcd")):
        files.reply(sftp.packet(sftp.DATA, id, string(piece)))
    files.reply(sftp.status(13, sftp.EOF, "End of file"))
    files.say(sftp.packet(sftp.READ, 20, string(b"h") + long(10) + number(4)))
    files.forwarded()
    files.reply(sftp.status(20, sftp.EOF, "End of file"))
    frame = files.close(21)
    assert (frame["sha256"], frame["bytes"], frame["whole"]) == (hashlib.sha256(b"abcdefghij").hexdigest(), 10, True)
    assert (frame["path"], frame["direction"], frame["tag"]) == ("/a", "download", "closed")


def test_a_file_that_is_written() -> None:
    files = Files()
    files.open(b"/a", 0x1A)
    files.say(sftp.packet(sftp.WRITE, 5, string(b"h") + long(0) + string(b"abc")))
    files.say(sftp.packet(sftp.FSETSTAT, 6, string(b"h") + number(4) + number(0o600)))
    assert len(files.forwarded()) == 2
    files.reply(sftp.status(5, sftp.OK, "") + sftp.status(6, sftp.OK, ""))
    frame = files.close()
    assert (frame["sha256"], frame["whole"], frame["direction"]) == (hashlib.sha256(b"abc").hexdigest(), True, "upload")
    # what is changed on the way is part of it
    assert files.operations() == [("sftp put /a", "allow")]
    files.open(b"/a", 0x1A)
    files.say(sftp.packet(sftp.WRITE, 5, string(b"h") + long(0) + string(b"abc")))
    files.forwarded()
    files.reply(sftp.status(5, sftp.FAILURE, "No space left on device"))
    frame = files.close()
    assert (frame["whole"], frame["sha256"], frame["tag"]) == (False, None, "the target failed to write it")


def test_a_file_that_is_only_read_is_not_changed_by_its_handle() -> None:
    files = Files({"upload": "deny"})
    files.open(b"/a")
    files.say(sftp.packet(sftp.FSETSTAT, 5, string(b"h") + number(4) + number(0o777)))
    files.say(sftp.packet(sftp.WRITE, 6, string(b"h") + long(0) + string(b"abc")))
    assert files.forwarded() == []
    assert [code(each) for each in files.answers()] == [sftp.PERMISSION_DENIED] * 2
    assert files.operations()[-1] == ("sftp chmod /a mode 0777", "deny")


def test_what_is_copied_at_the_target_goes_between_opened_files() -> None:
    files = Files()
    files.open(b"/a")
    files.open(b"/b", 0x1A, 3, b"w")

    def copy(id: int, source: bytes, drain: bytes) -> bytes:
        return sftp.packet(
            200, id, string(b"copy-data") + string(source) + long(0) + long(0) + string(drain) + long(0)
        )  # fmt: skip

    files.say(copy(5, b"h", b"w"))
    assert len(files.forwarded()) == 1
    files.reply(sftp.status(5, sftp.OK, ""))
    files.answers()
    for id, (source, drain) in enumerate(((b"w", b"w"), (b"h", b"h"), (b"x", b"w")), 6):
        files.say(copy(id, source, drain))
    assert files.forwarded() == []
    assert [code(each) for each in files.answers()] == [3, 3, 4]
    assert files.close(10, b"w")["sha256"] is None


def test_what_is_not_understood_is_answered_so() -> None:
    files = Files()
    files.say(sftp.packet(21, 1, b"x") + sftp.packet(200, 2, string(b"flock@openssh.com") + string(b"h")))
    assert files.forwarded() == []
    assert [code(each) for each in files.answers()] == [sftp.OP_UNSUPPORTED] * 2


def test_handles_that_are_none() -> None:
    files = Files()
    for id, (kind, rest) in enumerate(((sftp.READ, long(0) + number(1)), (sftp.CLOSE, b""), (sftp.FSTAT, b""),
                                       (sftp.READDIR, b""), (sftp.FSETSTAT, NONE))):  # fmt: skip
        files.say(sftp.packet(kind, id, string(b"?") + rest))
    assert files.forwarded() == []
    assert [code(each) for each in files.answers()] == [sftp.FAILURE] * 5


def test_a_channel_that_ends_leaves_what_was_cut_off() -> None:
    files = Files()
    files.open(b"/a", 0x1A)
    files.say(sftp.packet(sftp.WRITE, 5, string(b"h") + long(0) + string(b"abc")))
    files.target(messages.CLOSE, messages.number(files.number))
    frame = files.frame("transfer")
    assert (frame["tag"], frame["whole"], frame["bytes"]) == ("cut off", False, 3)
    assert files.route.frames[-1][0] == "result"


def test_a_close_is_over_when_all_is_answered() -> None:
    files = Files()
    files.open(b"/a")
    files.say(sftp.packet(sftp.READ, 5, string(b"h") + long(0) + number(10)) + sftp.packet(sftp.CLOSE, 6, string(b"h")))
    assert len(files.forwarded()) == 2
    files.reply(sftp.status(6, sftp.OK, ""))
    assert "transfer" not in [kind for kind, _ in files.route.frames]
    files.reply(sftp.packet(sftp.DATA, 5, string(b"abc")))
    assert files.frame("transfer")["bytes"] == 3


def test_a_close_that_is_never_over_is_on_record_too() -> None:
    files = Files()
    files.open(b"/a")
    files.say(sftp.packet(sftp.READ, 5, string(b"h") + long(0) + number(10)) + sftp.packet(sftp.CLOSE, 6, string(b"h")))
    files.forwarded()
    files.reply(sftp.status(6, sftp.OK, ""))
    files.target(messages.CLOSE, messages.number(files.number))
    assert files.frame("transfer")["tag"] == "cut off"
    assert [kind for kind, _ in files.route.frames].count("transfer") == 1


@pytest.mark.parametrize(("said", "code_"), [(0, 4), (1, 4), (3, 3), (4, 4), (99, 4)])
def test_a_target_that_does_not_say_what_a_path_is(said: int, code_: int) -> None:
    files = Files()
    files._told = lambda packet: sftp.status(sftp.head(packet)[1], said, "")  # type: ignore[method-assign]
    files.say(sftp.packet(sftp.REMOVE, 1, string(b"/a")))
    assert files.forwarded() == []
    assert [code(each) for each in files.answers()] == [code_]


def test_however_many_are_asked_at_once_memory_is_bounded_and_nothing_is_lost() -> None:
    files = Files()
    files.open(b"/a")
    sent = b"".join(
        sftp.packet(sftp.READ, id, string(b"h") + long(id) + number(1)) for id in range(100, 100 + 2 * ASKED_MAX)
    )
    for at in range(0, len(sent), 30_000):
        files.say(sent[at : at + 30_000])
    seen = [sftp.head(each)[1] for each in files.forwarded()]
    assert len(seen) == ASKED_MAX
    while seen:
        id = seen.pop(0)
        files.reply(sftp.packet(sftp.DATA, id, string(b"x")))
        seen += [sftp.head(each)[1] for each in files.forwarded()]
    assert [sftp.head(each)[1] for each in files.answers()] == list(range(100, 100 + 2 * ASKED_MAX))


def test_a_client_that_takes_no_answers_is_not_answered_for_ever() -> None:
    files = Files()
    number_ = files.number
    files.core.channel(number_).client.room = 0
    asking = sftp.packet(21, 1, b"")
    with pytest.raises(PeerError, match="nobody takes"):
        for _ in range(100_000):
            files.say(asking)
            files.forwarded()
    assert files.core.channel(number_).client.queued <= UNREAD_MAX + 1000


# -- hostile -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packet", [
    sftp.packet(sftp.DATA, 77, string(b"x")),  # an id never asked
    sftp.packet(sftp.DATA, 5, string(b"x" * 11)),  # longer than asked
    sftp.packet(sftp.HANDLE, 5, string(b"x")),  # of another kind
    sftp.packet(sftp.NAME, 5, NONE),
    sftp.packet(sftp.DATA, 5, number(3) + b"x"),
    sftp.packet(sftp.STATUS, 5, b""),
    sftp.packet(sftp.OPEN, 5, string(b"/x") + number(1) + NONE),
    number(0), number(sftp.PACKET_MAX + 1), b"\0\0\0\1\x65",
])  # fmt: skip
def test_a_target_that_answers_what_was_not_asked_ends_the_session(packet: bytes) -> None:
    files = Files()
    files.open(b"/a")
    files.say(sftp.packet(sftp.READ, 5, string(b"h") + long(0) + number(10)))
    files.forwarded()
    with pytest.raises(TargetError):
        files.reply(packet)
    assert files.data_to_client()[0] == b""


@pytest.mark.parametrize("handle", [b"", bytes(257), b"h"])
def test_handles_of_a_target_that_are_none(handle: bytes) -> None:
    files = Files()
    files.open(b"/a")
    files.say(sftp.packet(sftp.OPEN, 5, string(b"/b") + number(1) + NONE))
    files.forwarded()
    with pytest.raises(TargetError):
        files.reply(sftp.packet(sftp.HANDLE, 5, string(handle)))


@pytest.mark.parametrize("name", [b"../x", b"/etc/passwd", b"a\0b", b""])
def test_names_in_a_directory_that_lead_elsewhere_do_not_reach_the_client(name: bytes) -> None:
    files = Files()
    files.say(sftp.packet(sftp.OPENDIR, 1, string(b"/d")))
    files.forwarded()
    files.reply(sftp.packet(sftp.HANDLE, 1, string(b"d")))
    files.say(sftp.packet(sftp.READDIR, 2, string(b"d")))
    files.forwarded()
    files.answers()
    with pytest.raises(TargetError):
        files.reply(sftp.packet(sftp.NAME, 2, number(1) + string(name) + string(b"") + NONE))
    assert files.answers() == []


def test_a_real_path_that_is_several_ends_the_session() -> None:
    files = Files()
    files._told = lambda packet: sftp.packet(sftp.NAME, sftp.head(packet)[1], NONE)  # type: ignore[method-assign]
    files.say(sftp.packet(sftp.STAT, 1, string(b"/a")))
    with pytest.raises(TargetError):
        files.forwarded()


@pytest.mark.parametrize("packet", [
    sftp.packet(sftp.READ, 5, string(b"h") + long(0) + number(10)) * 2,  # an id twice
    sftp.packet(sftp.OPEN, 5, string(b"/a")),
    sftp.packet(sftp.STAT, 5, string(b"/a") + b"x"),
    sftp.packet(sftp.WRITE, 5, string(b"h") + long(0) + number(9) + b"abc"),
    sftp.packet(sftp.SETSTAT, 5, string(b"/a") + number(0x40)),
    sftp.packet(200, 5, string(b"limits@openssh.com") + b"x"),
    number(0), number(sftp.PACKET_MAX + 1), b"\0\0\0\1\3",
])  # fmt: skip
def test_a_client_that_speaks_no_sftp_ends_its_session(packet: bytes) -> None:
    files = Files()
    files.open(b"/a")
    with pytest.raises(PeerError):
        files.say(packet)


def test_the_target_does_not_speak_first() -> None:
    play = Play()
    channel = play.opened()
    play.request(channel, "subsystem", string(b"sftp"))
    with pytest.raises(TargetError):
        play.target(*messages.data(channel, 0, number(5) + b"\2" + number(3)))


def test_what_is_looked_at_is_remembered_in_bounded_memory() -> None:
    files = Files()
    passage = files.core.channel(files.number).run.passage
    for id in range(LISTED_MAX + 100):
        files.say(sftp.packet(sftp.STAT, id, string(b"/%d" % id)))
        files.forwarded()
        files.reply(sftp.status(id, sftp.NO_SUCH_FILE, ""))
    assert len(passage._listed) <= LISTED_MAX
    assert len(passage._asked) == 0


_PATHS = st.sampled_from([b"/a", b"", b".", b"..", b"/", b"/a/../..", b"x" * 300, b"\xff", b"/a//b/"])
_CONTENT = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda path, rest: string(path) + rest, _PATHS, st.sampled_from([b"", NONE, number(1) + NONE, number(2) + NONE])),
    st.builds(lambda one, other: string(one) + string(other), _PATHS, _PATHS),
    st.just(string(b"h") + long(0) + number(5)), st.just(string(b"h")),
)  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from("CT"), st.integers(1, 22) | st.sampled_from([101, 102, 103, 104, 105, 200, 201]),
                          st.integers(0, 4), _CONTENT), max_size=25))  # fmt: skip
def test_whatever_both_say_nothing_goes_on_that_was_not_judged(turns: list[tuple[str, int, int, bytes]]) -> None:
    files = Files({"upload": "deny", "remove": "deny"})
    changing = {sftp.WRITE, sftp.REMOVE, sftp.MKDIR, sftp.RMDIR, sftp.RENAME, sftp.SYMLINK, sftp.SETSTAT, sftp.FSETSTAT}
    with contextlib.suppress(HoopdError):
        for who, kind, id, content in turns:
            (files.say if who == "C" else files.reply)(sftp.packet(kind, id, content))
            for packet in files.forwarded():
                assert packet[4] not in changing
                if packet[4] == sftp.OPEN:
                    reader = sftp.body(packet)
                    assert reader.string().startswith(b"/")
                    assert reader.number() == sftp.FOR_READING
    assert files.core.channel(files.number).client.granted <= WINDOW_MAX
