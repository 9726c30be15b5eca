"""How far a private key in a stream goes, once its first line has been seen; pure, and not the finding of that line.

Specification: RFC 7468; RFC 1421 section 4.4 and RFC 9580 section 6.2.2 for the headers.
"""

from __future__ import annotations

from hoopd.masking.detectors import compiled


class Block:
    """What follows the first line of a private key, up to its last, or to a line that can be none of it; it is never held.

    A line is part of a key if its first octets are base64, or a header (RFC 1421 section 4.4, RFC 9580 section 6.2.2); so is all that
    stands behind the first line in the same one.
    """

    #: octets by which a line is told; encoders write 64 or 76
    LINE = 256

    _END = compiled(rb"-----END [A-Z0-9 ]{0,60}(?:-----)?")
    _ENDING = compiled(rb"-(?:-(?:-(?:-(?:-(?:E(?:N(?:D(?: [A-Z0-9 ]{0,60}-{0,4})?)?)?)?)?)?)?)?\z")
    _LINE = compiled(rb"[ \t]*(?:[A-Za-z0-9+/=\\]*[ \t\r]*|[A-Za-z0-9-]{1,40}:[^\n]*)")
    _PART = compiled(rb"[ \t]*(?:[A-Za-z0-9+/=\\]*[ \t\r]*|[A-Za-z0-9-]{1,40}(?::[^\n]*)?)\z")

    def __init__(self) -> None:
        #: its last line has been seen
        self.ended = False
        #: in a line that is part of it for sure
        self._sure = True

    def take(self, text: bytes, at: int, final: bool) -> tuple[int, bool]:
        """@return: how far C{text} is part of the key, and whether what follows is none of it"""
        size = len(text)
        while at < size:
            line = text.find(b"\n", at)
            stop = size if line < 0 else line
            ending = self._END.search(text[at:stop])
            if ending is not None and (
                line >= 0 or final or ending.group().endswith(b"-----") or stop - at > self.LINE
            ):
                self.ended = True
                return at + ending.end(), True
            if self._sure:
                if line < 0:
                    begun = None if final else self._ENDING.search(text[at:stop])
                    return stop if begun is None and ending is None else at + (begun or ending).start(), False
                at, self._sure = line + 1, False
                continue
            if line < 0 and not final and stop - at < self.LINE:
                # a dash may be the end's
                begun = self._ENDING.search(text[at:stop])
                part = text[at : stop if begun is None else at + begun.start()]
                return at, self._PART.match(part) is None
            kept = text[at : min(stop, at + self.LINE)]
            if self._LINE.fullmatch(kept) is None:
                return at, True
            self._sure = True
        return at, False
