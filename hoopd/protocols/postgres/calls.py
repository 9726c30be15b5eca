"""Functions that are called by message (FunctionCall): which, and the statement that each call stands for.

Only the large-object functions are: libpq and drivers call nothing else so. Their oids are the server's own, fixed in
pg_proc.dat and the same in PostgreSQL 12 to 18. A call is judged, recorded and masked as the SELECT that it amounts to.
"""

from __future__ import annotations

from collections.abc import Mapping

from hoopd.protocols.postgres.frontend import Bind, FunctionCall

#: oid to name and number of arguments
FUNCTIONS: Mapping[int, tuple[str, int]] = {
    715: ("lo_create", 1),
    952: ("lo_open", 2),
    953: ("lo_close", 1),
    954: ("loread", 2),
    955: ("lowrite", 2),
    956: ("lo_lseek", 3),
    957: ("lo_creat", 1),
    958: ("lo_tell", 1),
    964: ("lo_unlink", 1),
    1004: ("lo_truncate", 2),
    3170: ("lo_lseek64", 3),
    3171: ("lo_tell64", 1),
    3172: ("lo_truncate64", 2),
    3457: ("lo_from_bytea", 2),
    3458: ("lo_get", 1),
    3459: ("lo_get", 3),
    3460: ("lo_put", 3),
}


def statement(call: FunctionCall) -> bytes | None:
    """The statement that C{call} amounts to, or None for a function that is not served."""
    name, arguments = FUNCTIONS.get(call.function, ("", 0))
    if not name or len(call.values) != arguments:
        return None
    return f"SELECT pg_catalog.{name}({', '.join(f'${n}' for n in range(1, arguments + 1))})".encode()


def bound(call: FunctionCall) -> Bind:
    """Its arguments as those of that statement."""
    return Bind(b"", b"", call.formats, call.values, (call.result,))
