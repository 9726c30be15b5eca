"""Copies by commands through the core: listed, not kept as text, and ended where they do not behave."""

from __future__ import annotations

import hashlib
from typing import Any

from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.messages import ChannelRequest, Reader
from tests.protocols.ssh.playbook import Play


class Copying(Play):
    def __init__(self, command: bytes) -> None:
        super().__init__()
        self.number = self.opened()
        self.running(self.number, command)

    def say(self, octets: bytes) -> None:
        self.client(*messages.data(self.number, 0, octets))

    def reply(self, octets: bytes, stream: int = 0) -> None:
        self.target(*messages.data(self.number, stream, octets))

    def ended(self) -> list[dict[str, Any]]:
        self.target(messages.CLOSE, messages.number(self.number))
        return [dict(fields) for kind, fields in self.route.frames if kind == "transfer"]


def upload() -> Copying:
    copying = Copying(b"scp -t /srv/in")
    copying.reply(b"\0")
    copying.say(b"C0644 5 file\n")
    copying.reply(b"\0")
    return copying


def test_an_upload_is_listed_and_not_kept() -> None:
    copying = upload()
    copying.say(b"hello\0")
    copying.reply(b"\0")
    sent = b"".join(messages.read_data(*each)[2] for each in copying.to_target())
    assert sent == b"C0644 5 file\nhello\0"
    (frame,) = copying.ended()
    assert (frame["path"], frame["name"], frame["direction"], frame["via"]) == ("/srv/in", "file", "upload", "scp")
    assert (frame["bytes"], frame["sha256"], frame["whole"]) == (5, hashlib.sha256(b"hello").hexdigest(), True)
    assert "hello" not in str(copying.route.frames)


def test_what_is_cut_off_is_listed_so() -> None:
    copying = upload()
    copying.say(b"hel")
    (frame,) = copying.ended()
    assert (frame["bytes"], frame["whole"], frame["tag"]) == (3, False, "cut off")


def test_a_client_that_leads_elsewhere_ends_its_copy_and_no_more() -> None:
    copying = Copying(b"scp -r -t /srv/in")
    copying.reply(b"\0")
    copying.to_client()
    copying.say(b"C0644 5 ../../etc/cron.d/x\n")
    # what was said does not go there: it is told to stop, and then closed
    ((kind, payload),) = copying.to_target()
    assert (kind, ChannelRequest.read(payload).kind) == (messages.REQUEST, "signal")
    (error, status, *ends) = copying.to_client()
    assert messages.read_data(*error)[2] == b"hoopd: ended: an scp name that leads elsewhere\n"
    assert Reader(ChannelRequest.read(status[1]).details).number() == 126
    assert [kind for kind, _ in ends] == [messages.EOF, messages.CLOSE]
    assert [fields["why"] for kind, fields in copying.route.frames if kind == "decision"] == [
        "an scp name that leads elsewhere"
    ]
    copying.advance(10)
    assert messages.CLOSE in [kind for kind, _ in copying.to_target()]
    copying.to_client()
    # nothing more comes of it, whatever is said
    copying.say(b"C0644 5 x\n")
    copying.reply(b"\0")
    assert copying.to_target() == []
    assert copying.to_client() == []
    other = copying.opened(theirs=8, target=41)
    copying.running(other, b"uptime")


def test_a_target_that_sends_what_was_not_asked_for_ends_the_copy() -> None:
    copying = Copying(b"scp -f /srv/report")
    copying.say(b"\0")
    copying.reply(b"C0644 5 .bashrc\n")
    (error, *_) = copying.to_client()
    assert b"a file that was not asked for" in messages.read_data(*error)[2]
    assert copying.ended() == []


def test_a_download_is_listed() -> None:
    copying = Copying(b"scp -f /srv/report /srv/other")
    copying.say(b"\0")
    copying.reply(b"C0644 2 other\n")
    copying.say(b"\0")
    copying.reply(b"ab\0")
    copying.say(b"\0")
    copying.reply(b"scp: a warning\n", messages.STDERR)
    (frame,) = copying.ended()
    assert (frame["path"], frame["direction"], frame["bytes"], frame["whole"]) == ("/srv/other", "download", 2, True)
    assert ("output", "scp: a warning\n") in [(kind, fields.get("text")) for kind, fields in copying.route.frames]


def test_rsync_is_counted() -> None:
    copying = Copying(b"rsync --server --sender -logDtpre.iLsfxCIvu . /srv/x")
    copying.say(b"\x20\0\0\0")
    copying.reply(b"\x20\0\0\0content")
    (frame,) = copying.ended()
    assert (frame["path"], frame["direction"], frame["via"], frame["bytes"]) == ("/srv/x", "download", "rsync", 11)
    assert (frame["sha256"], frame["whole"], "ranges" in frame) == (None, False, False)
    assert "content" not in str(copying.route.frames)


def test_at_a_terminal_it_is_a_command_like_any_other() -> None:
    play = Play()
    channel = play.opened()
    details = messages.string(b"xterm") + messages.number(80) + messages.number(24) + bytes(8) + messages.string(b"")
    play.request(channel, "pty-req", details)
    play.running(channel, b"scp -t /x")
    play.target(*messages.data(channel, 0, b"whatever"))
    assert play.data_to_client()[0] == b"whatever"
