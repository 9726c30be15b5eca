"""Passwords of local identities: Argon2id (RFC 9106), kept as PHC strings with their parameters; blocking.

Called in threads: one takes about 0.1 s and 64 MiB.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

#: NIST SP 800-63B asks for 8 at least; attacks on a stolen store are offline
MIN_LENGTH = 12
#: bounds what one proof costs; a passphrase has 30 or 60
MAX_LENGTH = 1024
#: RFC 9106 section 4, second recommended option
_MEMORY, _PASSES, _LANES = 65536, 3, 4


def hash_password(password: bytes, salt: bytes) -> str:
    """
    @param salt: 16 fresh random bytes.
    @raise ValueError: too short or too long.
    """
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise ValueError(f"a password has {MIN_LENGTH} to {MAX_LENGTH} characters")
    return Argon2id(salt=salt, length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY).derive_phc_encoded(
        password
    )


def verify_password(password: bytes, stored: str) -> bool:
    """@return: whether C{password} is the one of C{stored}."""
    try:
        Argon2id.verify_phc_encoded(password, stored)
    except InvalidKey:
        return False
    return True


#: for names without a password, so that they take as long: nothing fits it, its hash part is not one of any password
NOBODY = (
    f"$argon2id$v=19$m={_MEMORY},t={_PASSES},p={_LANES}"
    "$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)
