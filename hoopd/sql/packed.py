"""Questions about large texts and their answers as bytes, between a worker and its child (L{hoopd.sql.child}).

Requests are pickled by a worker and read by its child; answers are pickled by a child, which has met hostile text, and are
read with nothing but the frozen values of L{hoopd.sql} allowed. What the worker has itself is named and not sent back: its
question, relations of its catalogue, what masks cover there, and what names stand for in the session.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import attrs

from hoopd import values
from hoopd.sql import analysis, copying, known, lineage, named, session_settings, shapes, variables
from hoopd.sql.analysis import Question, Reading, Statement
from hoopd.sql.catalogue import Catalogue, Relation
from hoopd.sql.coverage import Coverage
from hoopd.sql.grammar import Unparsed
from hoopd.sql.known import UNREAD
from hoopd.sql.views import coverage
from hoopd.values import Mask

_PROTOCOL = 5


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
    for module in (analysis, copying, known, lineage, named, session_settings, shapes, variables)
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
