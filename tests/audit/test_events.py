"""The catalogues: no name twice, no unknown name taken, nothing unclassified published."""

import pytest

from hoopd.audit import events


def test_frame_codes_are_unique_and_fit_a_byte() -> None:
    codes = [frame.code for frame in events.FRAMES.values()]
    assert len(set(codes)) == len(codes)
    assert all(0 < code < 256 for code in codes)
    assert events.FRAME_KINDS[events.frame_code("operation")] == "operation"
    assert 6 not in codes, "a number is never used again"


def test_misspelt_names_are_errors() -> None:
    with pytest.raises(events.UnknownName, match="opertion"):
        events.frame_code("opertion")
    with pytest.raises(events.UnknownName, match="segmnt"):
        events.check_leaf("segmnt")
    with pytest.raises(events.UnknownName, match=r"session\.opend"):
        events.publishable("session.opend", {})


def test_what_is_not_classified_is_redacted() -> None:
    shown = events.publishable("operation.denied", {"session": "S-1", "parameters": ["x"], "surprise": "y"})
    assert shown == {"session": "S-1", "parameters": "[redacted]", "surprise": "[redacted]"}


def test_no_event_field_hides_the_frame_of_a_line() -> None:
    for name, fields in events.CATALOGUE.items():
        assert not {"v", "event", "at"} & set(fields), name
        assert set(fields.values()) <= {"public", "redacted"}
