"""A shell whose lines are judged: what its client types goes on at once, and Enter when policy lets the line run; pure.

The line is L{hoopd.shell.watch}'s, the judging L{hoopd.protocols.ssh.permission}'s. While a line is decided the channel is paused, and
what is typed behind it is kept. A line that may not run is taken away by an interrupt, which shells of all kinds answer with a new
prompt. Nothing that is typed is recorded as it is typed: lines that were seen are, as operations.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from hoopd.policy import commands
from hoopd.protocols.ssh import operations
from hoopd.protocols.ssh.channels import Channel, Kept
from hoopd.protocols.ssh.operations import Refusal, Wanted
from hoopd.protocols.ssh.passage import Passage
from hoopd.protocols.ssh.permission import Granted
from hoopd.shell.keys import BEGUN, KEY
from hoopd.shell.watch import Seen, Watch

INTERRUPT = b"\x03"
_BELL = b"\x07"
_ESCAPE = b"\x1b"

#: terminals that speak what L{hoopd.shell.screen} reads; line editors scroll within one row on those that cannot go up
_TERMINALS = (
    "xterm*", "screen*", "tmux*", "linux*", "vt100*", "vt102*", "vt220*", "rxvt*", "alacritty*", "foot*", "*kitty*", "wezterm*",
    "konsole*", "gnome*", "putty*", "st", "st-*", "ansi*", "cygwin", "eterm*", "iterm*", "vte*", "contour*", "xterm",
)  # fmt: skip

#: modes of RFC 4254 section 8 that shells read keys by, with what they may be
_KEYS = {1: (3,), 5: (4,), 6: (0, 255), 7: (0, 255), 14: (0, 22, 255)}
_FLAGS = {33: 0, 34: 0, 35: 0, 36: 1, 37: 0, 50: 1, 51: 1, 52: 0, 53: 1}
#: XON and XOFF stop and go on with output
_IXON = 38
_SPEEDS = (128, 129)

#: seconds; how long echoes take is measured, and these are its bounds
_ECHO_FIRST, _ECHO_MAX = 0.03, 0.5
#: quiet for this long, a screen stands: a line editor draws in one piece
_QUIET = 0.02
#: what was typed and does not show by then will not: hosts that are busy take as long
_UNSEEN = 0.25
#: a key that nothing answered may have changed nothing, or be still to come
_UNANSWERED = 0.5
#: a screen that never stands is not waited for
_DECIDED = 2.0
#: a shell that was given Enter has said so by then
_ENDED = 1.0


def _modes(encoded: bytes) -> dict[int, int]:
    found = {}
    for at in range(0, len(encoded) - 4, 5):
        if encoded[at] == 0 or encoded[at] >= 160:
            break
        found[encoded[at]] = int.from_bytes(encoded[at + 1 : at + 5], "big")
    return found


def unfit(channel: Channel) -> str:
    """Why no shell can be watched in this channel, or C{""}."""
    if not channel.pty:
        return "a shell here is watched, which takes a terminal: run commands by themselves, or ask for one (ssh -t)"
    if not any(fnmatchcase(channel.terminal.lower(), each) for each in _TERMINALS):
        return f"a shell here is watched, which cannot be on a terminal of the kind {channel.terminal!r}: TERM=xterm can be"
    modes = _modes(channel.modes)
    odd = [key for key, may in _KEYS.items() if modes.get(key, may[0]) not in may]
    odd += [flag for flag, value in _FLAGS.items() if bool(modes.get(flag, value)) != bool(value)]
    if odd:
        return (
            f"a shell here is watched, which takes a terminal with ordinary keys (its modes {odd} are not): stty sane"
        )
    return ""


class Watched(Passage):
    """
    @param within: what the octets go through besides.
    """

    def __init__(self, within: Passage) -> None:
        super().__init__(within.way, within.outputs, within.input)
        self._within = within
        self._channel = channel = within.way.channel
        self._session = within.way.session
        columns, rows = channel.size or (0, 0)
        self._watch = Watch(columns, rows)
        self._resumes = bool(_modes(channel.modes).get(_IXON, 1))
        #: the end of what came from the client may be the beginning of a bracket; an escape of it may have gone on
        self._begun = b""
        self._escaped = False
        self._echo = _ECHO_FIRST
        self._keyed: float | None = None
        self._touched = 0.0
        #: something came since the last key
        self._answered = False
        self._decide_by = 0.0
        self._enter = b""
        self._cancel: Any = None
        #: waits for the screen, for a decision, or for the shell to take the end of a line
        self._state = ""
        #: C{line}, C{stop} or C{nothing}: whose end the shell is to take
        self._ending = ""

    def _now(self) -> float:
        seconds: float = self._session.seconds()
        return seconds

    def _after(self, seconds: float, call: Any) -> None:
        if self._cancel is not None:
            self._cancel()
        self._cancel = self._session.later(seconds, call)

    # -- from the target ---------------------------------------------------------------------------------------

    def from_target(self, stream: int, octets: bytes) -> None:
        """See L{Passage.from_target}."""
        self._within.from_target(stream, octets)
        self._watch.output(octets)
        self._touched = now = self._now()
        self._answered = True
        if self._keyed is not None:
            self._echo += (min(now - self._keyed, _ECHO_MAX) - self._echo) / 4
            self._keyed = None
        if self._state == "screen":
            self._watch.look()
            self._look()
        elif self._state == "end":
            self._watch.look()
            # further lines come best when there is a prompt for them
            if self._watch.settled() and (self._watch.ready or not self._channel.kept):
                self._go_on(True)

    def sized(self, columns: int, rows: int) -> None:
        """See L{Passage.sized}."""
        self._within.sized(columns, rows)
        self._watch.resize(columns, rows)

    def target_ends(self) -> None:
        """See L{Passage.target_ends}."""
        self._within.target_ends()
        if self._state == "decision":
            self._session.withdraw(self._channel.number, "the shell ended")

    def client_ends(self) -> None:
        """See L{Passage.client_ends}."""
        self._forward(self._begun)
        self._within.client_ends()

    def finish(self) -> None:
        """See L{Passage.finish}."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
        self._within.finish()

    @property
    def octets(self) -> int:
        """See L{Passage.octets}."""
        return self._within.octets

    # -- from the client ---------------------------------------------------------------------------------------

    def from_client(self, stream: int, octets: bytes) -> None:
        """See L{Passage.from_client}: as far as the first line that has to be decided."""
        self._watch.look()
        if self._watch.passing:
            self._forward(self._begun + octets)
            self._begun = b""
            return
        if self._begun:
            octets, self._begun = self._begun + octets, b""
        elif self._escaped and octets[:1] == b"[":
            # its escape went on by itself
            octets = _ESCAPE + octets
        else:
            self._escaped = False
        begun = BEGUN.search(octets)
        if begun is not None:
            octets, self._begun = octets[: begun.start()], begun[0]
        if octets:
            self._keys(octets)

    def _keys(self, octets: bytes) -> None:
        out = bytearray()
        for found in KEY.finditer(octets):
            kind, key, at = found.lastgroup or "", found[0], found.end()
            if kind == "stop" and key != INTERRUPT and self._watch.screen.editor:
                # line editors keep what stands there
                kind = "other"
            if kind == "enter" or (kind == "end" and not self._watch.edits and not self._watch.empty):
                self._forward(out)
                self._entered(key, octets[at:])
                return
            if kind in ("refused", "paste") or (kind == "resume" and not self._resumes):
                if kind != "paste":
                    self.way.to_client(0, _BELL)
                self._escaped = False
                continue
            self._watch.key(kind, key)
            out += key[1:] if self._escaped else key
            self._escaped = False
            if kind == "stop":
                self._forward(out)
                self._ended("stop", octets[at:])
                return
        self._escaped = octets[-1:] == _ESCAPE
        self._forward(out)

    def _forward(self, octets: bytes | bytearray) -> None:
        if octets:
            if self._keyed is None:
                self._keyed = self._now()
            self._touched = self._now()
            self._answered = False
            self._within.from_client(0, bytes(octets))

    def _pause(self, state: str, rest: bytes = b"") -> None:
        self._state = state
        self._channel.paused = True
        if rest:
            self._channel.kept.appendleft(Kept(0, bytearray(rest)))

    # -- Enter -------------------------------------------------------------------------------------------------

    def _entered(self, enter: bytes, rest: bytes) -> None:
        if self._watch.empty:
            self._forward(enter)
            self._ended("nothing", rest)
            return
        self._enter = enter
        self._decide_by = self._now() + _DECIDED
        self._pause("screen", rest)
        self._look()

    def _look(self) -> None:
        """Decide once the screen shows what was typed, or stands."""
        seen, now = self._watch.read(), self._now()
        line = self._watch.line
        told = seen.state in ("line", "empty")
        if told and line is not None and not line.others:
            self._decide(seen)
            return
        # in vi's mode keys need not show
        shown = not told or self._watch.shown or (line is not None and line.commands)
        if not told:
            quiet = max(_UNSEEN, 4 * self._echo)
        elif self._answered and self._watch.shown:
            quiet = max(_QUIET, 2 * self._echo)
        else:
            quiet = max(_UNANSWERED, 8 * self._echo)
        left = min(self._touched + quiet, self._decide_by) - now
        if left > 0:
            self._after(left, self._stands)
        elif shown or now >= self._decide_by:
            self._decide(seen if shown else Seen("unsure", why="what was typed does not show yet"))
        else:
            self._after(self._decide_by - now, self._stands)

    def _stands(self) -> None:
        if self._state == "screen":
            self._watch.look()
            self._look()

    def _decide(self, seen: Seen) -> None:
        if seen.state == "empty" or (seen.state == "unseen" and self._watch.asks):
            self._state = ""
            self._forward(self._enter)
            self._ended("nothing")
            return
        self._state = "decision"
        wanted = self._wanted(seen)
        said = False

        def tell(text: str) -> None:
            nonlocal said
            # the line stands before it
            self.way.say(text if said else f"\n{text}")
            said = True

        def go(granted: Granted) -> None:
            self._run(seen, wanted, granted, tell)

        def stop(refusal: Refusal) -> None:
            self._refuse(refusal, tell)

        self._session.permission.seek(wanted, go, stop, tell, self._channel.number)

    def _wanted(self, seen: Seen) -> Wanted:
        """What an approval is bound to is the prompt as well: it says where the line would run."""
        line = self._watch.line
        prompt = line.prompt if line is not None else ""
        if seen.state == "line":
            text = seen.text.encode()
            classes, facts = commands.line(text)
        else:
            why = seen.why or "what was typed is not shown"
            text = f"(a line that cannot be read: {why})".encode()
            classes, facts = commands.unreadable(why)
        session = self._session
        exact = operations.exact("line", prompt.encode(), text)
        return operations.wanted(classes, text, session.login, session.reason, facts, exact=exact)

    def _run(self, seen: Seen, wanted: Wanted, granted: Granted, tell: Any) -> None:
        if self._channel.target.close_sent or self._channel.target.close_received:
            self._session.runs.settle(granted.approval, "failed", "the shell ended")
            return
        self._watch.look()
        now = self._watch.read()
        if now != seen and not (seen.state != "line" and now.state == seen.state):
            self._session.runs.settle(granted.approval, "failed", "another line stood there when it was to run")
            self._refuse(Refusal("the line is another than the one that was decided on"), tell)
            return
        self._forward(self._enter)
        self._session.runs.settle(granted.approval, "executed", "typed in a shell")
        loose = not wanted.operation.classes.isdisjoint(("opaque", "interpreter"))
        self._ended("line", b"", loose)

    def _refuse(self, refusal: Refusal, tell: Any) -> None:
        """Say why, and take the line away; what was typed behind it goes with it, as terminals have it."""
        channel = self._channel
        tell(refusal.line)
        for one in [each for each in channel.kept if isinstance(each, Kept)]:
            channel.kept.remove(one)
        self._watch.key("stop", INTERRUPT)
        self._forward(INTERRUPT)
        self._ended("stop")

    def _ended(self, what: str, rest: bytes = b"", loose: bool = False) -> None:
        """The end of C{what} has gone on: what comes next waits until the shell has taken it, so that it begins a line."""
        self._watch.ended(what == "line", loose)
        self._ending = what
        self._pause("end", rest)
        self._after(_ENDED if what == "line" else max(_UNSEEN, 4 * self._echo), self._not_taken)

    def _not_taken(self) -> None:
        if self._state == "end":
            self._watch.look()
            # what was no line is over anyway; an interrupt that nobody heeds leaves the line where it is
            self._go_on(self._watch.settled() or self._ending == "nothing")

    def _go_on(self, over: bool) -> None:
        self._state = ""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
        if over:
            self._watch.forget()
        else:
            self._watch.not_ended(self._ending == "line")
        self.way.resume()
