"""Twin databases that differ only in what is masked, with a gateway before them; for the acceptance cases.

Whoever makes a L{Twins} closes it. The databases C{tpla} and C{tplb} are never connected to: sessions have copies of them.
"""

from __future__ import annotations

import base64
import os
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hoopd.ctl import connection
from hoopd.secret import Secret
from tests.integration.installation import Gateway
from tests.integration.postgres import PostgresServer
from tests.integration.wire import Wire

CASES = Path(__file__).parents[1] / "cases" / "postgres"

#: what the cases' README assumes
POLICY = """
targets = ["orders", "super"]
mask.ssn = { columns = ["customers.ssn", "people.ssn"] }
mask.card = { columns = ["customers.card"] }
mask.doc = { columns = ["hist.doc"] }
allow.read = { who = ["group:analysts"], do = ["read", "listen"] }
allow.ddl = { who = ["group:analysts"], do = ["create", "alter", "drop", "maintenance"] }
hold.ddl = { do = ["ddl", "maintenance"], by = ["group:leads"], wait = "60s", in_transaction = true }
"""

SETTINGS = (
    "shared_preload_libraries = 'pg_stat_statements'",
    "autovacuum = off",
    "wal_level = logical",
    "max_connections = 60",
)

#: catalogs whose rows change with what a statement may not change
_CATALOGS = (
    "pg_class pg_attribute pg_proc pg_type pg_namespace pg_constraint pg_extension pg_rewrite pg_trigger pg_policy pg_enum"
    " pg_description pg_statistic_ext pg_foreign_server pg_user_mapping pg_default_acl pg_operator pg_cast pg_authid"
    " pg_auth_members pg_subscription pg_db_role_setting pg_event_trigger pg_database pg_largeobject_metadata"
).split()

#: of each twin: masked values as the fixture and twins.sh write them
VALUES = {
    "a": (
        ("123-45-6789", "987-65-4321", "555-11-2222", "901-02-0304"),
        (4111111111111111, 5500005555555559, 4012888888881881, 6011000990139424),
    ),
    "b": (
        ("923-45-6781", "187-65-4320", "155-11-2229", "101-02-0309"),
        (5111111111111118, 4500005555555551, 5012888888881889, 5011000990139429),
    ),
}


def raw_forms(twin: str) -> list[bytes]:
    """How masked values of a twin look in a message: as text, binary, hexadecimal, base64, reversed."""
    numbers, cards = VALUES[twin]
    texts = [*numbers, *map(str, cards)]
    found = [each.encode() for each in texts]
    found += [each.encode().hex().encode() for each in texts]
    found += [base64.b64encode(each.encode()).rstrip(b"=")[:-1] for each in texts]
    found += [each[::-1].encode() for each in texts]
    return [*found, *(card.to_bytes(8, "big") for card in cards), *(f"{card:x}".encode() for card in cards)]


class Twins:
    """
    @ivar server, gateway: running.
    @ivar a, b: names of the databases that sessions of the cases use.
    """

    a, b = "twin_a", "twin_b"

    def __init__(self, copies: tuple[str, ...] = ()) -> None:
        """@param copies: names of more databases that clients may be given, see L{copy}."""
        self.server = PostgresServer(sample="", settings=SETTINGS)
        self._copies = copies
        self._lines: dict[str, Wire] = {}
        try:
            self.server.start()
            self._build()
            self.gateway = _Gateway(self.server, (self.a, self.b, *copies))
        except BaseException:
            self.server.stop()
            raise
        try:
            self.gateway.__enter__()
            self.gateway.identity("user:ana", groups=["analysts"])
            self.gateway.identity("user:lee", groups=["leads"], duties=["approver"])
        except BaseException:
            self.close()
            raise
        self.tls = ssl.create_default_context(cafile=str(self.gateway.authorities))
        self.lee = connection.Gateway(
            str(self.gateway.socket), Path("/nowhere"), Secret(self.gateway.tokens["user:lee"].encode())
        )

    def close(self) -> None:
        for line in self._lines.values():
            line.close()
        self.gateway.__exit__(None, None, None)
        self.server.stop()

    # -- databases ---------------------------------------------------------------------------------------------

    def _build(self) -> None:
        server = self.server
        hba = server.directory / "cluster" / "pg_hba.conf"
        # the tests' own connections have no TLS; the gateway's have, and prove themselves
        trusted = "hostnossl all all 127.0.0.1/32 trust\nhostnossl replication all 127.0.0.1/32 trust\n"
        hba.write_text(trusted + hba.read_text())
        server.query("SELECT pg_reload_conf(); DROP DATABASE orders", "postgres")
        server.query("DROP ROLE app", "postgres")
        directory = Path(tempfile.mkdtemp(prefix="hoopd-cases-"))
        try:
            for name in ("twins.sh", "fixture.sql"):
                (directory / name).write_text((CASES / name).read_text().replace("54329", str(server.port)))
            done = subprocess.run(
                ["bash", str(directory / "twins.sh")],
                env={**os.environ, "PGPASSWORD": server.superuser_password, "PGPORT": str(server.port)},
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise RuntimeError(f"the twin databases cannot be built:\n{done.stdout}{done.stderr}")
        finally:
            shutil.rmtree(directory)
        server.query(f"ALTER ROLE app PASSWORD '{server.app_password}'", "postgres")
        self.copy("tpla", self.a)
        self.copy("tplb", self.b)

    def copy(self, template: str, name: str) -> None:
        """A fresh copy of a twin, with the same oids."""
        self.server.query(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy", "postgres")
        self.server.query(f"GRANT ALL ON DATABASE {name} TO app; ALTER SERVER loop OPTIONS (SET dbname '{name}')", name)

    def drop(self, name: str) -> None:
        """A copy is not needed any more."""
        line = self._lines.pop(name, None)
        if line is not None:
            line.close()
        self.server.query(f"DROP DATABASE {name} WITH (FORCE)", "postgres")

    def admin(self, database: str) -> Wire:
        """A superuser's own connection, without the gateway."""
        if database not in self._lines:
            self._lines[database] = Wire(("127.0.0.1", self.server.port), "postgres", database)
        return self._lines[database]

    def digest(self, database: str) -> list[list[str | None]]:
        """What a statement could have changed: rows of tables, definitions, sequences, large objects, slots."""
        line = self.admin(database)
        parts = [
            f"SELECT '{name}', count(*), sum(hashtext(t::text || t.xmin::text)) FROM pg_catalog.{name} t"
            for name in _CATALOGS
        ]
        parts.append("SELECT 'lo', count(*), sum(hashtext(encode(data, 'hex'))) FROM pg_largeobject")
        parts.append("SELECT 'slots', count(*), 0 FROM pg_replication_slots")
        parts.append("SELECT 'stats', 0, hashtext(stats_reset::text) FROM pg_stat_statements_info")
        tables = line.rows(
            "SELECT c.oid::regclass::text, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE c.oid >= 16384 AND relkind IN ('r', 'm', 'S') AND nspname !~ '^pg_' ORDER BY 1"
        )
        for name, kind in tables:
            if kind == "S":
                parts.append(f"SELECT $q${name}$q$, last_value, is_called::int FROM {name}")
                continue
            only = "" if kind == "m" else "ONLY "
            parts.append(f"SELECT $q${name}$q$, count(*), sum(hashtext(t::text)) FROM {only}{name} t")
        return sorted(line.rows(" UNION ALL ".join(parts)), key=str)

    # -- sessions ----------------------------------------------------------------------------------------------

    def through(self, database: str, superuser: bool = False, startup: dict[str, Any] | None = None) -> Wire:
        """A session through the gateway, as somebody in group analysts."""
        given = startup or {}
        target = "super" if superuser else "orders"
        return Wire(
            ("127.0.0.1", self.gateway.port),
            "ana",
            f"{target}/{database}",
            self.gateway.tokens["user:ana"],
            self.tls,
            given.get("params", ()),
            given.get("proto", 196608),
        )

    def direct(self, database: str, superuser: bool = False, startup: dict[str, Any] | None = None) -> Wire:
        """The same at the server itself."""
        given = startup or {}
        user = "postgres" if superuser else "app"
        return Wire(("127.0.0.1", self.server.port), user, database, extra=given.get("params", ()))


class _Gateway(Gateway):
    """With two targets: C{orders}, whose role owns the tables, and C{super}."""

    def __init__(self, server: PostgresServer, databases: tuple[str, ...]) -> None:
        super().__init__(server, POLICY)
        self._databases = databases

    def install(self) -> None:
        super().install()
        tables = [
            f'[targets.{name}]\nprotocol = "postgres"\nhost = "127.0.0.1"\nport = {self.server.port}\n'
            f'username = "{user}"\ncredential = "{name}-login"\ndatabases = [{", ".join(map(_quoted, self._databases))}]\n'
            f'[targets.{name}.tls]\nauthorities = "ca.pem"\n'
            for name, user in (("orders", "app"), ("super", "postgres"))
        ]
        (self.etc / "targets.d" / "example.toml").write_text("\n".join(tables))

    def bootstrap(self) -> None:
        super().bootstrap()
        self.hoopctl("vault", "put", "orders-login", text=self.server.app_password)
        self.hoopctl("vault", "put", "super-login", text=self.server.superuser_password)


def _quoted(name: str) -> str:
    return f'"{name}"'
