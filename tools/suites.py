#!/usr/bin/env python3
"""Runs suites that others wrote, straight at a PostgreSQL and through hoopd with a policy that lets everything pass.

    tools/suites.py fetch          the sources: PostgreSQL's from Debian, psycopg2's from PyPI, into .suites/
    tools/suites.py regress        PostgreSQL's own regression suite, twice; the same results are the pass
    tools/suites.py psycopg2       psycopg2's tests, likewise

What the two runs gave stays in .suites/. Not part of C{make test}: the sources are 30 MB, and a run takes minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.integration.installation import Gateway  # noqa: E402
from tests.integration.postgres import BINARIES, PostgresServer  # noqa: E402

HERE = ROOT / ".suites"
REGRESS = Path("src/test/regress")

PASS_THROUGH = """
targets = ["*"]
unparsed = "forward"
allow.everything = { do = [
    "read", "write", "ddl", "session-privileged", "read-secret", "file", "program", "network", "copy-file",
    "copy-program", "role", "call", "do", "function", "listen", "notify", "maintenance", "lock", "read-write",
] }
"""


class PassThrough(Gateway):
    """hoopd before database C{name} of the server, with the server's superuser as the target's account."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        super().__init__(server, PASS_THROUGH, workers=2, settings={"listen.postgres": {"max_message": "64MiB"}})
        self.database = name

    def install(self) -> None:
        """See L{Gateway.install}."""
        super().install()
        (self.etc / "targets.d" / "example.toml").write_text(
            f'[targets.{self.database}]\nprotocol = "postgres"\nhost = "127.0.0.1"\nport = {self.server.port}\n'
            f'username = "postgres"\ncredential = "superuser"\ndatabases = ["{self.database}"]\n'
            f'[targets.{self.database}.tls]\nauthorities = "ca.pem"\n'
        )

    def bootstrap(self) -> None:
        """See L{Gateway.bootstrap}."""
        super().bootstrap()
        self.hoopctl("vault", "put", "superuser", text=self.server.superuser_password)
        # named as the server's superuser is: what a test shows of current_user and of PGUSER is then the same
        self.identity("user:postgres")


def run(words: list[str], cwd: Path, environment: Mapping[str, str] | None = None, check: bool = True) -> str:
    """@return: all that it printed."""
    done = subprocess.run(
        words, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    text = done.stdout.decode("utf-8", "replace")
    if check and done.returncode:
        sys.exit(f"{' '.join(words)}: exit status {done.returncode}\n{text[-3000:]}")
    return text


def fetch() -> None:
    """The sources, of the installed server's version; apt's own lists and settings are left alone."""
    HERE.mkdir(exist_ok=True)
    lists = HERE / "apt"
    (lists / "sources.list.d").mkdir(parents=True, exist_ok=True)
    (lists / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    for source in Path("/etc/apt/sources.list.d").glob("*.sources"):
        text = re.sub(r"^Types:.*$", "Types: deb-src", source.read_text(), flags=re.MULTILINE)
        (lists / "sources.list.d" / source.name).write_text(text)
    if Path("/etc/apt/sources.list").exists():
        text = Path("/etc/apt/sources.list").read_text()
        (lists / "sources.list").write_text(re.sub(r"^deb ", "deb-src ", text, flags=re.MULTILINE))
    options = [
        *("-o", f"Dir::Etc::SourceList={lists / 'sources.list'}"),
        *("-o", f"Dir::Etc::SourceParts={lists / 'sources.list.d'}"),
        *("-o", f"Dir::State::Lists={lists / 'lists'}"),
        *("-o", "APT::Sandbox::User=root"),
    ]
    run(["apt-get", *options, "update"], HERE)
    found = run(["apt-cache", *options, "showsrc", "postgresql-15"], HERE)
    for version in sorted(re.findall(r"^Version: (.*)$", found, re.MULTILINE), reverse=True):
        if not list(HERE.glob("postgresql-15_*.orig.tar.bz2")):
            run(["apt-get", *options, "source", "--download-only", f"postgresql-15={version}"], HERE, check=False)
    (archive,) = HERE.glob("postgresql-15_*.orig.tar.bz2")
    run(["tar", "xf", archive.name], HERE)
    (source,) = HERE.glob("postgresql-15.*/")
    header = f"/usr/include/postgresql/{BINARIES.parent.name}/server"
    if not Path(header).exists():
        sys.exit("PostgreSQL's server headers are missing: apt-get install postgresql-server-dev-15")
    run(["gcc", "-O2", "-fPIC", "-shared", f"-I{header}", "-o", "regress.so", "regress.c"], source / REGRESS)
    for name in ("autoinc.so", "refint.so"):
        # of contrib/spi, which the tests of triggers load from there
        shutil.copy(BINARIES.parent / "lib" / name, source / REGRESS)
    run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "psycopg2"], HERE)
    (archive,) = HERE.glob("psycopg2-*.tar.gz")
    run(["tar", "xf", archive.name], HERE)
    print(f"fetched: {source.name}, {archive.name}")


def environment(database: str, gateway: Gateway | None, server: PostgresServer) -> dict[str, str]:
    """libpq's variables for one of the two ways."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    authorities = server.directory / "server.crt"
    return {
        **own,
        "PGHOST": "127.0.0.1",
        "PGUSER": "postgres",
        "PGDATABASE": database,
        "PGPORT": str(gateway.port if gateway else server.port),
        "PGPASSWORD": gateway.tokens["user:postgres"] if gateway else server.superuser_password,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(gateway.authorities if gateway else authorities),
    }


def fresh(server: PostgresServer, database: str) -> None:
    """An empty C{database} with the settings that pg_regress gives its own."""
    server.query(f"DROP DATABASE IF EXISTS {database}", "postgres")
    server.query(f"CREATE DATABASE {database} TEMPLATE template0", "postgres")
    for setting in (
        "lc_messages TO 'C'", "lc_monetary TO 'C'", "lc_numeric TO 'C'", "lc_time TO 'C'", "bytea_output TO 'hex'",
        "timezone_abbreviations TO 'Default'",
    ):  # fmt: skip
        server.query(f"ALTER DATABASE {database} SET {setting}", "postgres")


def regress_once(server: PostgresServer, gateway: Gateway | None, output: Path, source: Path) -> dict[str, bool]:
    """@return: test to whether it gave what is expected."""
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    program = BINARIES.parent / "lib" / "pgxs" / REGRESS / "pg_regress"
    # the server writes there, as another user than ours
    (output / "results").mkdir()
    (output / "results").chmod(0o777)
    words = [
        str(program), f"--inputdir={source / REGRESS}", f"--outputdir={output}", f"--dlpath={source / REGRESS}",
        f"--bindir={BINARIES}", "--host=127.0.0.1", "--user=postgres", "--use-existing", "--dbname=regression",
        f"--port={gateway.port if gateway else server.port}", "--max-connections=10",
        f"--schedule={source / REGRESS / 'parallel_schedule'}",
    ]  # fmt: skip
    text = run(words, output, environment("regression", gateway, server), check=False)
    (output / "said").write_text(text)
    found = re.findall(r"^(?:test| {4}) (\S+)\s+\.\.\. (ok|FAILED)", text, re.MULTILINE)
    return {name: result == "ok" for name, result in found}


def regress() -> int:
    """Both ways, each on a server of its own."""
    (source,) = HERE.glob("postgresql-15.*/")
    results = []
    for way in ("direct", "through"):
        with PostgresServer("", ("log_statement = none", "max_connections = 200"), tls=True) as server:
            fresh(server, "regression")
            output = HERE / f"regress-{way}"
            if way == "direct":
                results.append(regress_once(server, None, output, source))
            else:
                with PassThrough(server, "regression") as gateway:
                    results.append(regress_once(server, gateway, output, source))
                    shutil.copy(gateway.log, output / "hoopd.log")
        print(f"{way}: {sum(results[-1].values())} of {len(results[-1])}")
    direct, through = results
    differing = [name for name in direct if through.get(name) != direct[name]]
    for name in differing:
        print(f"  differs: {name}: {direct[name]} straight, {through.get(name)} through hoopd")
    written = [{name: _written(way, name) for name in direct} for way in ("direct", "through")]
    same = sum(written[0][name] == written[1][name] for name in direct)
    print(f"{same} of {len(direct)} tests wrote the same to the byte")
    # what fails straight as well (the sources may be older than the server) must fail in the same way
    unlike = [name for name in direct if not direct[name] and written[0][name] != written[1][name]]
    for name in unlike:
        print(f"  fails in another way: {name}")
    return 1 if differing or unlike or not direct else 0


def _written(way: str, name: str) -> bytes:
    """What psql wrote in a test, without the name of the folder."""
    folder = HERE / f"regress-{way}"
    return (folder / "results" / f"{name}.out").read_bytes().replace(str(folder).encode(), b"")


def psycopg2_once(server: PostgresServer, gateway: Gateway | None, output: Path) -> dict[str, str]:
    """@return: test to result."""
    (source,) = HERE.glob("psycopg2-*/")
    given = environment("psycopg2_test", gateway, server)
    settings = {"PSYCOPG2_TESTDB": "psycopg2_test", "PYTHONPATH": str(source)}
    program = "import unittest, tests; unittest.main(defaultTest='tests.test_suite', verbosity=2)"
    # the tests of the source, the module of the installed wheel
    text = run([sys.executable, "-c", program], source, {**given, **settings}, check=False)
    output.write_text(text)
    found = re.findall(
        r"^(\w+ \([\w.]+\)).*?(ok|FAIL|ERROR|skipped .*?|expected failure)$", text, re.MULTILINE | re.DOTALL
    )
    return {name: result.partition(" ")[0] for name, result in found}


def psycopg2() -> int:
    """Both ways."""
    results = []
    for way in ("direct", "through"):
        with PostgresServer("", ("log_statement = none", "max_prepared_transactions = 10"), tls=True) as server:
            fresh(server, "psycopg2_test")
            server.query("CREATE EXTENSION hstore", "psycopg2_test")
            output = HERE / f"psycopg2-{way}"
            if way == "direct":
                results.append(psycopg2_once(server, None, output))
            else:
                with PassThrough(server, "psycopg2_test") as gateway:
                    results.append(psycopg2_once(server, gateway, output))
                    shutil.copy(gateway.log, HERE / "psycopg2-through.log")
        counts = {word: list(results[-1].values()).count(word) for word in sorted(set(results[-1].values()))}
        print(f"{way}: {counts}")
    direct, through = results
    differing = [name for name in direct if through.get(name) != direct[name]]
    for name in differing:
        print(f"  differs: {name}: {direct[name]} straight, {through.get(name)} through hoopd")
    return 1 if differing or not direct else 0


if __name__ == "__main__":
    sys.exit({"fetch": fetch, "regress": regress, "psycopg2": psycopg2}[sys.argv[1]]())
