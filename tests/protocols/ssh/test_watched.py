"""Watched shells as transcripts: what is typed, what the host shows, what goes on to the host and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.errors import Denied
from hoopd.protocols.ssh import messages
from hoopd.protocols.ssh.channels import WINDOW
from hoopd.protocols.ssh.messages import number, string
from hoopd.protocols.ssh.runs import Limits
from hoopd.values import Decision
from tests.protocols.ssh.playbook import HOLD, Judged, Play

ON, OFF = b"\x1b[?2004h", b"\x1b[?2004l"
PROMPT = b"x@web:~$ "


def modes(**values: int) -> bytes:
    codes = {"intr": 1, "eol": 6, "lnext": 14, "icrnl": 36, "ixon": 38, "echo": 53}
    return b"".join(bytes([codes[name]]) + number(value) for name, value in values.items()) + b"\0"


class Watching(Play):
    """A watched shell at its first prompt. @param judge: by the text of a line"""

    def __init__(
        self,
        judge: Callable[[Any], str] = lambda operation: "allow",
        *,
        terminal: bytes = b"xterm-256color",
        size: tuple[int, int] = (80, 24),
        encoded: bytes = b"\0",
        pty: bool = True,
        limits: Limits | None = None,
    ) -> None:
        super().__init__(limits=limits)
        self.decide = judge
        self.channel = self.opened()
        if pty:
            asked = string(terminal) + number(size[0]) + number(size[1]) + number(0) * 2 + string(encoded)
            self.request(self.channel, "pty-req", asked)
            self.target(messages.SUCCESS, number(self.channel))
        self.request(self.channel, "shell")
        self.begun = any(kind == messages.REQUEST and b"shell" in payload for kind, payload in self.to_target())
        if self.begun:
            self.target(messages.SUCCESS, number(self.channel))
            self.host(ON + PROMPT)
            self.to_client()

    def _judge(self, operation: Any) -> Judged:
        if operation.classes == {"shell"}:
            return Judged(Decision("allow", ("web.allow.shell",), watched=True))
        verdict: Any = self.decide(operation)
        return Judged(Decision(verdict, ("web.rule",), f"because {verdict}", "", HOLD if verdict == "hold" else ()))

    def type(self, octets: bytes) -> bytes:
        """@return: what went on to the host"""
        self.client(messages.DATA, number(self.channel) + string(octets))
        return self.sent()

    def host(self, octets: bytes) -> bytes:
        self.target(messages.DATA, number(self.channel) + string(octets))
        return self.sent()

    def wait(self, seconds: float) -> bytes:
        end = self.now + seconds
        while self.waiting and min(each[0] for each in self.waiting) <= end:
            self.advance(min(each[0] for each in self.waiting) - self.now)
        self.now = end
        return self.sent()

    def sent(self) -> bytes:
        return b"".join(
            messages.read_data(kind, payload)[2] for kind, payload in self.to_target() if kind == messages.DATA
        )

    def said(self) -> bytes:
        return self.data_to_client()[1]

    def entered(self, line: bytes) -> bytes:
        """A line whose echo comes before Enter. @return: what Enter made go on"""
        assert self.type(line) == line
        self.host(line)
        return self.type(b"\r")

    def took(self, output: bytes = b"") -> bytes:
        """The shell has taken the line, and is at its prompt again."""
        return self.host(b"\r\n" + OFF + b"\r" + output + ON + PROMPT)

    def operations(self) -> list[tuple[str, str]]:
        return [
            (fields["text"], fields["decision"])
            for kind, fields in self.route.frames
            if kind == "operation" and fields["classes"] != ["shell"]
        ]


def refuse(*texts: str) -> Callable[[Any], str]:
    return lambda operation: "deny" if operation.text in texts or "command" not in operation.facts else "allow"


def test_keys_go_on_at_once_and_enter_when_the_line_is_on_record() -> None:
    play = Watching()
    assert play.type(b"up") == b"up"
    play.host(b"up")
    assert play.type(b"time") == b"time"
    play.host(b"time")
    assert play.operations() == []
    assert play.type(b"\r") == b"\r"
    assert play.operations() == [("uptime", "allow")]
    assert play.route.frames[-1][1]["classes"] == ["exec"]


def test_enter_waits_for_the_echo_and_no_longer() -> None:
    play = Watching()
    assert play.type(b"ls\r") == b"ls"
    assert play.host(b"l") == b""
    assert play.host(b"s") == b"\r"
    assert play.operations() == [("ls", "allow")]


def test_a_line_that_is_refused_is_taken_away_and_so_is_what_was_typed_behind_it() -> None:
    play = Watching(refuse("rm x"))
    assert play.type(b"rm x\rls\r") == b"rm x"
    assert play.host(b"rm x") == b"\x03"
    assert b"\r\nhoopd: refused: because deny [rule web.rule]" in play.said()
    assert play.host(b"^C\r\n" + OFF + b"\r" + ON + PROMPT) == b""
    assert play.operations() == [("rm x", "deny")]
    assert play.entered(b"ls") == b"\r"


def test_lines_of_one_packet_are_judged_one_by_one() -> None:
    play = Watching(refuse("rm x"))
    assert play.type(b"ls\nrm x\necho\n") == b"ls"
    assert play.host(b"ls") == b"\n"
    assert play.took() == b"rm x"
    assert play.host(b"rm x") == b"\x03"
    assert play.operations() == [("ls", "allow"), ("rm x", "deny")]


def test_a_paste_is_typed_line_by_line() -> None:
    play = Watching()
    assert play.type(b"\x1b[200~ls\ru\x1b[201~") == b"ls"
    assert play.host(b"ls") == b"\r"
    assert play.took() == b"u"


@pytest.mark.parametrize("cut", range(1, 6))
def test_brackets_around_a_paste_do_not_arrive_in_pieces_either(cut: int) -> None:
    play = Watching(refuse("rm x"))
    bracket = b"\x1b[200~"
    sent = play.type(bracket[:cut]) + play.type(bracket[cut:] + b"rm x\r")
    assert bracket not in sent
    assert b"\r" not in sent + play.host(b"rm x")
    assert b"200~" not in sent


def test_what_runs_or_edits_out_of_sight_does_not_go_on() -> None:
    play = Watching()
    for key in (b"\x0f", b"\x16", b"\x18"):
        assert play.type(b"l" + key + b"\x05") == b"l\x05"
        assert b"\x07" in play.data_to_client()[0]


def test_a_held_line_waits_in_the_terminal_and_goes_on_as_it_was_approved() -> None:
    play = Watching(lambda operation: "hold")
    assert play.entered(b"reboot") == b""
    (ask,) = play.core.permission.asks
    assert ask.held is not None
    assert ask.held.redacted == "reboot"
    assert PROMPT in ask.held.statement, "an approval is for this place"
    assert ask.tell is not None
    ask.tell("held for approval")
    assert play.said() == b"\r\nheld for approval\r\n"
    assert play.type(b"; rm x") == b""
    play.core.permission.released(ask, "A-1")
    assert play.sent() == b"\r", "what was typed meanwhile comes once the shell has taken the line"
    assert play.route.settled == [("A-1", "executed", "typed in a shell")]
    assert play.took() == b"; rm x"


def test_a_line_that_changed_while_people_decided_does_not_run() -> None:
    play = Watching(lambda operation: "hold")
    assert play.entered(b"echo a") == b""
    (ask,) = play.core.permission.asks
    play.host(b"\bb")
    play.core.permission.released(ask, "A-1")
    assert play.sent() == b"\x03"
    assert b"another than the one that was decided on" in play.said()
    assert play.route.settled[0][:2] == ("A-1", "failed")


def test_ctrl_c_withdraws_what_waits() -> None:
    play = Watching(lambda operation: "hold")
    play.entered(b"reboot")
    (ask,) = play.core.permission.asks
    assert play.type(b"\x03") == b""
    assert play.withdrawn == [(play.channel, "the requester interrupted it")]
    play.core.permission.refused(ask, Denied("withdrawn"))
    assert play.sent() == b"\x03"
    play.took()
    assert play.entered(b"x") == b""


def test_a_shell_that_ends_while_a_line_waits_withdraws_it() -> None:
    play = Watching(lambda operation: "hold")
    play.entered(b"reboot")
    play.target(messages.CLOSE, number(play.channel))
    assert play.withdrawn == [(play.channel, "the shell ended")]
    (ask,) = play.core.permission.asks
    play.core.permission.released(ask, "A-1")
    assert play.sent() == b""
    assert play.route.settled[-1][:2] == ("A-1", "failed")


def test_what_is_typed_and_not_shown_is_opaque_at_a_prompt() -> None:
    play = Watching(refuse())
    assert play.type(b"rm x\r") == b"rm x"
    assert play.wait(5) == b"\x03"
    ((text, decision),) = play.operations()
    assert (text, decision) == ("(a line that cannot be read: what was typed is not shown)", "deny")


def test_a_password_goes_to_the_program_that_asks_and_is_nowhere_on_record() -> None:
    play = Watching(refuse(), limits=Limits(record_input=True))
    play.entered(b"sudo id")
    play.host(b"\r\n" + OFF + b"\r[sudo] password for x: ")
    assert play.type(b"hunter2\r") == b"hunter2"
    assert play.wait(0.5) == b"\r"
    play.host(b"\r\nuid=0\r\n" + ON + PROMPT)
    assert play.operations() == [("sudo id", "allow")]
    play.core.close()
    assert "hunter2" not in repr(play.route.frames)


def test_stars_for_a_password_are_none_of_its_business_either() -> None:
    play = Watching(refuse())
    play.entered(b"sudo id")
    play.host(b"\r\n" + OFF + b"\r[sudo] password for x: ")
    play.type(b"abc")
    play.host(b"***")
    assert play.type(b"\r") + play.wait(2) == b"\r"
    assert play.operations() == [("sudo id", "allow")]


def test_a_question_is_answered_in_words_that_are_judged() -> None:
    play = Watching(refuse("n"))
    play.entered(b"apt remove x")
    play.host(b"\r\n" + OFF + b"\rContinue? [Y/n] ")
    assert play.entered(b"y") == b"\r"
    assert play.operations()[-1] == ("y", "allow")


def test_enter_alone_runs_nothing_and_is_not_judged() -> None:
    play = Watching(refuse(""))
    assert play.type(b"\r") == b"\r"
    play.took()
    assert play.type(b"ab\x7f\x7f\r") == b"ab\x7f\x7f\r"
    assert play.operations() == []


def test_history_is_read_from_the_screen() -> None:
    play = Watching(refuse("rm x"))
    assert play.type(b"\x1b[A") == b"\x1b[A"
    play.host(b"rm x")
    assert play.type(b"\r") + play.wait(1) == b"\x03"
    assert play.operations() == [("rm x", "deny")]


def test_searching_in_history_is_read_as_what_is_found() -> None:
    play = Watching(refuse("rm x"))
    play.type(b"\x12r")
    play.host(b"\r\x1b[K(reverse-i-search)`r': rm x\b\b\b\b")
    assert play.type(b"\r") + play.wait(1) == b"\x03"


def test_what_readline_draws_wrongly_while_it_searches_is_not_read() -> None:
    play = Watching(refuse())
    play.type(b"\x12x")
    play.host("\r\x1b[K(reverse-i-search)`x': echo x漢字".encode())
    assert play.type(b"\r") + play.wait(1) == b"\x03"


def test_a_list_of_what_a_word_may_be_stands_between() -> None:
    play = Watching(refuse("cat shadow"))
    play.type(b"cat sh")
    play.host(b"cat sh")
    play.type(b"\t\t")
    play.host(b"\r\nshadow  shells\r\n" + PROMPT + b"cat sh")
    play.type(b"a\t")
    play.host(b"adow ")
    assert play.type(b"\r") + play.wait(1) == b"\x03"
    assert play.operations() == [("cat shadow", "deny")]


def test_a_line_goes_over_several_rows() -> None:
    play = Watching(refuse("rm x"), size=(40, 10))
    line = b"echo " + b"a" * 70
    assert play.entered(line) == b"\r"
    assert play.operations() == [(line.decode(), "allow")]


def test_what_is_painted_over_the_line_does_not_hide_it() -> None:
    play = Watching(refuse("rm x"))
    play.type(b"rm x")
    play.host(b"rm x")
    play.host(b"\r\x1b[K" + PROMPT + b"ls")
    assert play.type(b"\r") + play.wait(5) == b"\x03"
    assert play.operations()[0][0].startswith("(a line that cannot be read: what stands on the screen is not what")


@pytest.mark.parametrize(
    "painted", [b"\x1b[?7l", b"\x1b(0", b"\x1b[2;5r", b"\x1b[?1049h", b"\x1bPq\x1b\\", b"\x1b[?69h"]
)
def test_a_screen_that_is_not_followed_is_opaque(painted: bytes) -> None:
    play = Watching(refuse())
    play.type(b"l")
    play.host(b"l" + painted)
    play.type(b"s")
    play.host(b"s")
    assert play.type(b"\r") + play.wait(5) == b"\x03"


def test_a_line_that_enter_did_not_end_is_not_forgotten() -> None:
    play = Watching(refuse("cat /etc/shadow"))
    play.type(b"cat /etc/sha\x1b")
    play.host(b"cat /etc/sha")
    assert play.type(b"\r") + play.wait(1) == b"\r"
    play.wait(2)
    play.type(b"dow")
    play.host(b"dow")
    assert play.type(b"\r") + play.wait(5) == b"\x03"


def test_an_interrupt_that_nobody_heeds_does_not_end_a_line() -> None:
    play = Watching(refuse("cat /etc/shadow"))
    play.type(b"cat /etc/sha")
    play.host(b"cat /etc/sha")
    play.type(b"\x1a")
    play.wait(2)
    play.type(b"dow")
    play.host(b"dow")
    assert play.type(b"\r") + play.wait(5) == b"\x03"


@pytest.mark.parametrize("key", [b"\x1a", b"\x1c"])
def test_a_line_that_was_to_be_suspended_stays_whatever_is_shown(key: bytes) -> None:
    play = Watching(refuse("rm x"))
    play.type(b"rm x")
    play.host(b"rm x")
    play.type(key)
    # a program in the background writes what a shell does that takes a line
    play.host(OFF + ON)
    assert play.type(b"\r") == b""
    assert play.wait(5) == b"\x03"
    assert play.operations()[0][1] == "deny"


def test_what_is_typed_to_a_program_that_a_rule_opened_is_not_judged_until_the_prompt_is_back() -> None:
    play = Watching(refuse("rm x"))
    assert play.entered(b"python3") == b"\r"
    play.host(b"\r\n" + OFF + b"\r>>> ")
    assert play.type(b"import os\r") == b"import os\r"
    play.host(b"import os\r\n>>> ")
    assert play.type(b"\x04") == b"\x04"
    play.host(b"\r\n" + ON + PROMPT)
    assert play.entered(b"rm x") == b"\x03"


def test_an_editor_is_left_alone_and_its_end_is_seen() -> None:
    play = Watching(refuse("rm x"))
    assert play.entered(b"vim f") == b"\r"
    play.host(b"\r\n" + OFF + b"\r\x1b[?1049h\x1b[2J\x1b[Hcosts 5 $")
    assert play.type(b"irm x\r\x1b:wq\r") == b"irm x\r\x1b:wq\r"
    play.host(b"\x1b[?1049l" + ON + PROMPT)
    assert play.entered(b"rm x") == b"\x03"


def test_a_screen_of_its_own_is_no_editor_because_it_is_shown() -> None:
    play = Watching(refuse("rm x"))
    play.entered(b"printf x")
    play.took(b"\x1b[?1049h")
    assert play.entered(b"rm x") == b"\x03"


def test_keys_that_a_program_took_are_no_part_of_the_next_line() -> None:
    play = Watching(refuse())
    play.entered(b"journalctl")
    play.host(b"\r\n" + OFF + b"\r\x1b[?1049h\x1b[Hlog\r\n:")
    assert play.type(b"jjq") == b"jjq"
    play.host(b"\x1b[?1049l\r\n" + ON + PROMPT)
    assert play.entered(b"ls") == b"\r"
    assert play.operations()[-1] == ("ls", "allow")


def test_what_was_typed_before_the_prompt_is_part_of_the_line() -> None:
    play = Watching(refuse("rm x"))
    play.entered(b"sleep 1")
    play.host(b"\r\n" + OFF + b"\r")
    play.type(b"rm ")
    play.host(b"rm ")
    play.host(b"\r\n" + ON + PROMPT + b"rm ")
    assert play.type(b"x") == b"x"
    play.host(b"x")
    assert play.type(b"\r") + play.wait(5) == b"\x03"
    assert play.operations()[-1] == ("rm x", "deny")


def test_the_end_of_a_file_ends_a_line_where_the_shell_does_not_read_keys() -> None:
    play = Watching(refuse("rm x"))
    play.entered(b"cat")
    play.host(b"\r\n" + OFF + b"\r")
    play.type(b"rm x")
    play.host(b"rm x")
    assert play.type(b"\x04") + play.wait(5) == b"\x03"


def test_a_resize_is_followed() -> None:
    play = Watching(refuse("rm x"))
    play.type(b"rm x")
    play.host(b"rm x")
    play.request(play.channel, "window-change", number(60) + number(20) + number(0) * 2, False)
    play.host(b"\r\x1b[K" + PROMPT + b"rm x")
    assert play.type(b"\r") + play.wait(5) == b"\x03"
    assert play.operations() == [("rm x", "deny")]


@pytest.mark.parametrize("size", [(1, 1), (5, 24), (80, 1), (100000, 100000)])
def test_a_terminal_that_cannot_be_read_makes_lines_opaque(size: tuple[int, int]) -> None:
    play = Watching(refuse(), size=size)
    play.type(b"ls")
    play.host(b"ls")
    assert play.type(b"\r") + play.wait(5) == b"\x03"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"pty": False}, b"takes a terminal"),
        ({"terminal": b"dumb"}, b"TERM=xterm"),
        ({"terminal": b""}, b"TERM=xterm"),
        ({"encoded": modes(echo=0)}, b"ordinary keys"),
        ({"encoded": modes(intr=ord("x"))}, b"ordinary keys"),
        ({"encoded": modes(eol=ord("x"))}, b"ordinary keys"),
        ({"encoded": modes(lnext=ord("x"))}, b"ordinary keys"),
        ({"encoded": modes(icrnl=0)}, b"ordinary keys"),
    ],
)
def test_a_shell_that_cannot_be_watched_does_not_begin(more: dict[str, Any], why: bytes) -> None:
    play = Watching(**more)
    assert not play.begun
    assert why in play.said()


def test_ordinary_terminals_can_be_watched() -> None:
    assert Watching(encoded=modes(intr=3, eol=255, lnext=22, icrnl=1, ixon=1, echo=1)).begun
    assert Watching(size=(0, 0)).begun


def test_output_in_large_amounts_is_not_followed_and_the_prompt_behind_it_is() -> None:
    play = Watching(refuse("rm x"))
    play.entered(b"cat big")
    play.host(b"\r\n" + OFF + b"\r")
    for _ in range(60):
        play.host(b"some line of it that is long\r\n" * 1000)
    passage = play.core.channel(play.channel).run.passage
    assert len(passage._watch._pending) < 110_000
    play.host(ON + PROMPT)
    assert play.entered(b"rm x") == b"\x03"


def test_modes_set_without_end_cost_nothing() -> None:
    play = Watching(refuse())
    for _ in range(40):
        play.host(b"\x1b[?2004h\x1b[?7l\x1b[?1234567h" * 1000)
    passage = play.core.channel(play.channel).run.passage
    assert len(passage._watch._pending) < 110_000
    play.host(b"\x1b[?7h\x1b[?2004l" + b"x\r\n" * 30_000 + ON + PROMPT)
    assert play.entered(b"ls") == b"\r"


def test_a_line_without_end_costs_bounded_memory_and_does_not_run() -> None:
    play = Watching(refuse())
    for _ in range(20):
        play.type(b"x" * 30_000)
        play.host(b"x" * 30_000)
    watch = play.core.channel(play.channel).run.passage._watch
    assert len(watch.line.typed) <= 64 * 1024 + 30_000
    assert play.type(b"\r") + play.wait(5) == b"\x03"


def test_what_waits_is_bounded_by_the_window() -> None:
    play = Watching(lambda operation: "hold")
    play.entered(b"reboot")
    for _ in range(6):
        play.client(messages.DATA, number(play.channel) + string(b"x" * (WINDOW // 7)))
        play.host(b"output")
    with pytest.raises(Exception, match="beyond the window"):
        play.client(messages.DATA, number(play.channel) + string(b"x" * (WINDOW // 3)))


def test_keys_that_take_nothing_away_at_this_host_do_not_make_a_line_empty() -> None:
    play = Watching(refuse())
    play.type(b"rm x #")
    play.host(b"rm x #")
    play.type(b"\b\b\b\b\b\b")
    play.host(b"^H^H^H^H^H^H")
    assert play.type(b"\r") + play.wait(5) == b"\x03"


KEYS = [
    b"\r",
    b"\n",
    b"ls",
    b"rm x",
    b" ",
    b"\x7f",
    b"\x15",
    b"\x03",
    b"\x1a",
    b"\t",
    b"\x01",
    b"\x1b[200~",
    b"\x1b[201~",
    b"\x1b[A",
]
WRITTEN = [
    ON,
    OFF,
    PROMPT,
    b"\r\n",
    b"ls",
    b"rm x",
    b"\x1b[2J",
    b"\r\x1b[K",
    b"\x1b[?1049h",
    b"\x1b[?1049l",
    b"Password: ",
    b"***",
]


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("type"), st.lists(st.sampled_from(KEYS), min_size=1, max_size=5).map(b"".join)),
            st.tuples(st.just("host"), st.one_of(st.sampled_from(WRITTEN), st.binary(max_size=8))),
            st.tuples(st.just("wait"), st.just(b"")),
            st.tuples(st.just("size"), st.binary(max_size=20)),
        ),
        max_size=40,
    )
)
def test_whatever_the_host_shows_enter_goes_on_only_behind_nothing_where_nothing_is_allowed(
    steps: list[tuple[str, bytes]],
) -> None:
    play = Watching(lambda operation: "deny")
    line = b""
    for what, octets in steps:
        if what == "type":
            sent = play.type(octets)
        elif what == "host":
            sent = play.host(octets)
        elif what == "wait":
            sent = play.wait(3)
        else:
            play.request(play.channel, "window-change", number(len(octets) * 9) + number(5) + number(0) * 2, False)
            sent = play.sent()
        for at in range(len(sent)):
            key = sent[at : at + 1]
            if key in b"\r\n":
                assert not line.strip(), steps
                line = b""
            elif key in b"\x15\x03\x1a\x1c":
                line = b""
            elif key == b"\x7f":
                line = line[:-1]
            else:
                line += key
    assert all(decision == "deny" for _, decision in play.operations())
