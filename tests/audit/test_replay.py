"""A session as text: what happened, in order and time, and nothing that a terminal would obey."""

from __future__ import annotations

import unicodedata
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from hoopd.audit import recording, replay
from hoopd.audit.events import FRAMES


def session(*records: tuple[float, str, dict[str, Any]]) -> bytes:
    parts = [recording.file_header("S-1")]
    sequence = 0
    for since, kind, fields in records:
        encoded, count = recording.encode(sequence, int(1_790_000_000e6 + since * 1e6), int(since * 1e6), kind, fields)
        parts.append(encoded)
        sequence += count
    return b"".join(parts)


STORY = session(
    (0, "open", {"session": "S-1", "identity": "user:priya", "target": "orders", "protocol": "postgres",
                 "peer": "::1:5", "proof": "password", "act": None}),
    (1, "operation", {"operation": 1, "text": "SELECT name,\n  card FROM customers", "decision": "allow", "rules": ["r"]}),
    (1.1, "rows", {"operation": 1, "columns": ["name", "card"], "masked": [1],
                   "rows": [["Žofie", "************1111"], [None, {"hex": "ff00"}]]}),
    (1.2, "result", {"operation": 1, "tag": "SELECT 40", "rows": 40, "kept": 2, "duration": 0.01}),
    (2, "operation", {"operation": 2, "text": "DROP TABLE x", "decision": "deny", "rules": ["orders.deny.drop"],
                      "why": "see the wiki"}),
    (2.1, "error", {"operation": 2, "severity": "ERROR", "code": "42501", "text": "refused", "from": "gateway"}),
    (3, "hold", {"approval": "A-7", "state": "pending", "rules": ["orders.hold.write"]}),
    (600, "hold", {"approval": "A-7", "state": "approved", "rules": ["orders.hold.write"],
                   "votes": [{"identity": "user:lea", "approve": True, "reason": "looks right"}]}),
    (600.1, "operation", {"operation": 3, "text": "UPDATE t", "decision": "hold", "approval": "A-7", "reason": "OPS-1",
                          "rules": ["orders.hold.write"]}),
    (600.2, "result", {"operation": 3, "tag": "UPDATE 1", "rows": 1}),
    (601, "close", {"why": "the client left"}),
)  # fmt: skip


def told(content: bytes, speed: float = 1.0) -> tuple[list[float], str]:
    found, problem = replay.load(content)
    assert problem is None
    steps = list(replay.render(found, speed))
    return [delay for delay, _ in steps], "".join(text for _, text in steps)


def test_a_story() -> None:
    delays, text = told(STORY)
    assert text == (
        "2026-09-21 14:13:20Z session S-1: user:priya on orders (postgres) from ::1:5, proven by password\n"
        "2026-09-21 14:13:21Z user:priya@orders=> SELECT name,\n"
        "                                           card FROM customers\n"
        "  name  | card*\n"
        "  ------+-----------------\n"
        "  Žofie | ************1111\n"
        "  ∅     | \\xff00\n"
        "  SELECT 40 (2 of 40 rows recorded) in 0.010 s\n"
        "2026-09-21 14:13:22Z user:priya@orders=> DROP TABLE x\n"
        "  REFUSED by orders.deny.drop: see the wiki\n"
        "  ERROR 42501: refused (from the gateway)\n"
        "2026-09-21 14:13:23Z   held as A-7 by orders.hold.write: pending\n"
        "2026-09-21 14:23:20Z   held as A-7 by orders.hold.write: approved\n"
        "    user:lea said yes: looks right\n"
        "2026-09-21 14:23:20Z user:priya@orders=> UPDATE t\n"
        "  run as approved in A-7 by orders.hold.write\n"
        "  reason: OPS-1\n"
        "  UPDATE 1\n"
        "2026-09-21 14:23:21Z session ended: the client left\n"
    )
    assert [round(delay, 3) for delay in delays] == [0, 1, 0.1, 0.1, 0.8, 0.1, 0.9, replay.PAUSE_MAX, 0.1, 0.1, 0.8]


def test_twice_as_fast_and_at_once() -> None:
    slow, text = told(STORY)
    fast, same = told(STORY, 2.0)
    assert [round(delay * 2, 6) for delay in fast] == [round(delay, 6) for delay in slow]
    assert same == text
    assert set(told(STORY, 0)[0]) == {0.0}


def test_a_session_whose_end_is_torn_is_shown_as_far_as_it_goes() -> None:
    found, problem = replay.load(STORY[:-30])
    assert problem is not None
    assert found[-1].kind == "result"
    assert "UPDATE 1" in "".join(text for _, text in replay.render(found, 0))


HOSTILE = "\x1b[2J\x1b]0;owned\x07 a\rb \u202e evil \u2028 \u200b \x9b1m \x7f \ufeff"


def obeyed(text: str) -> list[str]:
    return [
        character
        for character in text
        if character != "\n" and unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp", "Cs", "Co")
    ]


def test_nothing_recorded_is_obeyed_by_the_terminal() -> None:
    for kind, frame in FRAMES.items():
        fields: dict[str, Any] = dict.fromkeys(frame.fields, HOSTILE)
        for name in ("rules", "columns", "classes", "parameters"):
            if name in fields:
                fields[name] = [HOSTILE]
        fields["rows"] = [[HOSTILE, {"hex": HOSTILE}]] if kind == "rows" else HOSTILE
        fields["votes"] = [{"identity": HOSTILE, "approve": True, "reason": HOSTILE}]
        _, text = told(session((0, "open", {"identity": HOSTILE, "target": HOSTILE}), (1, kind, fields)))
        assert obeyed(text) == [], kind


@given(
    kind=st.sampled_from(sorted(FRAMES)),
    fields=st.dictionaries(
        st.sampled_from(
            ["text", "rows", "columns", "rules", "votes", "tag", "kept", "masked", "duration", "why", "bytes"]
        ),
        st.recursive(
            st.none() | st.integers(-9, 9) | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=6,
    ),
)
@settings(max_examples=300)
def test_whatever_a_frame_holds_it_is_shown(kind: str, fields: dict[str, Any]) -> None:
    _, text = told(session((0, "open", {}), (1, kind, fields)))
    assert obeyed(text) == []


def test_kinds_of_a_newer_writer_are_named() -> None:
    content = bytearray(session((0, "notice", {})))
    head = len(recording.file_header("S-1"))
    content[head + 28] = 200
    import struct
    import zlib

    content[-4:] = struct.pack(">I", zlib.crc32(bytes(content[head:-4])))
    _, text = told(bytes(content))
    assert text == "  [unknown-200]\n"
