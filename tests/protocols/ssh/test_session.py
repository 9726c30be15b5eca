"""The core between client and target: what is forwarded, what is not, and what is on record before it is."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import Denied, HoopdError, PeerError, RecordError, TargetError
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.channels import WINDOW
from hoopd.protocols.ssh.messages import ChannelRequest, GlobalRequest, Open, Reader, number, string
from hoopd.protocols.ssh.permission import Ask
from hoopd.protocols.ssh.requests import KEPT_MAX
from hoopd.protocols.ssh.runs import Limits
from tests.protocols.ssh.playbook import Play


def kinds(sent: list[tuple[int, bytes]]) -> list[int]:
    return [kind for kind, _ in sent]


def test_a_command_is_on_record_before_it_is_forwarded() -> None:
    play = Play()
    channel = play.opened()
    play.exec(channel, b"uptime")
    assert play.story == ["operation"]
    ((kind, payload),) = play.to_target()
    request = ChannelRequest.read(payload)
    assert (kind, request.recipient, request.kind, request.details) == (98, 40, "exec", string(b"uptime"))
    _, frame = play.route.frames[0]
    assert (frame["text"], frame["classes"], frame["decision"]) == ("uptime", ["exec"], "allow")


def test_what_cannot_be_recorded_is_not_forwarded() -> None:
    play = Play()
    channel = play.opened()
    play.route.broken = "disk full"
    with pytest.raises(RecordError):
        play.exec(channel, b"uptime")
    assert play.to_target() == []


def test_what_must_be_on_disk_waits_for_it() -> None:
    play = Play()
    play.route.synced = True
    channel = play.opened()
    play.exec(channel, b"rm x")
    assert play.to_target() == []
    (ask,) = play.core.permission.asks
    assert ask.held is None
    play.core.permission.released(ask, None)
    play.core.permission.released(ask, None)
    assert kinds(play.to_target()) == [messages.REQUEST]


def test_a_refusal_is_said_and_the_channel_ends_like_a_command_that_cannot_be_executed() -> None:
    play = Play({"exec": "deny"})
    channel = play.opened()
    play.exec(channel, b"rm x")
    sent = play.to_client()
    assert kinds(sent) == [95, messages.SUCCESS, messages.REQUEST, messages.EOF, messages.CLOSE]
    assert b"because deny [rule web.rule]" in sent[0][1]
    assert ChannelRequest.read(sent[2][1]).details == number(126)
    assert kinds(play.to_target()) == [messages.EOF, messages.CLOSE], "nothing of the command"
    assert play.route.denied == 1


def test_a_held_command_tells_waits_and_runs_once_released() -> None:
    play = Play({"exec": "hold"})
    channel = play.opened()
    play.exec(channel, b"reboot")
    (ask,) = play.core.permission.asks
    assert ask.held is not None
    assert (ask.held.statement, ask.held.context) == (b"exec\0" + string(b"") + string(b"reboot"), "login=app")
    assert ask.tell is not None
    ask.tell("held for approval")
    assert kinds(play.to_client()) == [messages.SUCCESS, 95], "drivers have their reply"
    play.client(messages.DATA, number(channel) + string(b"input"))
    assert play.to_target() == []
    play.core.permission.released(ask, "A-1")
    sent = play.to_target()
    assert kinds(sent) == [messages.REQUEST, messages.DATA], "what was typed meanwhile comes behind"
    play.target(messages.SUCCESS, number(channel))
    assert play.to_client() == [], "answered before"
    play.target(messages.REQUEST, ChannelRequest(channel, "exit-status", False, number(3)).encode())
    play.target(messages.CLOSE, number(channel))
    assert play.route.settled == [("A-1", "executed", "exit 3")]


def test_variables_that_were_let_through_are_part_of_what_is_approved() -> None:
    play = Play({"exec": "hold"})
    channel = play.opened()
    play.request(channel, "env", string(b"DEPLOY") + string(b"to prod"))
    play.exec(channel, b"run")
    ask = play.core.permission.asks[-1]
    assert ask.held is not None
    settings = b"DEPLOY='to prod'"
    assert ask.held.statement == b"exec\0" + string(b"") + string(settings) + string(b"run")
    assert ask.held.redacted == "DEPLOY='to prod' run"


def test_a_held_command_that_is_refused_runs_nothing() -> None:
    play = Play({"exec": "hold"})
    channel = play.opened()
    play.exec(channel, b"reboot")
    (ask,) = play.core.permission.asks
    play.core.permission.refused(ask, Denied("A-1 was denied (not today)", ("web.hold.x",)))
    play.core.permission.released(ask, "A-1")
    assert b"not today" in play.data_to_client()[1]
    assert messages.REQUEST not in kinds(play.to_target())


def test_policy_that_changed_while_people_decided_counts() -> None:
    play = Play({"exec": "hold"})
    channel = play.opened()
    play.exec(channel, b"reboot")
    (ask,) = play.core.permission.asks
    play.verdicts = {"exec": "deny"}
    play.core.permission.released(ask, "A-1")
    assert play.route.settled == [("A-1", "failed", "because deny")]
    assert messages.REQUEST not in kinds(play.to_target())


@pytest.mark.parametrize("how", ["interrupt", "close"])
def test_whoever_interrupts_or_closes_withdraws(how: str) -> None:
    play = Play({"exec": "hold"})
    channel = play.opened()
    play.request(channel, "pty-req", string(b"xterm") + number(80) + number(24) + number(0) * 2 + string(b""))
    play.exec(channel, b"reboot")
    if how == "interrupt":
        play.client(messages.DATA, number(channel) + string(b"\x03"))
    else:
        play.client(messages.CLOSE, number(channel))
    ((withdrawn, _),) = play.withdrawn
    assert withdrawn == channel


def test_a_command_approved_after_its_channel_closed_does_not_run() -> None:
    play = Play({"exec": "hold"})
    channel = play.opened()
    play.exec(channel, b"reboot")
    (ask,) = play.core.permission.asks
    play.client(messages.CLOSE, number(channel))
    play.to_target()
    play.core.permission.released(ask, "A-1")
    assert messages.REQUEST not in kinds(play.to_target())
    assert play.route.settled == [("A-1", "failed", "the requester closed the channel")]


def test_what_is_sent_while_held_is_bounded() -> None:
    play = Play({"exec": "hold"})
    channel = play.opened()
    play.exec(channel, b"reboot")
    with pytest.raises(PeerError, match="too many requests"):
        for _ in range(KEPT_MAX + 1):
            play.request(channel, "signal", string(b"TERM"))
    other = Play({"exec": "hold"})
    channel = other.opened()
    other.exec(channel, b"reboot")
    with pytest.raises(PeerError, match="window"):
        for _ in range(100):
            other.client(messages.DATA, number(channel) + string(bytes(WINDOW // 64)))


def test_output_is_recorded_and_passed_on_and_ends_with_its_status() -> None:
    play = Play()
    channel = play.opened()
    play.running(channel)
    play.target(messages.DATA, number(channel) + string("gr\u00fc".encode()[:3]))
    play.target(messages.DATA, number(channel) + string("\u00fc\n".encode()[1:]))
    play.target(messages.EXTENDED_DATA, number(channel) + number(1) + string(b"\xff"))
    play.target(messages.REQUEST, ChannelRequest(channel, "exit-status", False, number(0)).encode())
    play.target(messages.EOF, number(channel))
    play.target(messages.CLOSE, number(channel))
    assert play.story == ["operation", "output", "output", "output", "result"]
    outputs = [(frame["stream"], frame["text"]) for kind, frame in play.route.frames if kind == "output"]
    assert outputs == [("out", "gr"), ("out", "\u00fc\n"), ("err", {"hex": "ff"})]
    assert play.route.frames[-1][1]["tag"] == "exit 0"
    sent = play.to_client()
    assert kinds(sent) == [94, 94, 95, messages.REQUEST, messages.EOF, messages.CLOSE]


def test_more_than_is_kept_is_named_by_size_and_hash() -> None:
    play = Play(limits=Limits(record_bytes=10))
    channel = play.opened()
    play.running(channel)
    for _ in range(3):
        play.target(messages.DATA, number(channel) + string(b"12345678"))
    play.target(messages.CLOSE, number(channel))
    outputs = [frame for kind, frame in play.route.frames if kind == "output"]
    assert [frame["text"] for frame in outputs] == ["12345678", "12", ""]
    assert (outputs[-1]["bytes"], outputs[-1]["kept"]) == (24, 10)


def test_what_is_typed_at_a_terminal_is_recorded_only_where_that_is_wanted() -> None:
    for wanted in (False, True):
        play = Play(limits=Limits(record_input=wanted))
        channel = play.opened()
        play.request(channel, "pty-req", string(b"xterm") + number(80) + number(24) + number(0) * 2 + string(b""))
        play.target(messages.SUCCESS, number(channel))
        play.request(channel, "shell")
        play.client(messages.DATA, number(channel) + string(b"secret"))
        assert ("secret" in str(play.route.frames)) is wanted


@pytest.mark.parametrize(
    ("kind", "details", "words"),
    [
        ("auth-agent-req@openssh.com", b"", "forward-agent"),
        ("x11-req", b"\0" + string(b"MIT") + string(b"00") + number(0), "forward-x11"),
        ("env", string(b"LD_PRELOAD") + string(b"/tmp/x"), "environment"),
        ("subsystem", string(b"netconf"), "subsystem"),
        ("subsystem", string(b"sftp"), "sftp"),
        ("shell", b"", "shell"),
    ],
)
def test_each_request_is_an_operation_and_refused_unless_opened(kind: str, details: bytes, words: str) -> None:
    play = Play({words: "deny"})
    channel = play.opened()
    play.request(channel, kind, details)
    assert messages.REQUEST not in kinds(play.to_target())
    assert play.route.denied == 1
    again = Play()
    channel = again.opened()
    again.request(channel, kind, details)
    assert messages.REQUEST in kinds(again.to_target())


def test_harmless_variables_pass_and_the_reason_stays_here() -> None:
    play = Play()
    channel = play.opened()
    play.request(channel, "env", string(b"LC_ALL") + string(b"C.UTF-8"), False)
    play.request(channel, "env", string(b"HOOPD_REASON") + string(b"OPS-7"))
    assert len(play.to_target()) == 1
    assert kinds(play.to_client()) == [messages.SUCCESS]
    play.exec(channel, b"ls")
    assert play.route.frames[-1][1]["reason"] == "OPS-7"
    assert play.route.operations == 1
    play.to_target()
    play.request(play.opened(8, 41), "env", string(b"HOOPD_REASON") + string("a\u202eb".encode()))
    assert messages.FAILURE in kinds(play.to_client())


@pytest.mark.parametrize("kind", ["tun@openssh.com", "unknown"])
def test_other_channels_and_requests_are_refused(kind: str) -> None:
    play = Play()
    play.client(messages.OPEN, Open(kind, 3, WINDOW, 1000, b"").encode())
    assert kinds(play.to_client()) == [messages.OPEN_FAILURE]
    channel = play.opened()
    play.request(channel, kind)
    assert kinds(play.to_client()) == [messages.FAILURE]
    assert play.to_target() == []


def test_only_one_command_runs_in_a_channel() -> None:
    play = Play()
    channel = play.opened()
    play.running(channel)
    play.exec(channel, b"second")
    assert kinds(play.to_client()) == [messages.FAILURE]
    assert play.to_target() == []


def test_replies_come_in_the_order_of_their_requests() -> None:
    play = Play()
    channel = play.opened()
    play.request(channel, "env", string(b"LANG") + string(b"C"))
    play.request(channel, "unknown")
    play.request(channel, "env", string(b"LANG") + string(b"D"))
    assert play.to_client() == [], "the first is not answered yet"
    play.target(messages.SUCCESS, number(channel))
    play.target(messages.FAILURE, number(channel))
    assert kinds(play.to_client()) == [messages.SUCCESS, messages.FAILURE, messages.FAILURE]


def test_forwards_open_nothing_before_they_are_judged() -> None:
    details = string(b"db.internal") + number(5432) + string(b"127.0.0.1") + number(1)
    play = Play({"forward-local": "deny"})
    play.client(messages.OPEN, Open("direct-tcpip", 3, WINDOW, 1000, details).encode())
    assert kinds(play.to_client()) == [messages.OPEN_FAILURE]
    assert play.to_target() == []
    assert play.route.frames[0][1]["objects"] == ["db.internal:5432"]
    play = Play()
    play.client(messages.OPEN, Open("direct-tcpip", 3, WINDOW, 1000, details).encode())
    assert kinds(play.to_target()) == [messages.OPEN]
    play = Play({"forward-remote": "deny"})
    play.client(messages.GLOBAL_REQUEST, GlobalRequest("tcpip-forward", True, string(b"") + number(0)).encode())
    assert kinds(play.to_client()) == [messages.REQUEST_FAILURE]
    assert play.to_target() == []


def test_a_broker_away_for_long_refuses() -> None:
    play = Play()
    channel = play.opened()
    play.route.away = "the gateway's broker has been away for 31 s"
    play.exec(channel, b"ls")
    assert b"away for 31 s" in play.data_to_client()[1]


def test_the_end_of_the_session_leaves_what_was_approved_unknown() -> None:
    play = Play({"exec": "hold"})
    channel = play.opened()
    play.exec(channel, b"ls")
    play.core.permission.released(play.core.permission.asks[0], "A-1")
    play.core.close()
    assert play.route.settled == [], "the route says so of all that is open"
    assert play.route.frames[-1][1]["tag"] == "the session ended"


def test_how_a_command_ended_reaches_a_client_that_closed_already() -> None:
    # OpenSSH's client closes once it has seen EOF, and sshd's status comes behind that
    play = Play()
    channel = play.opened()
    play.running(channel)
    play.target(messages.EOF, number(channel))
    play.client(messages.CLOSE, number(channel))
    assert kinds(play.to_client()) == [messages.EOF]
    assert kinds(play.to_target()) == [messages.EOF, messages.CLOSE]
    play.target(messages.REQUEST, ChannelRequest(channel, "exit-status", False, number(3)).encode())
    play.target(messages.CLOSE, number(channel))
    status, close = play.to_client()
    assert (ChannelRequest.read(status[1]).details, close[0]) == (number(3), messages.CLOSE)


def test_who_closes_takes_no_more_data() -> None:
    play = Play()
    channel = play.opened(room=3)
    play.running(channel)
    play.target(messages.DATA, number(channel) + string(b"waits for room"))
    assert play.data_to_client()[0] == b"wai"
    play.client(messages.CLOSE, number(channel))
    play.target(messages.DATA, number(channel) + string(b"late"))
    play.target(messages.CLOSE, number(channel))
    assert kinds(play.to_client()) == [messages.EOF, messages.CLOSE]


def test_nothing_follows_a_close() -> None:
    # clients give the number to their next channel: what the target had under way must not reach that
    play = Play()
    channel = play.opened(room=1)
    play.running(channel)
    play.target(messages.DATA, number(channel) + string(b"waits"))
    play.target(messages.CLOSE, number(channel))
    with pytest.raises(TargetError):
        play.target(messages.REQUEST, ChannelRequest(channel, "exit-status", True, number(0)).encode())
    play = Play()
    channel = play.opened()
    play.running(channel)
    play.client(messages.CLOSE, number(channel))
    play.target(messages.CLOSE, number(channel))
    play.to_client()
    with pytest.raises(TargetError):
        play.target(messages.REQUEST, ChannelRequest(channel, "exit-status", True, number(0)).encode())
    assert play.to_client() == []


def test_who_closes_while_an_operation_is_held_loses_what_came_behind_it_and_no_more() -> None:
    play = Play({"forward-x11": "hold"})
    channel = play.opened()
    play.request(channel, "x11-req")
    play.request(channel, "shell")
    play.client(messages.CLOSE, number(channel))
    assert play.withdrawn
    play.core.permission.refused(play.core.permission.asks[-1], Denied("withdrawn"))
    assert kinds(play.to_client()) == [messages.FAILURE]
    assert kinds(play.to_target()) == [messages.EOF, messages.CLOSE]
    play.target(messages.CLOSE, number(channel))
    assert kinds(play.to_client()) == [messages.EOF, messages.CLOSE]


def test_what_is_kept_while_an_operation_is_held_is_bounded_by_the_window() -> None:
    play = Play({"exec": "hold"})
    channel = play.opened()
    play.exec(channel, b"ls")
    play.client(messages.DATA, number(channel) + string(bytes(WINDOW)))
    # messages that have windows looked at must not make it good
    play.client(messages.WINDOW_ADJUST, messages.window_adjust(channel, 1))
    assert play.to_client() == []
    with pytest.raises(PeerError, match="beyond the window"):
        play.client(messages.DATA, number(channel) + string(b"x"))


def test_while_keys_are_exchanged_data_waits_within_the_window() -> None:
    play = Play()
    channel = play.opened(room=1 << 31)
    play.running(channel)
    play.core.takes(play.core.client_leg, False)
    play.target(messages.DATA, number(channel) + string(bytes(WINDOW)))
    assert (play.to_client(), play.to_target()) == ([], [])
    with pytest.raises(TargetError, match="beyond the window"):
        play.target(messages.DATA, number(channel) + string(b"x"))
    play.core.takes(play.core.client_leg, True)
    assert play.data_to_client()[0] == bytes(WINDOW)
    assert kinds(play.to_target()) == [messages.WINDOW_ADJUST]


def test_clients_have_one_stream() -> None:
    play = Play()
    channel = play.opened()
    with pytest.raises(PeerError, match="extended data"):
        play.client(messages.EXTENDED_DATA, number(channel) + number(1) + string(b"x"))
    with pytest.raises(TargetError, match="unknown kind"):
        play.target(messages.EXTENDED_DATA, number(channel) + number(2) + string(b"x"))


# -- hostile bytes ----------------------------------------------------------------------------------------------

_KINDS = st.sampled_from([80, 81, 82, 90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 5, 50, 255])
_PAYLOADS = st.one_of(
    st.binary(max_size=60),
    st.builds(lambda n, rest: number(n) + rest, st.integers(0, 3), st.binary(max_size=40)),
    st.builds(lambda n, text: number(n) + string(text), st.integers(0, 3), st.binary(max_size=40)),
    st.builds(
        lambda n, kind, want, rest: ChannelRequest(n, kind, want, rest).encode(),
        st.integers(0, 3),
        st.sampled_from(
            ["exec", "shell", "env", "pty-req", "subsystem", "signal", "window-change", "exit-status", "x11-req"]
        ),
        st.booleans(),
        st.one_of(st.binary(max_size=30), st.builds(string, st.binary(max_size=20))),
    ),
    st.builds(
        lambda kind, n: Open(kind, n, WINDOW, 100, b"").encode(), st.sampled_from(["session", "x"]), st.integers(0, 9)
    ),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.booleans(), _KINDS, _PAYLOADS), max_size=12), st.sampled_from(["allow", "hold", "deny"]))
def test_whatever_either_side_sends_ends_in_an_error_of_theirs(
    sent: list[tuple[bool, int, bytes]], verdict: str
) -> None:
    play = Play({"exec": verdict, "shell": verdict})
    channel = play.opened()
    play.running(channel) if verdict == "allow" else None
    before = len(play.route.frames)
    closed: set[tuple[str, int]] = set()
    # whoever opens more channels may give two the same number
    several = any(kind in (messages.OPEN, messages.OPEN_CONFIRMATION) for _, kind, _ in sent)
    for from_client, kind, payload in sent:
        theirs: type[HoopdError] = PeerError if from_client else TargetError
        with contextlib.suppress(theirs):
            (play.client if from_client else play.target)(kind, payload)
        to_target = play.to_target()
        for side, told in (("client", play.to_client()), ("target", to_target)):
            for number_, body in told:
                if number_ > messages.OPEN_FAILURE and not several:
                    assert (side, Reader(body).number()) not in closed, "something follows CLOSE"
                if number_ == messages.CLOSE:
                    closed.add((side, Reader(body).number()))
        for number_, body in to_target:
            if number_ == messages.REQUEST and ChannelRequest.read(body).kind in ("exec", "shell"):
                assert verdict == "allow"
                assert "operation" in [kind for kind, _ in play.route.frames[before:]]


# -- what an approval is of, and what waiting costs -----------------------------------------------------------------


def _statement(play: Play) -> bytes:
    ask = play.core.permission.asks.pop()
    assert isinstance(ask, Ask)
    assert ask.held is not None
    return ask.held.statement


def test_an_approval_of_one_request_is_none_of_another_that_is_written_alike() -> None:
    words = ("exec", "shell", "sftp", "subsystem", "forward-agent", "environment", "forward-x11")
    made: list[tuple[str, bytes]] = [
        ("exec", string(b"shell")),
        ("exec", string(b"subsystem sftp")),
        ("exec", string(b"subsystem other")),
        ("exec", string(b"set A=b")),
        ("exec", string(b"forward the agent")),
        ("exec", string(b"shell\0")),
        ("exec", string(b"shell\0\0")),
        ("shell", b""),
        ("subsystem", string(b"sftp")),
        ("subsystem", string(b"other")),
        ("env", string(b"A") + string(b"b")),
        ("auth-agent-req@openssh.com", b""),
        ("x11-req", b""),
    ]
    found = []
    for kind, details in made:
        play = Play(dict.fromkeys(words, "hold"))
        play.request(play.opened(), kind, details)
        found.append(_statement(play))
    assert len(set(found)) == len(made), found


@pytest.mark.parametrize(("kind", "details"), [("exec", string(b"journalctl")), ("shell", b"")])
def test_what_was_approved_without_a_terminal_is_not_approved_with_one(kind: str, details: bytes) -> None:
    """At a terminal programs begin pagers, in which anything is typed."""
    found = []
    for terminal in (False, True):
        play = Play({"exec": "hold", "shell": "hold"})
        channel = play.opened()
        if terminal:
            play.request(
                channel, "pty-req", string(b"xterm") + number(80) + number(24) + number(0) + number(0) + string(b"")
            )
        play.request(channel, kind, details)
        found.append(_statement(play))
    assert found[0] != found[1]


def test_variables_that_a_shell_gets_are_part_of_what_is_approved() -> None:
    found = []
    for value in (b"a", b"b"):
        play = Play({"shell": "hold"})
        channel = play.opened()
        play.request(channel, "env", string(b"PROMPT_COMMAND") + string(value))
        play.request(channel, "shell")
        found.append(_statement(play))
    assert found[0] != found[1]


def test_ends_that_are_said_over_and_over_while_an_operation_is_held_cost_nothing() -> None:
    play = Play({"exec": "hold"})
    channel = play.opened()
    play.exec(channel, b"cat")
    play.client(messages.EOF, number(channel))
    with pytest.raises(PeerError, match="end"):
        play.client(messages.EOF, number(channel))


def test_nothing_is_taken_behind_an_end_that_waits() -> None:
    play = Play({"exec": "hold"})
    channel = play.opened()
    play.exec(channel, b"cat")
    play.client(messages.EOF, number(channel))
    with pytest.raises(PeerError, match="after its end"):
        play.client(messages.DATA, number(channel) + string(b"x"))
