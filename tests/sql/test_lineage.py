import pytest

from hoopd.sql.analysis import SessionSettings, analyse
from hoopd.sql.lineage import Field, OutputPlan, output_plan
from hoopd.values import Mask
from tests.sql.world import CARD, CATALOGUE, EMAIL, MASKS, OID, catalogue

SESSION = SessionSettings(search_path=("public",))


def plan(text: str, masks: tuple[Mask, ...] = MASKS, **keywords) -> OutputPlan:
    (statement,) = analyse(text.encode(), SESSION, CATALOGUE).statements
    return output_plan(statement, masks, CATALOGUE, SESSION, **keywords)


def attributed(table: str, attribute: int) -> Field:
    return Field(b"x", OID.get(table, 99999), attribute, 25, 0)


EXPRESSION = Field(b"x", 0, 0, 25, 0)


def shown(plan: OutputPlan, *fields: Field) -> list[str | None]:
    return [mask and mask.show for mask in plan.for_fields(fields)]


def test_attributed_columns_go_by_the_catalogue() -> None:
    got = plan("SELECT * FROM customers")
    fields = [attributed("customers", number) for number in (1, 2, 3, 4)]
    assert shown(got, *fields) == [None, None, "last4", "hash"]
    assert shown(got, attributed("vip", 3), attributed("vip", 4)) == ["last4", None], "children show the parent's rows"
    assert shown(got, attributed("cards_v", 1), attributed("cards_v", 2)) == [None, "last4"], "a view passes it on"
    assert shown(got, attributed("pan_v2", 1)) == ["full"], "an expression over it shows nothing"
    assert shown(got, attributed("names_v", 1), attributed("vendors", 2)) == [None, None]
    assert shown(got, attributed("unheard of", 1)) == ["full"]
    assert shown(got, Field(b"ctid", OID["customers"], -1, 27, 0)) == [None]
    assert shown(got, Field(b"whole row", OID["customers"], 0, 16, 0)) == ["full"]


@pytest.mark.parametrize(
    ("text", "clear"),
    [
        ("SELECT upper(card), name || 'x', count(*) FROM customers", (False, True, True)),
        ("SELECT count(*) FROM customers", (True,)),
        ("SELECT max(id), min(card) FROM customers", (True, False)),
        ("SELECT c FROM customers c", (False,)),
        ("SELECT to_jsonb(c) FROM customers c", (False,)),
        ("SELECT row_to_json(customers) FROM customers", (False,)),
        ("SELECT x.y || '' FROM (SELECT card AS y FROM customers) x", (False,)),
        ("SELECT x.upper || '' FROM (SELECT upper(card) FROM customers) x", (False,)),
        ("WITH q AS (SELECT card z FROM customers) SELECT z || 'a', 1 FROM q", (False, True)),
        ("WITH q(w) AS (SELECT card FROM customers) SELECT w || 'a' FROM q", (False,)),
        ("SELECT a.b || '' FROM customers AS a(x, y, b)", (False,)),
        ("SELECT (SELECT card FROM customers LIMIT 1) || ''", (False,)),
        ("SELECT ARRAY(SELECT * FROM cards_v)", (False,)),
        ("SELECT v.card || '' FROM vendors v, customers c", (True,)),
        ("SELECT pan || '' FROM cards_v", (False,)),
        ("SELECT anything || '' FROM remote", (False,)),
        ("UPDATE customers SET name = 'x' RETURNING card || '', name || ''", (False, True)),
        ("SELECT CASE WHEN id = 1 THEN card END, CASE WHEN id = 1 THEN name END FROM customers", (False, True)),
        ("SELECT string_agg(card, ',') FROM customers", (False,)),
    ],
)
def test_unattributed_expressions(text: str, clear: tuple[bool, ...]) -> None:
    got = plan(text)
    assert got.refused is None
    masked = got.for_fields([EXPRESSION] * len(clear))
    assert tuple(mask is None for mask in masked) == clear


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("SELECT card FROM customers", True),
        ("SELECT * FROM customers", True),
        ("SELECT * FROM nowhere", True),
        ("FETCH ALL FROM c", True),
        ("CALL purge_orders()", True),
        ("UPDATE customers SET name = 'x' RETURNING card", True),
        ("COPY customers TO STDOUT", True),
        ("SELECT name FROM customers", False),
        ("SELECT count(*) FROM customers", False),
        ("UPDATE customers SET name = 'x' RETURNING id", False),
        ("UPDATE customers SET card = '4111'", False),
        ("COPY customers (name) TO STDOUT", False),
        ("COPY customers FROM STDIN", False),
        ("CREATE TABLE nowhere (a text)", False),
        ("DROP TABLE nowhere", False),
        ("DECLARE c CURSOR FOR SELECT card FROM customers", False),
        ("SELECT id FROM orders", False),
    ],
)
def test_what_would_be_hidden_is_told_before_rows_come(text: str, hidden: bool) -> None:
    got = plan(text)
    assert got.refused is None
    assert got.hides is hidden


@pytest.mark.parametrize(
    "text",
    [
        "SELECT *, card || '' FROM customers",  # positions are not known behind a star
        "SELECT card FROM customers UNION ALL SELECT name FROM customers",
        "SELECT purge_orders() FROM orders",
        "SELECT * FROM nowhere",
        "FETCH ALL FROM c",
    ],
)
def test_what_is_not_known_is_masked(text: str) -> None:
    assert shown(plan(text), EXPRESSION) == ["full"]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM customers WHERE card = '4111'",
        "SELECT id FROM customers WHERE email LIKE 'a%'",
        "SELECT id FROM customers WHERE email = name",
        "SELECT id FROM customers WHERE email = 'a' AND card = '4'",
        "SELECT id FROM vip WHERE card > ''",
        "SELECT name FROM customers ORDER BY card",
        "SELECT name, card FROM customers ORDER BY 2",
        "SELECT * FROM customers ORDER BY 3",
        "SELECT card c FROM customers ORDER BY c",
        "SELECT count(*) FROM customers GROUP BY card",
        "SELECT count(*) FROM customers GROUP BY id HAVING max(card) > '4'",
        "SELECT card::int FROM customers",
        "SELECT DISTINCT card FROM customers",
        "SELECT card FROM customers UNION SELECT 'x'",
        "SELECT o.id FROM orders o JOIN customers c ON o.note = c.card",
        "SELECT id FROM customers NATURAL JOIN vendors",
        "SELECT 1 FROM customers JOIN vendors USING (card)",
        "SELECT exists(SELECT 1 FROM customers WHERE card = '4')",
        "INSERT INTO orders (note) SELECT card FROM customers",
        "INSERT INTO orders SELECT * FROM cards_v",
        "INSERT INTO orders (note) VALUES ((SELECT card FROM customers LIMIT 1))",
        "UPDATE customers SET name = card",
        "UPDATE orders SET note = c.card FROM customers c",
        "CREATE TABLE t AS SELECT card FROM customers",
        "SELECT card INTO t FROM customers",
        "CREATE VIEW v AS SELECT card FROM customers",
        "ALTER TABLE customers RENAME card TO harmless",
        "EXPLAIN SELECT 1 FROM customers WHERE card < '5'",
        "DECLARE c CURSOR FOR SELECT 1 FROM customers WHERE card < '5'",
        "DELETE FROM customers WHERE card LIKE '4%'",
        "SELECT rank() OVER (ORDER BY card) FROM customers",
        "SELECT count(*) FILTER (WHERE card > '4') FROM customers",
    ],
)
def test_uses_that_would_reveal_are_refused(text: str) -> None:
    refused = plan(text).refused
    assert refused is not None
    why, rules = refused
    assert "masked" in why
    assert set(rules) & {"m.mask.card", "m.mask.email"}


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM customers WHERE email = 'a@b'",
        "SELECT id FROM customers WHERE $1 = customers.email AND id > 3",
        "DELETE FROM customers WHERE email = $1",
        "UPDATE customers SET card = '4111' WHERE id = 1",
        "INSERT INTO customers VALUES (9, 'n', '4111', 'e')",
        "SELECT card FROM customers ORDER BY name LIMIT 3",
        "SELECT v.id FROM vendors v, customers c WHERE v.card = 'x'",
        "DROP TABLE customers",
        "SELECT c.name FROM customers c JOIN orders o ON o.customer_id = c.id GROUP BY c.name",
    ],
)
def test_uses_that_reveal_nothing_go_through(text: str) -> None:
    assert plan(text).refused is None


def test_statements_far_from_masks_are_untouched() -> None:
    assert plan("SELECT card || '' FROM vendors WHERE card = 'x' ORDER BY card").untouched
    assert plan("SELECT relname FROM pg_class").untouched
    assert plan("SELECT * FROM customers", masks=()).untouched
    assert not plan("SELECT purge_orders()").untouched
    assert plan("SELECT purge_orders()", trusted_functions=("purge_orders",)).untouched


def copied(text: str) -> list[str | None]:
    copy = plan(text).copy
    return [mask and mask.show for mask in copy.masks] if copy else []


def test_copy_of_a_table_is_masked_by_column() -> None:
    copy = plan("COPY customers TO STDOUT").copy
    assert copy is not None
    assert (copy.masks, copy.types, copy.format.kind) == ((None, None, CARD, EMAIL), (0, 0, 25, 25), "text")
    assert copied("COPY customers (email, id) TO STDOUT (FORMAT binary)") == ["hash", None]
    assert copied("COPY (SELECT card, card || '', id FROM customers) TO STDOUT (FORMAT csv)") == ["last4", "full", None]
    assert copied("COPY (SELECT pan, id FROM cards_v) TO STDOUT") == ["last4", None]
    assert copied("COPY (SELECT anything FROM remote) TO STDOUT") == ["full"]
    assert plan("COPY orders TO STDOUT").untouched
    assert plan("COPY customers (id, name) TO STDOUT (FORMAT csv)").untouched
    assert plan("COPY (SELECT name || '' FROM customers) TO STDOUT (FORMAT binary)").untouched
    assert copied("COPY (SELECT purge_orders(), 1) TO STDOUT") == ["full", None]
    assert plan("COPY (SELECT * FROM fresh, customers) TO STDOUT").refused is not None
    assert plan("COPY customers TO STDOUT (FORMAT fancy)").refused is not None
    assert plan("COPY customers TO STDOUT (ENCODING 'SJIS')").refused is not None
    assert plan("COPY customers TO STDOUT (HEADER match)").refused is not None
    assert plan("COPY (SELECT name FROM customers WHERE card = '1') TO STDOUT").refused is not None
    assert plan("COPY fresh TO STDOUT").refused is not None
    assert not plan("COPY customers FROM STDIN").untouched
    assert plan("COPY customers FROM STDIN").suspicious


def test_without_a_catalogue_everything_is_masked() -> None:
    (statement,) = analyse(b"SELECT 1", SESSION, None).statements
    assert shown(output_plan(statement, MASKS, None, SESSION), EXPRESSION) == ["full"]


def test_extensions_operators_and_functions_are_no_users_code() -> None:
    """The catalogue leaves them out; what remains unknown stays masked and out of conditions."""
    assert plan("SELECT similarity('a', 'b')").untouched
    assert plan("SELECT id FROM orders WHERE purge_orders() > 0").refused is not None
    assert plan("SELECT id FROM orders WHERE purge_orders() > 0", trusted_functions=("public.purge_orders",)).untouched
    assert not plan("SELECT other.purge_orders()", trusted_functions=("purge_orders",)).untouched


def test_a_table_unknown_to_the_catalogue_can_be_used_but_its_columns_are_masked() -> None:
    got = plan("SELECT a, b || '' FROM fresh WHERE a = 1 ORDER BY a")
    assert got.refused is None
    assert shown(got, Field(b"a", 99999, 1, 25, 0), EXPRESSION) == ["full", "full"]


def test_generated_columns_follow_their_table() -> None:
    columns = [
        ("16400", str(i), name, "25", "f", "t" if name == "twin" else "f") for i, name in enumerate(["card", "twin"], 1)
    ]
    small = catalogue(columns=columns)
    (statement,) = analyse(b"SELECT twin FROM customers", SESSION, small).statements
    got = output_plan(statement, MASKS, small, SESSION)
    assert shown(got, Field(b"twin", 16400, 2, 25, 0)) == ["full"]
    (statement,) = analyse(b"COPY customers TO STDOUT", SESSION, small).statements
    assert output_plan(statement, MASKS, small, SESSION).copy.masks == (CARD,), "COPY leaves generated columns out"
