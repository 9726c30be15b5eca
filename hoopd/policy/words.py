"""The words of C{do}: what an operation does, and which word covers which; docs/policy.md explains them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

#: narrow word to the broad one that covers it
BROAD: dict[str, str] = {
    "insert": "write",
    "update": "write",
    "delete": "write",
    "merge": "write",
    "truncate": "write",
    "create": "ddl",
    "alter": "ddl",
    "drop": "ddl",
    "grant": "ddl",
    "large-object": "function",
    "rename": "upload",
}

#: come along with any access: they show no data and change none; what they carry has words of its own
IMPLIED = frozenset(
    {"session", "transaction", "introspect", "cursor", "prepare", "execute", "explain", "copy-in", "copy-out"}
)

#: need being named: none of the others covers them
NAMED = frozenset(
    """
    session-privileged read-write read-secret file program network copy-file copy-program role call do function listen notify
    maintenance lock
    """.split()
)

#: of SSH: what a channel is asked for
SSH = frozenset(
    """
    exec opaque interpreter shell download upload remove list sftp scp rsync subsystem environment forward-local forward-remote
    forward-agent forward-x11
    """.split()
)

#: of SSH: what is done with files
FILES = frozenset({"download", "upload", "remove", "rename", "list"})

#: come along with any other word of C{FILES}: who may fetch a file may look where it is
_BESIDE_FILES = frozenset({"list", "sftp"})

_COMMANDS = frozenset({"exec", "opaque", "interpreter"})

#: how files go where a command moves them: nothing by itself
_BY = frozenset({"scp", "rsync"})

#: whatever tightens the one speaks of the other too: what was moved or linked can be fetched under its new name
_MEANT: dict[str, str] = {"rename": "download"}

#: a statement that nobody could read may do all of this
EVERYTHING = frozenset({"read", "write", "ddl"}) | NAMED

WORDS = frozenset({"read", "write", "ddl"}) | frozenset(BROAD) | IMPLIED | NAMED | SSH


def overlaps(do: Collection[str], classes: frozenset[str]) -> bool:
    """Whether an operation of these classes is one of those that C{do} names; an empty C{do} names all."""
    if not do:
        return True
    meant = {_MEANT[word] for word in classes if word in _MEANT}
    return any(word in classes or word in meant for word in do)


def beside_files(classes: frozenset[str], do: Collection[str]) -> bool:
    """Whether an operation only comes along with those on files that C{do} names."""
    return classes <= _BESIDE_FILES and not FILES.isdisjoint(do)


def meets(do: Collection[str], classes: Collection[str]) -> bool:
    """Whether some operation could be among both: a narrow word meets the broad one that covers it."""
    if not do:
        return True
    wide = {*do, *(BROAD[word] for word in do if word in BROAD)}
    return any(word in wide or BROAD.get(word) in do for word in classes)


def narrowed(classes: Collection[str]) -> tuple[str, ...]:
    """C{classes} of one operation without the broad words that only say what its narrow ones say."""
    return tuple(
        word for word in classes if not (word in BROAD.values() and any(BROAD.get(each) == word for each in classes))
    )


def uncovered(classes: frozenset[str], do: Collection[str]) -> list[str]:
    """The words of an operation that C{do} does not open, sorted."""
    if not classes.isdisjoint(_COMMANDS) and not classes.isdisjoint(FILES):
        # the far end of a copy: whoever may run it may, and so may whoever may move these files
        return min(uncovered(classes - _COMMANDS - _BY, do), uncovered(classes - FILES - _BY, do), key=len)
    if beside_files(classes, do):
        return []
    missing = []
    for word in classes - IMPLIED:
        if word in do or BROAD.get(word) in do:
            continue
        narrow = [each for each in classes if BROAD.get(each) == word]
        if word in ("write", "ddl", "upload") and narrow:
            continue  # its narrow words are judged one by one
        if word == "write" and ("function" in classes or "large-object" in classes):
            continue  # it may write because of a function that we do not know: "function" is judged
        if word == "lock" and "write" in do:
            continue
        if word == "read-write" and any(BROAD.get(each, each) == "write" for each in do):
            continue
        missing.append(word)
    return sorted(missing)


def listing(words: Iterable[str]) -> str:
    """Words, or names of rules, as they stand in a sentence."""
    return ", ".join(words)
