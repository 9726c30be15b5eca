"""The whole work on a large text but the decision, for a process of its own: parsed, analysed, planned, scrubbed.

Pure; decisions stay with the worker (L{hoopd.protocols.postgres.judgement}). How question and answer travel is
L{hoopd.sql.packed}'s matter.
"""

from __future__ import annotations

import attrs

from hoopd.sql.analysis import Analysis, Question, Reading, Statement, analyse
from hoopd.sql.catalogue import Catalogue
from hoopd.sql.counting import writing
from hoopd.sql.estimates import foreign_type
from hoopd.sql.grammar import ParseTree, Unparsed, decode, parse_to_json
from hoopd.sql.known import UNREAD, Known
from hoopd.sql.lineage import output_plan, short
from hoopd.sql.named import Definition
from hoopd.sql.scrub import parameters_to_redact, redact

#: Statements of one text. The worker decides on each, at some 50 microseconds.
STATEMENTS_MAX = 2000
#: names of relations and functions in one text: rules look at each
NAMES_MAX = 5000


class _Names:
    """What the question tells of names; what it does not is noted."""

    def __init__(self, question: Question) -> None:
        self._told = {(kind, name): definition for kind, name, definition in question.names}
        self.missing: dict[tuple[str, str], None] = {}

    def _find(self, kind: str, name: str) -> Definition | None:
        if (kind, name) not in self._told:
            self.missing[kind, name] = None
        return self._told.get((kind, name))

    def statement(self, name: str) -> Definition | None:
        return self._find("statement", name)

    def cursor(self, name: str) -> Definition | None:
        return self._find("cursor", name)


def parsed(text: bytes) -> ParseTree:
    """C{text} of any size. @raise Unparsed: also where there are too many statements"""
    json = parse_to_json(text)
    # before the tree is made, which takes ten times as much memory; quotes within JSON's strings are escaped
    if json.count(b'{"stmt":') > STATEMENTS_MAX:
        raise Unparsed(f"a text of more than {STATEMENTS_MAX} statements is not judged: send them in several")
    return decode(text, json)


def read(text: bytes, question: Question, catalogue: Catalogue) -> Reading:
    """@raise Unparsed: no SQL, or more than is judged"""
    names = _Names(question)
    found = analyse(text, question.settings, catalogue, parsed(text), question.types, names, question.inner)
    if names.missing:
        return Reading(question, Analysis((), text=text), tuple(names.missing))
    if sum(len(each.objects) + len(each.facts["called"]) for each in found.statements) > NAMES_MAX:
        raise Unparsed(f"a text with more than {NAMES_MAX} names of relations and functions is not judged")
    scrub = question.scrub
    redacted = redact(found, scrub, catalogue, question.settings, question.trusted)
    statements = tuple(_worked_out(each, question, catalogue) for each in found.statements)
    return Reading(question, attrs.evolve(found, statements=statements, redacted={scrub: redacted}))


def _worked_out(statement: Statement, question: Question, catalogue: Catalogue) -> Statement:
    settings, trusted, scrub = question.settings, question.trusted, question.scrub
    plans = {masks: short(output_plan(statement, masks, catalogue, settings, trusted)) for masks in question.masks}
    sensitive = bool(parameters_to_redact(statement, scrub, catalogue, settings, trusted))
    known = Known(plans, {scrub: sensitive}, writing(statement), foreign_type(statement))
    return attrs.evolve(statement, node=UNREAD, known=known)
