"""The throw-away server itself: it answers over verified TLS, logs statements, and leaves nothing behind."""

from tests.integration.postgres import PostgresServer


def test_starts_logs_and_stops() -> None:
    server = PostgresServer()
    with server:
        assert server.query("SELECT count(*) FROM customers", user="app", password=server.app_password) == "3"
        assert "SELECT count(*) FROM customers" in server.statements()
        directory = server.directory
        assert directory.exists()
    assert not directory.exists()
