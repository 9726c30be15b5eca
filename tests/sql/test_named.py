"""EXECUTE and FETCH are judged as what they run."""

import pytest

from hoopd.sql.analysis import Analysis, SessionSettings, analyse
from hoopd.sql.lineage import output_plan
from hoopd.sql.named import Definition
from hoopd.sql.scrub import redact
from tests.sql.world import CATALOGUE, MASKS

SESSION = SessionSettings(search_path=("public",))


class Names:
    def __init__(self, **texts: str) -> None:
        self._known = {
            name: Definition(text.encode(), text.startswith(("PREPARE", "DECLARE")), SESSION)
            for name, text in texts.items()
        }

    def statement(self, name: str) -> Definition | None:
        return self._known.get(name)

    cursor = statement


NAMES = Names(
    shows="PREPARE shows AS SELECT card FROM customers",
    parsed="SELECT card FROM customers",
    writes="PREPARE writes AS DELETE FROM orders",
    plain="PREPARE plain AS SELECT 1",
    c="DECLARE c CURSOR FOR SELECT card FROM customers",
    finds="PREPARE finds AS UPDATE customers SET card = '4222' WHERE name = $1",
    again="EXECUTE shows",
)


def read(text: str) -> Analysis:
    return analyse(text.encode(), SESSION, CATALOGUE, named=NAMES)


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("PREPARE p AS DELETE FROM orders", "prepare"),
        ("EXECUTE writes", "execute write delete"),
        ("EXECUTE shows(1)", "execute read"),
        ("EXECUTE plain", "execute introspect"),
        ("EXPLAIN ANALYZE EXECUTE writes", "explain read write delete"),
        ("CREATE TABLE t AS EXECUTE shows", "ddl create read"),
        ("FETCH ALL FROM c", "cursor read"),
        ("FETCH ALL FROM unheard_of", "cursor"),
        ("PREPARE q AS DELETE FROM orders; EXECUTE q", "prepare execute write delete"),
        (
            "DEALLOCATE plain; PREPARE plain AS DELETE FROM orders; EXECUTE plain",
            "session prepare execute write delete",
        ),
    ],
)
def test_classes_are_those_of_what_runs(text: str, classes: str) -> None:
    found = read(text)
    assert not found.refused
    assert {word for each in found.statements for word in each.classes} == set(classes.split())


@pytest.mark.parametrize(
    "text",
    [
        "EXECUTE unheard_of",
        "DEALLOCATE ALL; EXECUTE plain",
        "DISCARD ALL; EXECUTE plain",
        "EXECUTE again",
        "EXPLAIN EXECUTE again",
    ],
)
def test_what_a_name_means_must_be_known(text: str) -> None:
    assert read(text).refused


@pytest.mark.parametrize("text", ["EXECUTE shows", "EXECUTE parsed", "FETCH c", "FETCH unheard_of", "MOVE c"])
def test_what_they_return_is_masked(text: str) -> None:
    (statement,) = read(text).statements
    plan = output_plan(statement, MASKS, CATALOGUE, SESSION)
    assert not plan.untouched
    assert output_plan(read("EXECUTE plain").statements[0], MASKS, CATALOGUE, SESSION).untouched


def test_people_see_what_a_name_stands_for() -> None:
    def shown(text: str) -> str:
        return redact(read(text), MASKS, CATALOGUE, SESSION)

    assert shown("EXECUTE writes") == "EXECUTE writes\n-- which is: PREPARE writes AS DELETE FROM orders"
    # a literal for a masked column is taken out of both
    assert "4111" not in shown("EXECUTE finds('4111')")
    assert "4222" not in shown("EXECUTE finds('4111')")
