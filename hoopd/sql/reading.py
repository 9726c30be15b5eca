"""The whole work on a large text but the decision, for a process of its own: parsed, analysed, planned, scrubbed.

Pure, but for bytes between the two: requests are pickled by a worker and read by its child; answers are pickled by a
child, which has met hostile text, and are read with nothing but the frozen values of L{hoopd.sql} allowed. Decisions stay
with the worker (L{hoopd.protocols.postgres.judgement}), and so do catalogue and coverage: answers name them.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import attrs

from hoopd import values
from hoopd.sql import analysis, known, lineage, named, shapes, variables
from hoopd.sql.analysis import Question, Reading, Statement, analyse
from hoopd.sql.catalogue import Catalogue, Relation
from hoopd.sql.coverage import Coverage, coverage
from hoopd.sql.grammar import ParseTree, Unparsed, decode, parse_to_json
from hoopd.sql.known import UNREAD, Known
from hoopd.sql.lineage import output_plan, short
from hoopd.sql.named import Definition
from hoopd.sql.scrub import parameters_to_redact, redact
from hoopd.values import Mask

#: Statements of one text. The worker decides on each, at some 50 microseconds.
STATEMENTS_MAX = 2000
#: names of relations and functions in one text: rules look at each
NAMES_MAX = 5000

_PROTOCOL = 5


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
    tree = decode(text, parse_to_json(text))
    if len(tree.statements) > STATEMENTS_MAX:
        raise Unparsed(f"a text of more than {STATEMENTS_MAX} statements is not judged: send them in several")
    return tree


def read(text: bytes, question: Question, catalogue: Catalogue) -> Reading:
    """@raise Unparsed: no SQL, or more than is judged"""
    names = _Names(question)
    found = analyse(text, question.settings, catalogue, parsed(text), question.types, names, question.inner)
    if names.missing:
        return Reading(question, analysis.Analysis((), text=text), tuple(names.missing))
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
    return attrs.evolve(statement, node=UNREAD, known=Known(plans, {scrub: sensitive}))


# -- bytes -----------------------------------------------------------------------------------------------------


def pack_catalogue(catalogue: Catalogue) -> bytes:
    """For L{unpack_catalogue} in a child."""
    return pickle.dumps(catalogue, _PROTOCOL)


def unpack_catalogue(octets: bytes) -> Catalogue:
    """In a child: from its worker."""
    made: Catalogue = pickle.loads(octets)  # noqa: S301  the worker's own words, in its child
    return made


def pack_question(text: bytes, question: Question) -> bytes:
    """For L{unpack_question} in a child. What stands for names in the session stays there."""
    told = tuple(
        (kind, name, None if found is None else attrs.evolve(found, source=(kind, name)))
        for kind, name, found in question.names
    )
    return pickle.dumps((text, attrs.evolve(question, names=told)), _PROTOCOL)


def unpack_question(octets: bytes) -> tuple[bytes, Question]:
    """In a child: from its worker."""
    text, question = pickle.loads(octets)  # noqa: S301  the worker's own words, in its child
    return text, question


class _Pickler(pickle.Pickler):
    """Leaves out what the worker has itself."""

    def __init__(self, file: io.BytesIO, question: Question, catalogue: Catalogue) -> None:
        super().__init__(file, _PROTOCOL)
        self._question = question
        self._coverage = {id(coverage(masks, catalogue)): masks for masks in question.masks if masks}

    def persistent_id(self, obj: Any) -> Any:
        if obj is self._question:
            return ("question",)
        if isinstance(obj, Relation):
            return "relation", obj.oid
        if isinstance(obj, Coverage):
            return "coverage", self._coverage[id(obj)]
        return None


def pack_reading(reading: Reading, catalogue: Catalogue) -> bytes:
    """In a child, for L{unpack_reading}."""
    file = io.BytesIO()
    _Pickler(file, reading.question, catalogue).dump(reading)
    return file.getvalue()


#: the values that an answer is made of
_VALUES = {
    (each.__module__, each.__qualname__): each
    for module in (analysis, known, lineage, named, shapes, variables)
    for each in vars(module).values()
    if isinstance(each, type) and attrs.has(each) and each.__module__ == module.__name__
} | {(values.__name__, "Mask"): Mask, (known.__name__, "UNREAD"): UNREAD}


class _Answers(pickle.Unpickler):
    """
    @raise Unparsed: the answer names what no answer has in it.
    """

    def __init__(self, octets: bytes, question: Question, catalogue: Catalogue) -> None:
        super().__init__(io.BytesIO(octets))
        self._question = question
        self._catalogue = catalogue

    def find_class(self, module_name: str, global_name: str) -> Any:
        found = _VALUES.get((module_name, global_name))
        if found is None:
            raise Unparsed("the statement could not be judged")
        return found

    def persistent_load(self, pid: Any) -> Any:
        match pid:
            case ("question",):
                return self._question
            case ("relation", int(oid)) if oid in self._catalogue.relations:
                return self._catalogue.relations[oid]
            case ("coverage", tuple(masks)) if masks in self._question.masks:
                return coverage(masks, self._catalogue)
        raise Unparsed("the statement could not be judged")


def unpack_reading(octets: bytes, question: Question, catalogue: Catalogue) -> Reading:
    """A child's answer. @raise Unparsed: it is none"""
    try:
        made = _Answers(octets, question, catalogue).load()
        if not isinstance(made, Reading) or made.question is not question:
            raise Unparsed("the statement could not be judged")
        statements = tuple(_with_source(each, question) for each in made.analysis.statements)
        return attrs.evolve(made, analysis=attrs.evolve(made.analysis, statements=statements))
    except Unparsed:
        raise
    except Exception as problem:
        raise Unparsed("the statement could not be judged") from problem


def _with_source(statement: Statement, question: Question) -> Statement:
    """What the session has under the name that C{statement} uses, where it uses one that the text has not made."""
    if statement.source is None or statement.source.source is None:
        return statement
    told = {(kind, name): definition for kind, name, definition in question.names}
    return attrs.evolve(statement, source=told[statement.source.source])
