"""Break glass by an environment variable, as transcripts: nothing runs before the answer, and nothing after a no."""

from __future__ import annotations

from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.messages import ChannelRequest, string
from hoopd.protocols.ssh.operations import Refusal
from hoopd.protocols.ssh.permission import BreakGlass
from hoopd.values import Opening
from tests.protocols.ssh.playbook import Play

OPENING = Opening(
    "G-1", "user:priya", None, "web1", "web.break_glass.sre", ("holds",), "OPS-7", opened_at=0.0, until=1800.0
)


def asked(play: Play, number: int, reason: bytes = b"OPS-7") -> BreakGlass:
    play.request(number, "env", string(b"HOOPD_BREAK_GLASS") + string(reason), want_reply=False)
    (ask,) = play.core.permission.asks
    play.core.permission.asks.clear()
    assert isinstance(ask, BreakGlass)
    return ask


def sent(play: Play) -> list[str]:
    """Kinds of the requests that the target was sent."""
    return [ChannelRequest.read(payload).kind for kind, payload in play.to_target() if kind == messages.REQUEST]


def test_what_follows_waits_until_it_is_open() -> None:
    play = Play()
    number = play.opened()
    ask = asked(play, number)
    assert ask.reason == "OPS-7"
    play.exec(number, b"uptime")
    assert sent(play) == []
    ask.opened(OPENING)
    assert sent(play) == ["exec"]
    said = play.data_to_client()[1].decode()
    assert "break glass G-1 is open until 1970-01-01 00:30:00Z: holds are skipped" in said
    assert "will be reviewed" in said


def test_nothing_runs_where_it_is_refused_and_that_is_on_record() -> None:
    play = Play()
    number = play.opened()
    ask = asked(play, number)
    play.exec(number, b"uptime")
    ask.refused(Refusal("a review is overdue", (), "hoopctl break-glass list"))
    said = play.data_to_client()[1].decode()
    assert "refused: break glass: a review is overdue" in said
    assert sent(play) == []
    ((kind, frame),) = [each for each in play.route.frames if each[0] == "operation"]
    assert (kind, frame["decision"], frame["text"]) == ("operation", "deny", "uptime")
    assert play.route.denied == 1


def test_another_channel_is_not_touched_by_it() -> None:
    play = Play()
    first, second = play.opened(), play.opened(8, 41)
    ask = asked(play, first)
    play.exec(second, b"uptime")
    assert sent(play) == ["exec"]
    ask.refused(Refusal("no"))
    play.exec(first, b"uptime")
    assert sent(play) == []


def test_a_reason_that_cannot_be_read_is_none() -> None:
    for reason in (b"two\nlines", b"\x1b[2J", b"x" * 1001):
        play = Play()
        number = play.opened()
        play.request(number, "env", string(b"HOOPD_BREAK_GLASS") + string(reason))
        assert play.core.permission.asks == []
        play.exec(number, b"uptime")
        assert sent(play) == []
        assert "a reason is one line" in play.data_to_client()[1].decode()


def test_who_closes_meanwhile_runs_nothing() -> None:
    play = Play()
    number = play.opened()
    ask = asked(play, number)
    play.exec(number, b"uptime")
    play.client(messages.CLOSE, messages.number(number))
    ask.opened(OPENING)
    assert "exec" not in sent(play)


def test_its_end_is_told_to_who_sits_at_a_terminal_only() -> None:
    play = Play()
    plain, terminal = play.opened(), play.opened(8, 41)
    play.running(plain)
    play.request(
        terminal, "pty-req", string(b"xterm") + b"".join(map(messages.number, (80, 24, 0, 0))) + string(b""), False
    )
    play.running(terminal)
    play.core.announce("hoopd: break glass G-1 has ended")
    assert play.data_to_client()[1] == b"hoopd: break glass G-1 has ended\r\n"
