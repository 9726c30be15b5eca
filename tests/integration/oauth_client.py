"""A libpq 18 client that brings a bearer token by OAUTHBEARER: PORT AUTHORITIES ISSUER, the token on standard input.

libpq asks the application for a token by a hook (libpq documentation, "OAuth Support"); no Python driver has it yet, so the
hook is set by ctypes in the very library that psycopg's binary wheel brings. Prints a masked column, or the error.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import psycopg
import psycopg_binary

PQAUTHDATA_OAUTH_BEARER_TOKEN = 1


class BearerRequest(ctypes.Structure):
    """C{PGoauthBearerRequest} of libpq-fe.h."""

    _fields_ = (
        ("openid_configuration", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("async_", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_void_p),
        ("user", ctypes.c_void_p),
    )


def main(port: str, authorities: str, issuer: str) -> None:
    token = ctypes.create_string_buffer(sys.stdin.read().strip().encode())
    asked: list[tuple[bytes | None, bytes | None]] = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(BearerRequest))
    def hook(kind: int, connection: int, request: ctypes._Pointer[BearerRequest]) -> int:
        if kind != PQAUTHDATA_OAUTH_BEARER_TOKEN:
            return 0
        asked.append((request.contents.openid_configuration, request.contents.scope))
        request.contents.token = ctypes.addressof(token)
        return 1

    (library,) = Path(psycopg_binary.__file__).parent.parent.glob("psycopg_binary.libs/libpq-*")
    ctypes.CDLL(str(library)).PQsetAuthDataHook(hook)
    try:
        with psycopg.connect(
            host="127.0.0.1", port=port, dbname="orders", user="whoever", sslmode="verify-full", sslrootcert=authorities,
            options="-c hoopd.proof=oauth", oauth_issuer=issuer, oauth_client_id="ci",
        ) as connection:  # fmt: skip
            print(connection.execute("SELECT card_number FROM customers WHERE id = 1").fetchone())
    except psycopg.OperationalError as error:
        print("refused:", " ".join(str(error).split()))
    print(asked)


main(*sys.argv[1:])
