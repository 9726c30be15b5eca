"""What a terminal sends, cut into keys: those that end lines, those that a watched shell is not given, text, and others; pure.

Specification: ECMA-48, section 5.4, for control sequences; xterm's ctlseqs for the brackets around a paste; bash's manual, section 8.4, and
termios(3) for what the keys do.
"""

from __future__ import annotations

import re

#: every octet is of one of them
KEY = re.compile(
    rb"(?P<enter>[\r\n])"
    rb"|(?P<stop>[\x03\x1a\x1c])"
    rb"|(?P<end>\x04)"
    rb"|(?P<refused>[\x0f\x16\x18])"
    rb"|(?P<resume>\x11)"
    rb"|(?P<paste>\x1b\[20[01]~)"
    rb"|(?P<back>[\x08\x7f])"
    rb"|(?P<kill>\x15)"
    rb"|(?P<text>[\x20-\x7e\x80-\xff]+)"
    rb"|(?P<other>\x1b\[[0-?]*[ -/]*[@-~]|\x1bO[@-~]|\x1b[\x20-\x4e\x50-\x5a\x5c-\x7e]|[\x00-\xff])"
)

#: may become a bracket around a paste when more comes
BEGUN = re.compile(rb"\x1b\[(?:2(?:0[01]?)?)?\Z")
