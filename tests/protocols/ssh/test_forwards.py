"""What is reached through a host, and what comes back from it: permitted one by one, on record, and nothing unasked."""

from __future__ import annotations

import pytest

from hoopd.errors import PeerError, TargetError
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.channels import WINDOW
from hoopd.protocols.ssh.forwards import place
from hoopd.protocols.ssh.global_requests import REPLIES_MAX
from hoopd.protocols.ssh.messages import ChannelRequest, Confirmation, GlobalRequest, Open, number, string
from hoopd.protocols.ssh.runs import Limits
from tests.protocols.ssh.playbook import Play

HERE = string(b"127.0.0.1") + number(50000)


def opening(kind: str, details: bytes) -> bytes:
    return Open(kind, 3, WINDOW, 1000, details).encode()


def kinds(sent: list[tuple[int, bytes]]) -> list[int]:
    return [kind for kind, _ in sent]


def listen(play: Play, port: int, kind: str = "tcpip-forward", host: bytes = b"localhost") -> None:
    details = string(host) + (number(port) if kind.endswith("tcpip-forward") else b"")
    play.client(messages.GLOBAL_REQUEST, GlobalRequest(kind, True, details).encode())


def listening(port: int = 0, chosen: int = 4711) -> Play:
    play = Play()
    listen(play, port)
    assert kinds(play.to_target()) == [messages.GLOBAL_REQUEST]
    play.target(messages.REQUEST_SUCCESS, b"" if port else number(chosen))
    assert kinds(play.to_client()) == [messages.REQUEST_SUCCESS]
    return play


def comes(play: Play, port: int) -> None:
    """Somebody connects to what listens at the target."""
    play.target(messages.OPEN, opening("forwarded-tcpip", string(b"localhost") + number(port) + HERE))


@pytest.mark.parametrize(
    ("host", "port", "said"),
    [
        (b"DB.Example.", 5432, "db.example:5432"),
        (b"::1", 22, "[::1]:22"),
        (b"", 8080, ":8080"),
        (b"\xff\x1b", 1, "\\xff\x1b:1"),
    ],
)
def test_a_destination_is_written_in_one_way(host: bytes, port: int, said: str) -> None:
    assert place(host, port) == said


@pytest.mark.parametrize("details", [b"", string(b"localhost") + number(4711) + HERE])
@pytest.mark.parametrize(
    "kind", ["forwarded-tcpip", "forwarded-streamlocal@openssh.com", "x11", "auth-agent@openssh.com"]
)
def test_a_target_opens_nothing_unasked(kind: str, details: bytes) -> None:
    play = Play()
    play.target(messages.OPEN, opening(kind, details))
    assert kinds(play.to_target()) == [messages.OPEN_FAILURE]
    assert play.to_client() == []
    assert play.route.frames == []


def test_each_connection_that_comes_back_is_on_record_with_size_and_hash() -> None:
    play = listening()
    comes(play, 4711)
    ((kind, payload),) = play.to_client()
    asked = Open.read(payload)
    assert (kind, asked.kind, asked.details) == (
        messages.OPEN, "forwarded-tcpip", string(b"localhost") + number(4711) + HERE,
    )  # fmt: skip
    play.client(messages.OPEN_CONFIRMATION, Confirmation(asked.sender, 9, WINDOW, 1000).encode())
    play.target(messages.DATA, number(asked.sender) + string(b"over here"))
    play.client(messages.DATA, number(asked.sender) + string(b"over there"))
    play.target(messages.CLOSE, number(asked.sender))
    operations = [fields for kind, fields in play.route.frames if kind == "operation"]
    assert [(each["text"], each["classes"]) for each in operations] == [
        ("listen on localhost:0", ["forward-remote"]),
        ("connection to localhost:0 from 127.0.0.1:50000", ["forward-remote"]),
    ]
    sizes = {fields["stream"]: fields["bytes"] for kind, fields in play.route.frames if kind in ("output", "input")}
    assert sizes == {"out": 9, "in": 10}
    assert [fields["bytes"] for kind, fields in play.route.frames if kind == "result"] == [9]


def test_only_the_port_that_listens_is_connected_from() -> None:
    play = listening()
    comes(play, 4712)
    assert kinds(play.to_target()) == [messages.OPEN_FAILURE]
    assert play.to_client() == []


@pytest.mark.parametrize("port", [0, 8080])
def test_nothing_comes_back_once_it_is_cancelled(port: int) -> None:
    play = listening(port, 8080)
    listen(play, 8080, "cancel-tcpip-forward")
    assert kinds(play.to_target()) == [messages.GLOBAL_REQUEST]
    comes(play, 8080)
    assert kinds(play.to_target()) == [messages.OPEN_FAILURE]
    listen(play, 8080, "cancel-tcpip-forward")
    assert play.to_target() == [], "there is nothing to cancel"


def test_a_listener_that_the_target_refuses_gives_nothing() -> None:
    play = Play()
    listen(play, 8080)
    play.to_target()
    play.target(messages.REQUEST_FAILURE, b"")
    comes(play, 8080)
    assert kinds(play.to_target()) == [messages.OPEN_FAILURE]


def test_a_socket_of_the_file_system_is_known_by_its_path() -> None:
    play = Play()
    listen(play, 0, "streamlocal-forward@openssh.com", b"/tmp/one")
    play.target(messages.REQUEST_SUCCESS, b"")
    play.to_target()
    for path, allowed in ((b"/tmp/two", False), (b"/tmp/one", True)):
        play.target(messages.OPEN, opening("forwarded-streamlocal@openssh.com", string(path) + string(b"")))
        assert bool(play.to_target()) is not allowed
    assert kinds(play.to_client()) == [messages.REQUEST_SUCCESS, messages.OPEN]


def test_a_rule_that_came_later_counts_for_the_next_connection() -> None:
    for verdict in ("deny", "hold"):
        play = listening()
        play.verdicts = {"forward-remote": verdict}
        comes(play, 4711)
        assert kinds(play.to_target()) == [messages.OPEN_FAILURE]
        assert play.route.denied == 1


def test_what_comes_of_an_approved_listener_is_not_held_again() -> None:
    play = Play({"forward-remote": "hold"})
    listen(play, 8080)
    (ask,) = play.core.permission.asks
    play.core.permission.asks.clear()
    play.core.permission.released(ask, "A-1")
    play.target(messages.REQUEST_SUCCESS, b"")
    comes(play, 8080)
    assert play.core.permission.asks == []
    assert kinds(play.to_client()) == [messages.REQUEST_SUCCESS, messages.OPEN]
    assert play.route.settled == [("A-1", "executed", "listening")]


@pytest.mark.parametrize(
    ("request_", "kind", "word", "details"),
    [
        ("auth-agent-req@openssh.com", "auth-agent@openssh.com", "forward-agent", b""),
        ("x11-req", "x11", "forward-x11", HERE),
    ],
)
def test_agent_and_x11_are_opened_once_the_target_has_agreed(
    request_: str, kind: str, word: str, details: bytes
) -> None:
    play = Play()
    channel = play.opened()
    play.request(channel, request_)
    play.target(messages.OPEN, opening(kind, details))
    assert kinds(play.to_target()) == [messages.REQUEST, messages.OPEN_FAILURE], "it has not agreed yet"
    play.target(messages.SUCCESS, number(channel))
    play.target(messages.OPEN, opening(kind, details))
    assert kinds(play.to_client()) == [messages.SUCCESS, messages.OPEN]
    assert [fields["classes"] for kind, fields in play.route.frames if kind == "operation"] == [[word], [word]]


def test_an_agent_that_the_target_refuses_is_not_opened() -> None:
    play = Play()
    channel = play.opened()
    play.request(channel, "auth-agent-req@openssh.com")
    play.target(messages.FAILURE, number(channel))
    play.to_target()
    play.target(messages.OPEN, opening("auth-agent@openssh.com", b""))
    assert kinds(play.to_target()) == [messages.OPEN_FAILURE]


def test_connections_that_wait_for_people_are_bounded() -> None:
    play = Play({"forward-local": "hold"}, Limits(channels=3))
    details = string(b"db") + number(5432) + HERE
    for _ in range(5):
        play.client(messages.OPEN, opening("direct-tcpip", details))
    assert len(play.core.permission.asks) == 3
    sent = play.to_client()
    assert [messages.read_open_failure(payload)[1] for _, payload in sent] == [messages.RESOURCE_SHORTAGE] * 2
    for ask in play.core.permission.asks:
        play.core.permission.released(ask, "A-1")
    assert kinds(play.to_target()) == [messages.OPEN] * 3


def test_listeners_are_bounded() -> None:
    play = Play(limits=Limits(channels=3))
    for port in range(1, 6):
        listen(play, port)
    assert kinds(play.to_target()) == [messages.GLOBAL_REQUEST] * 3
    for _ in range(3):
        play.target(messages.REQUEST_SUCCESS, b"")
    listen(play, 9)
    assert play.to_target() == []


def test_answers_keep_their_order_and_a_keep_alive_behind_one_that_waits_is_not_silence() -> None:
    play = Play()
    listen(play, 0)
    play.client(messages.GLOBAL_REQUEST, GlobalRequest("keepalive@openssh.com", True, b"").encode())
    assert kinds(play.to_client()) == [messages.IGNORE]
    play.target(messages.REQUEST_SUCCESS, number(4711))
    assert play.to_client() == [(messages.REQUEST_SUCCESS, number(4711)), (messages.REQUEST_FAILURE, b"")]


def test_requests_behind_one_that_waits_are_bounded() -> None:
    play = Play()
    listen(play, 0)
    with pytest.raises(PeerError):
        for _ in range(REPLIES_MAX):
            play.client(messages.GLOBAL_REQUEST, GlobalRequest("keepalive@openssh.com", True, b"").encode())


def test_an_answer_to_no_request_is_an_error_of_the_target() -> None:
    play = listening()
    with pytest.raises(TargetError):
        play.target(messages.REQUEST_SUCCESS, b"")
    channel = play.opened()
    play.running(channel)
    with pytest.raises(TargetError):
        play.target(messages.SUCCESS, number(channel))
    play.target(messages.REQUEST, ChannelRequest(channel, "exit-status", False, number(0)).encode())
