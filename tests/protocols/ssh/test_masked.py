"""Masked output of what runs: the client's view, the record's, time, failures, and limits that end it."""

from __future__ import annotations

from typing import Any

import pytest

from hoopd.masking.finders import Finders
from hoopd.masking.redactors import Redactors, full, last4
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.masked import REST, REST_TERMINAL
from hoopd.protocols.ssh.messages import ChannelRequest, number, string
from hoopd.protocols.ssh.runs import FAILED_STATUS, KILL_AFTER, OUTPUT_STATUS, TIME_STATUS
from hoopd.protocols.ssh.views import NONE, Views
from hoopd.values import Limits, Mask, Operation
from tests.protocols.ssh.playbook import Play

CARD = b"4111111111111111"
FINDERS = Finders([("card", last4)])
RECORD = Finders([("card", full)])
KEYS = Finders([("key", full)])
SCANNER = Redactors(bytes(16)).scanner((Mask("web.mask.card", (), "full", detect=("card",)),))


class Seen:
    """What L{hoopd.protocols.ssh.views.Viewing} is to the core."""

    def __init__(self, views: Views) -> None:
        self.views = views

    def __call__(self, operation: Operation | None = None) -> Views:
        return self.views

    def redacted(self, text: bytes) -> bytes:
        return SCANNER(text)

    def rules(self) -> tuple[str, ...]:
        return ("web.mask.card",)

    def would(self) -> tuple[str, ...]:
        return ()


SAME = Views(FINDERS, FINDERS)


def running(views: Views = SAME, pty: bool = False, **more: Any) -> tuple[Play, int]:
    play = Play(viewing=Seen(views), **more)
    channel = play.opened()
    if pty:
        play.request(
            channel, "pty-req", string(b"xterm") + number(80) + number(24) + number(0) + number(0) + string(b"")
        )
        play.target(messages.SUCCESS, number(channel))
    play.running(channel)
    return play, channel


def data(channel: int, octets: bytes) -> bytes:
    return number(channel) + string(octets)


def said(play: Play, channel: int, *pieces: bytes) -> bytes:
    for piece in pieces:
        play.target(messages.DATA, data(channel, piece))
    return play.data_to_client()[0]


def recorded(play: Play, kind: str = "output") -> str:
    return "".join(fields["text"] for name, fields in play.route.frames if name == kind)


def over(play: Play, channel: int, status: int = 0) -> bytes:
    play.target(messages.REQUEST, ChannelRequest(channel, "exit-status", False, number(status)).encode())
    play.target(messages.EOF, number(channel))
    shown = play.data_to_client()[0]
    play.target(messages.CLOSE, number(channel))
    return shown


def test_a_value_in_two_packets_is_masked_for_client_and_record() -> None:
    play, channel = running()
    assert said(play, channel, b"card 4111", b"11111111") == b"card "
    assert said(play, channel, b"1111, ok\n") == b"****1111, ok\n"
    assert recorded(play) == "card ****1111, ok\n"


def test_both_streams_are_masked_each_by_itself() -> None:
    play, channel = running()
    play.target(messages.DATA, data(channel, CARD[:8]))
    play.target(messages.EXTENDED_DATA, number(channel) + number(1) + string(b"error " + CARD + b"\n"))
    assert play.data_to_client() == {0: b"", 1: b"error ****1111\n"}
    assert said(play, channel, CARD[8:] + b"\n") == b"****1111\n"


def test_what_is_held_comes_with_the_end_and_not_with_the_status_which_output_may_follow() -> None:
    play, channel = running()
    assert said(play, channel, CARD[:15]) == b""
    play.target(messages.REQUEST, ChannelRequest(channel, "exit-status", False, number(0)).encode())
    assert play.data_to_client()[0] == b""
    assert said(play, channel, CARD[15:] + b"\n") == b"****1111\n"
    play, channel = running()
    assert said(play, channel, b"42") == b""
    assert over(play, channel) == b"42"
    assert recorded(play) == "42"
    assert play.route.frames[-1][1]["bytes"] == 2


def test_a_client_that_sees_values_has_them_at_once_and_the_record_does_not() -> None:
    play, channel = running(Views(None, RECORD))
    assert said(play, channel, CARD[:8], CARD[8:]) == CARD
    over(play, channel)
    assert recorded(play) == "****"
    assert play.route.frames[-1][1]["bytes"] == len(CARD)


@pytest.mark.parametrize(("pty", "rest"), [(True, REST_TERMINAL), (False, REST)])
def test_what_is_held_comes_after_a_moment_as_far_as_it_may(pty: bool, rest: float) -> None:
    play, channel = running(pty=pty)
    assert said(play, channel, b"amount 4") == b"amount "
    play.advance(rest / 2)
    assert play.data_to_client()[0] == b""
    play.advance(rest)
    assert play.data_to_client()[0] == b"4"
    assert play.waiting == []
    assert said(play, channel, CARD[1:]) == b""
    play.advance(rest)
    assert play.data_to_client()[0] == b""
    assert said(play, channel, b"\n") == b"****\n"
    assert recorded(play) == "amount 4****\n"


def test_a_prompt_does_not_wait() -> None:
    play, channel = running(pty=True)
    assert said(play, channel, b"Password: ") == b"Password: "
    assert play.waiting == []


def test_masks_that_begin_or_end_while_it_runs_count_from_then_on() -> None:
    play, channel = running(NONE)
    seen = play.core.permission.viewing
    assert said(play, channel, CARD + b"\n") == CARD + b"\n"
    seen.views = SAME
    assert said(play, channel, CARD + b"\n4111") == b"****1111\n"
    seen.views = Views(None, FINDERS)
    assert said(play, channel, CARD + b"\n") == b"4111" + CARD + b"\n"
    over(play, channel)
    assert recorded(play) == CARD.decode() + "\n****1111\n4111****1111\n"


def test_half_a_value_is_not_shown_where_masks_change_or_the_session_ends() -> None:
    play, channel = running()
    assert said(play, channel, CARD[:15]) == b""
    play.core.permission.viewing.views = Views(RECORD, RECORD)
    assert said(play, channel, CARD[15:] + b"\n") == b"411111****1\n"
    assert said(play, channel, CARD[:15]) == b""
    play.core.close()
    assert recorded(play) == "411111****1\n411111****"


def test_a_private_key_is_hidden_to_its_end_where_masks_change_within() -> None:
    keys = Views(KEYS, KEYS)
    play, channel = running(keys)
    assert said(play, channel, b"-----BEGIN PRIVATE KEY-----\nMIIEvQIB\n") == b"****"
    play.core.permission.viewing.views = SAME
    assert said(play, channel, b"ADANBgkq\n", b"-----END PRIVATE KEY-----\nend\n") == b"\nend\n"
    assert recorded(play) == "****\nend\n"


def test_half_a_value_is_not_shown_where_a_limit_cuts_it() -> None:
    play, channel = running(obligations=Limits(max_bytes=20, bytes_rule="web.allow.x"))
    shown = said(play, channel, b"card " + CARD + b"\n")
    assert shown == b"card 411111****"
    assert recorded(play) == "card 411111****"


def test_a_masker_that_fails_ends_the_command_and_nothing_passes() -> None:
    def broken(value: bytes) -> bytes:
        raise KeyError(value)

    play, channel = running(Views(Finders([("card", broken)]), None))
    play.target(messages.DATA, data(channel, b"before\n" + CARD + b" after\n"))
    sent = play.to_client()
    text = b"".join(payload for _, payload in sent)
    assert CARD not in text
    assert b"after" not in text
    assert b"hoopd: ended: its output could not be masked: KeyError" in text
    statuses = [ChannelRequest.read(payload) for kind, payload in sent if kind == messages.REQUEST]
    assert [(each.kind, each.details) for each in statuses] == [("exit-status", number(FAILED_STATUS))]
    assert messages.CLOSE in [kind for kind, _ in sent]
    assert CARD.decode() not in str(play.route.frames)
    play.target(messages.DATA, data(channel, b"more\n"))
    assert play.to_client() == []


def test_what_is_recorded_of_input_is_masked_and_the_target_has_it_as_it_was() -> None:
    play, channel = running(Views(None, RECORD))
    for piece in (CARD[:5], CARD[5:], b"\n"):
        play.client(messages.DATA, data(channel, piece))
    assert b"".join(messages.read_data(*each)[2] for each in play.to_target()) == CARD + b"\n"
    assert recorded(play, "input") == "****\n"


def test_the_text_of_a_command_is_recorded_logged_and_held_without_values() -> None:
    play = Play({"exec": "hold"}, viewing=Seen(SAME))
    channel = play.opened()
    play.exec(channel, b"echo " + CARD)
    (ask,) = play.core.permission.asks
    assert ask.held is not None
    assert ask.held.redacted == "echo ****"
    assert ask.held.statement == b"exec\0" + string(b"") + string(b"echo " + CARD)
    play.core.permission.released(ask, "A-1")
    assert CARD.decode() not in str(play.route.frames) + str(play.route.events)
    _, frame = play.route.frames[0]
    assert (frame["text"], frame["masks"]) == ("echo ****", ["web.mask.card"])


def test_a_value_where_a_long_command_is_cut_is_not_shown_in_part() -> None:
    play = Play(viewing=Seen(SAME))
    channel = play.opened()
    play.exec(channel, b"echo " + b"x" * 8177 + b" " + CARD)
    assert "4111" not in play.route.frames[0][1]["text"]


# -- limits ----------------------------------------------------------------------------------------------------


def ended(play: Play) -> tuple[bytes, int]:
    """What the client read on standard error, and the status that it was told."""
    sent = play.to_client()
    text = b"".join(messages.read_data(*each)[2] for each in sent if each[0] == messages.EXTENDED_DATA)
    (status,) = [ChannelRequest.read(payload) for kind, payload in sent if kind == messages.REQUEST]
    assert status.kind == "exit-status"
    return text, int.from_bytes(status.details, "big")


def signals(play: Play) -> list[bytes]:
    requests = [ChannelRequest.read(payload) for kind, payload in play.to_target() if kind == messages.REQUEST]
    return [each.details for each in requests if each.kind == "signal"]


def test_output_ends_at_max_bytes() -> None:
    play, channel = running(NONE, obligations=Limits(max_bytes=10, bytes_rule="web.allow.x"))
    assert said(play, channel, b"12345") == b"12345"
    play.target(messages.DATA, data(channel, b"6789012345"))
    kept = play.core.to_client[0]
    assert messages.read_data(*kept)[2] == b"67890"
    text, status = ended(play)
    assert text == b"hoopd: ended: more than 10 bytes of output [rule web.allow.x]\n"
    assert status == OUTPUT_STATUS
    assert signals(play) == [string(b"TERM")]
    assert recorded(play) == "1234567890"
    decision = next(fields for kind, fields in play.route.frames if kind == "decision")
    assert (decision["rules"], decision["why"]) == (["web.allow.x"], "more than 10 bytes of output")
    assert "operation.limited" in [name for name, _ in play.route.events]
    play.target(messages.DATA, data(channel, b"more"))
    play.target(messages.REQUEST, ChannelRequest(channel, "exit-signal", False, string(b"TERM")).encode())
    assert play.to_client() == []


def test_what_takes_longer_than_max_time_is_ended_here_and_at_the_target() -> None:
    play, channel = running(obligations=Limits(max_time=5.0, time_rule="web.allow.x"))
    said(play, channel, b"partly 41")
    play.advance(5.0)
    assert signals(play) == [string(b"TERM")]
    play.advance(KILL_AFTER)
    sent = play.to_target()
    assert string(b"KILL") in b"".join(payload for _, payload in sent)
    assert [kind for kind, _ in sent] == [messages.REQUEST, messages.CLOSE]
    assert play.route.frames[-1][1]["tag"] == "ended by the gateway: it took longer than 5 s"


def test_what_ends_in_time_is_left_alone() -> None:
    play, channel = running(obligations=Limits(max_time=5.0, time_rule="web.allow.x"))
    over(play, channel)
    play.to_client()
    play.advance(10.0)
    assert play.to_client() == []
    assert play.waiting == []


def test_time_tells_status_and_reason() -> None:
    play, _ = running(obligations=Limits(max_time=5.0, time_rule="web.allow.x"))
    play.advance(5.0)
    assert ended(play) == (b"hoopd: ended: it took longer than 5 s [rule web.allow.x]\n", TIME_STATUS)


def test_limits_bind_forwards_too() -> None:
    play = Play(obligations=Limits(max_bytes=3, bytes_rule="web.allow.x"))
    details = string(b"db") + number(5432) + string(b"127.0.0.1") + number(1)
    play.client(messages.OPEN, messages.Open("direct-tcpip", 7, 1 << 20, 1 << 15, details).encode())
    ((_, payload),) = play.to_target()
    channel = messages.Open.read(payload).sender
    play.target(messages.OPEN_CONFIRMATION, messages.Confirmation(channel, 40, 1 << 20, 1 << 15).encode())
    play.to_client()
    play.target(messages.DATA, data(channel, b"12345"))
    assert [kind for kind, _ in play.to_client()] == [messages.DATA, messages.EOF, messages.CLOSE]
    play.advance(KILL_AFTER)
    assert [kind for kind, _ in play.to_target()] == [messages.CLOSE]
