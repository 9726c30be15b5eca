"""Writes hoopd/sql/builtin_names.py from a PostgreSQL server's own catalogue; run it when a new major version comes.

Usage: builtin_functions.py DSN… (one for each version; what any of them calls volatile is left out).
"""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg2

QUERY = """
SELECT proname, bool_or(provolatile = 'v'), bool_or(prokind = 'a')
FROM pg_proc WHERE oid < 16384 AND prokind IN ('f', 'a', 'w')
  AND 'internal'::regtype <> ALL (proargtypes::oid[]) AND prorettype <> 'internal'::regtype
GROUP BY proname
"""


def main() -> None:
    harmless: set[str] = set()
    volatile: set[str] = set()
    aggregates: set[str] = set()
    for dsn in sys.argv[1:]:
        with psycopg2.connect(dsn) as connection, connection.cursor() as cursor:
            cursor.execute(QUERY)
            for name, is_volatile, is_aggregate in cursor.fetchall():
                (volatile if is_volatile else harmless).add(name)
                if is_aggregate:
                    aggregates.add(name)
    lines = [
        '"""Names of PostgreSQL\'s own functions, from its catalogue (tools/builtin_functions.py writes this file)."""',
        "",
        "from __future__ import annotations",
        "",
    ]
    for title, values in (
        ("NOT_VOLATILE", sorted(harmless - volatile)),
        ("AGGREGATES", sorted(aggregates)),
    ):
        lines.append(f'{title} = frozenset(\n    """')
        row = ""
        for value in values:
            if len(row) + len(value) > 110:
                lines.append(row.rstrip())
                row = ""
            row += value + " "
        lines.append(row.rstrip())
        lines.append('""".split()\n)')
        lines.append("")
    Path("hoopd/sql/builtin_names.py").write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
