import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.sql.analysis import SessionSettings, analyse
from hoopd.sql.scrub import parameters_to_redact, redact, redact_tokens
from tests.sql.world import CATALOGUE, MASKS

SESSION = SessionSettings(search_path=("public",))


def redacted(text: str) -> str:
    return redact(analyse(text.encode(), SESSION, CATALOGUE), MASKS, CATALOGUE, SESSION)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("UPDATE customers SET name = 'Ann' WHERE id = 7", "UPDATE customers SET name = 'Ann' WHERE id = 7"),
        ("UPDATE customers SET card = '4111' WHERE id = 7", "UPDATE customers SET card = '…' WHERE id = …"),
        ("INSERT INTO customers VALUES (1, 'n', '4111', $1)", "INSERT INTO customers VALUES (…, '…', '…', $1)"),
        ("ALTER USER bob PASSWORD 'hunter2'", "ALTER USER bob PASSWORD '…'"),
        ("CREATE ROLE r LOGIN PASSWORD 'x''y'", "CREATE ROLE r LOGIN PASSWORD '…'"),
        ("SELEC 'not sql' 42", "SELEC '…' …"),
        ("SELECT total FROM orders WHERE note = 'open'", "SELECT total FROM orders WHERE note = 'open'"),
        ("SELECT f('4111')", "SELECT f('…')"),
        ("INSERT INTO not_in_the_catalogue VALUES ('4111')", "INSERT INTO not_in_the_catalogue VALUES ('…')"),
        ("COPY customers FROM STDIN (NULL '4111')", "COPY customers FROM STDIN (NULL '…')"),
        ("UPDATE customers SET (name, card) = ('a', 'b')", "UPDATE customers SET (name, card) = ('…', '…')"),
        ("SELECT 1 FROM customers WHERE email = 'a@b'", "SELECT … FROM customers WHERE email = '…'"),
        ("SELECT 1 FROM customers c WHERE (c).card > '4'", "SELECT … FROM customers c WHERE (c).card > '…'"),
        ("INSERT INTO cards_v VALUES (1, 'x')", "INSERT INTO cards_v VALUES (…, '…')"),
        ("DO $x$BEGIN ALTER USER a PASSWORD 'b'; END$x$", "DO '…'"),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (k 'v')",
            "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (k '…')",
        ),
        ("SELECT total FROM orders WHERE password = 'x'", "SELECT total FROM orders WHERE password = '…'"),
        ("SELECT crypt('hunter2', note) FROM orders", "SELECT crypt('…', note) FROM orders"),
        ("UPDATE customers SET card = 'it's 4111 mine'", "UPDATE customers SET card = '…'… … mine'…'"),
    ],
)
def test_redaction(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_tokens_follow_the_lexical_rules() -> None:
    text = """SELECT E'a\\'b', $x$ 'q' $x$, U&'d', B'01', 1.5e-3, $1, "quo""ted" /* a /* b */ c */ -- d\nFROM t1"""
    assert redact_tokens(text) == """SELECT '…', '…', '…', '…', …, $1, "quo""ted" /*…*/ --…\nFROM t1"""
    assert redact_tokens("SELECT 'never closed") == "SELECT '…'"
    assert redact_tokens("SELECT $$never closed") == "SELECT '…'"


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_a_quoted_secret_never_shows(secret: str) -> None:
    marked = "S3CR3T" + secret
    quoted = marked.replace("'", "''")
    text = f"INSERT INTO customers (id, card) VALUES (1, '{quoted}')"
    assert "S3CR3T" not in redacted(text)


def test_parameters() -> None:
    def of(text: str):
        (statement,) = analyse(text.encode(), SESSION, CATALOGUE).statements
        return parameters_to_redact(statement, MASKS, CATALOGUE, SESSION)

    assert of("UPDATE customers SET card = $1 WHERE id = $2") == "all"
    assert of("SELECT * FROM orders WHERE id = $1") == frozenset()


def test_where_strings_end_is_not_known_nothing_shows() -> None:
    session = SessionSettings(standard_conforming_strings=False)
    analysis = analyse(b"SELECT '\\', secret, '", session, CATALOGUE)
    assert redact(analysis, MASKS, CATALOGUE, session) == "SELECT …"
