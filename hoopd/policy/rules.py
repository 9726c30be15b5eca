"""One policy file as values: strict, complete, with every mistake named; not the judging (L{hoopd.policy.snapshot})."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Literal

import cel
from attrs import evolve, field, frozen

from hoopd.config.schema import key
from hoopd.config.structure import Reading
from hoopd.errors import ConfigError
from hoopd.masking import detectors
from hoopd.policy import paths as path_patterns
from hoopd.policy import reasons
from hoopd.policy.words import WORDS
from hoopd.shell import patterns as command_patterns
from hoopd.values import Identity, Scope, Show, Target

VERBS = ("mask", "allow", "hold", "deny")

#: C{hold.NAME.wait} of those who come back
TICKET = "ticket"

#: a weekend of moving house; what is needed for longer is an allow rule
WINDOW_MAX = 72 * 3600.0

#: a night on call; what is needed for longer is a rule
BREAK_GLASS_MAX = 12 * 3600.0


@frozen(kw_only=True)
class MaskTable:
    columns: tuple[str, ...] = key("table.column or schema.table.column; * within a part", ())
    detect: tuple[str, ...] = key("instead of columns: what is looked for in all text", ())
    show: Show = key("what is shown instead", "full")
    find: Literal["", "equality"] = key("equality permits comparing with a constant", "")
    who: tuple[str, ...] = key("whom it covers; everyone if absent", ())
    exempt: tuple[str, ...] = field(default=(), metadata={"name": "except", "why": "who sees the values"})
    when: str = key("CEL condition", "")
    transfers: Literal["refuse", "pass"] = key(
        "SSH: files and forwards, which cannot be masked: refused, or as they are", "refuse"
    )


@frozen(kw_only=True)
class AllowTable:
    who: tuple[str, ...] = key("identities and groups; everyone if absent", ())
    do: tuple[str, ...] = key("what it opens")
    objects: tuple[str, ...] = key("only operations that touch nothing else than these relations", ())
    commands: tuple[str, ...] = key("SSH: only commands that run nothing else than these, and write no files", ())
    paths: tuple[str, ...] = key("SSH: only files that are all among these, as /srv/in/** or ~/out/*", ())
    logins: tuple[str, ...] = key("SSH: only these accounts", ())
    watch: bool | None = key(
        "SSH: whether each line typed in a shell that it opens is judged as a command; if absent, it is where a hold or deny "
        "rule on commands concerns the same people",
        None,
    )
    when: str = key("CEL condition", "")
    reason: str = key("required, or a regular expression (RE2) that the reason must match", "")
    reason_hint: str = key("what a good reason is, for people, as: a ticket number such as OPS-123", "")
    max_rows: int | None = key("ends a result after so many rows", None)
    max_bytes: int | None = key("ends a result after so many bytes", None, "size")
    max_time: float | None = key("ends a statement that takes longer", None, "duration")
    max_changes: int | None = key("rolls a write back that touches more rows", None)
    exempt: tuple[str, ...] = field(default=(), metadata={"name": "except", "why": "whom it leaves out"})


@frozen(kw_only=True)
class HoldTable:
    do: tuple[str, ...] = key("what it holds; everything if absent", ())
    by: tuple[str, ...] = key("groups or identities entitled to approve")
    who: tuple[str, ...] = key("whose operations; everyone's if absent", ())
    exempt: tuple[str, ...] = field(default=(), metadata={"name": "except", "why": "whose operations it leaves alone"})
    objects: tuple[str, ...] = key("only operations that touch one of these relations", ())
    commands: tuple[str, ...] = key("SSH: only commands that run one of these, or may", ())
    paths: tuple[str, ...] = key("SSH: only what touches one of these files, or may", ())
    logins: tuple[str, ...] = key("SSH: only these accounts", ())
    when: str = key("CEL condition", "")
    quorum: int = key("how many people must approve", 1)
    wait: float = key(
        'how long the requester\'s connection waits; the request stays open longer (approvals.open_for). "ticket": it '
        "does not wait, is refused with the request's id, and comes back",
        900.0,
        "duration",
    )
    in_transaction: bool = key("hold inside an open transaction too: its locks stay held meanwhile", False)
    notify: tuple[str, ...] = key("channels", ())
    scope: Scope = key("how far a yes reaches if its approver says nothing else: once, session or window", "once")
    scopes: tuple[Scope, ...] = key("how far it may reach; once and the rule's own scope if absent", ())
    window_max: float = key("how long a window may last, from its approval", 3600.0, "duration")
    why: str = key("said to the person who waits", "")
    reason: str = key("required, or a regular expression (RE2) that the requester's reason must match", "")
    reason_hint: str = key("what a good reason is, for people, as: a ticket number such as OPS-123", "")
    max_rows: int | None = key("row ceiling: an approved operation that touches more is rolled back", None)
    max_rows_factor: float | None = key("row ceiling as a multiple of the target's own estimate", None)


@frozen(kw_only=True)
class DenyTable:
    do: tuple[str, ...] = key("what it refuses; everything if absent", ())
    who: tuple[str, ...] = key("whose operations; everyone's if absent", ())
    exempt: tuple[str, ...] = field(default=(), metadata={"name": "except", "why": "whose operations it leaves alone"})
    objects: tuple[str, ...] = key("only operations that touch one of these relations", ())
    commands: tuple[str, ...] = key("SSH: only commands that run one of these, or may", ())
    paths: tuple[str, ...] = key("SSH: only what touches one of these files, or may", ())
    logins: tuple[str, ...] = key("SSH: only these accounts", ())
    when: str = key("CEL condition", "")
    why: str = key("said to the person who is refused", "")


Skip = Literal["holds", "denies", "masks"]


@frozen(kw_only=True)
class BreakGlassTable:
    who: tuple[str, ...] = key("who may; agents only where they are named one by one")
    exempt: tuple[str, ...] = field(default=(), metadata={"name": "except", "why": "whom it leaves out"})
    skip: tuple[Skip, ...] = key("what it lets pass: holds, denies, masks, each named", ("holds",))
    lasts: float = field(default=1800.0, metadata={"name": "for", "kind": "duration", "why": "how long one use lasts"})
    notify: tuple[str, ...] = key("channels told of each use", ())
    review: float = key("within how long after its end a use must be reviewed", 86400.0, "duration")
    review_by: tuple[str, ...] = key("who reviews; who approves the target's holds, and auditors, if absent", ())
    why: str = key("said to the person who uses it", "")


_TABLES: dict[str, type] = {
    "mask": MaskTable,
    "allow": AllowTable,
    "hold": HoldTable,
    "deny": DenyTable,
    "break_glass": BreakGlassTable,
}


@frozen(kw_only=True)
class TestIdentityTable:
    __test__ = False
    groups: tuple[str, ...] = key("its groups", ())
    scopes: tuple[str, ...] | None = key("its token's scopes", None)


@frozen(kw_only=True)
class TestTable:
    __test__ = False
    expect: tuple[str, ...] = key("rules that decide, as deny.drop")
    target: str = key("the target; the first that the file selects if absent", "")
    rows: int | None = key("op.rows", None)
    reason: str = key("the reason given", "")
    break_glass: str = key("a break_glass rule of this file that is in use meanwhile", "")


@frozen(eq=False)
class Condition:
    """One CEL expression (cel-spec), compiled."""

    source: str
    program: Any = field(repr=False)

    @property
    def reads_clock(self) -> bool:
        return re.search(r"\bnow\b", self.source) is not None

    @property
    def reads_rows(self) -> bool:
        """Whether it may depend on C{op.rows}, under whatever name of C{op}."""
        return re.search(r"\brows\b", self.source) is not None

    def holds(self, context: Mapping[str, Any]) -> bool | None:
        """True or False; None where it cannot be told: a variable is not known, or it fails."""
        try:
            result = self.program.execute(dict(context))
        except Exception:
            # the language has no common error class; whatever went wrong, the answer is not known
            return None
        return result if isinstance(result, bool) else None


@frozen(eq=False)
class Rule:
    """@ivar id: C{<file>.<verb>.<name>}."""

    id: str
    verb: str
    table: Any
    condition: Condition | None

    def concerns(self, identity: Identity) -> bool:
        """Whether the rule speaks of this identity."""
        if any(names(pattern, identity) for pattern in self.table.exempt):
            return False
        return not self.table.who or any(names(pattern, identity) for pattern in self.table.who)

    def arms(self, identity: Identity) -> bool:
        """Whether a break_glass rule gives this identity its right: a person, or an agent that it names itself."""
        if identity.kind == "agent" and identity.name not in self.table.who:
            return False
        return self.concerns(identity)


@frozen(eq=False)
class PolicyFile:
    """@ivar name: file name without .toml."""

    name: str
    targets: tuple[str, ...]
    labels: Mapping[str, str]
    mode: str
    unparsed: str
    contact: str
    rules: tuple[Rule, ...]
    identities: Mapping[str, TestIdentityTable]
    tests: Mapping[str, TestTable]
    break_glass: tuple[Rule, ...] = ()

    def selects(self, target: Target) -> bool:
        if self.targets and not any(fnmatchcase(target.name, pattern) for pattern in self.targets):
            return False
        return all(target.labels.get(name) == value for name, value in self.labels.items())


def names(pattern: str, identity: Identity) -> bool:
    """Whether C{user:…}, C{agent:…}, C{group:…} or C{*} means this identity."""
    if pattern.startswith("group:"):
        return any(fnmatchcase(group, pattern[6:]) for group in identity.groups)
    return fnmatchcase(identity.name, pattern)


def touches(pattern: str, name: str) -> bool:
    """Whether an object pattern (C{table} or C{schema.table}) means the relation C{schema.table}."""
    if "." not in pattern:
        return fnmatchcase(name.rpartition(".")[2], pattern)
    return fnmatchcase(name, pattern)


def read(name: str, text: str, errors: list[ConfigError]) -> PolicyFile | None:
    """One file's text. @return: None when something is wrong, noted in C{errors}."""
    before = len(errors)
    reading = Reading(name, errors)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as problem:
        reading.wrong("", f"not valid TOML: {problem}")
        return None
    stem = name.removesuffix(".toml")
    known = ["targets", "labels", "mode", "unparsed", "contact", "identity", "test", "break_glass", *VERBS]
    for word in tables:
        if word not in known:
            reading.unknown(word, word, known)
    if not tables.get("targets") and not tables.get("labels"):
        reading.wrong("targets", "is missing: say which targets the file is for", 'targets = ["*"] is all')
    rules: list[Rule] = []
    glass: list[Rule] = []
    for verb in (*VERBS, "break_glass"):
        group = tables.get(verb, {})
        if not isinstance(group, dict):
            reading.wrong(verb, f"must be tables: write {verb}.NAME = {{ … }}")
            continue
        for rule_name, table in group.items():
            rule = _rule(reading, stem, verb, rule_name, table)
            if rule is not None:
                (glass if verb == "break_glass" else rules).append(rule)
    identities = {
        each: reading.table(TestIdentityTable, table, f'identity."{each}"')
        for each, table in tables.get("identity", {}).items()
    }
    tests = {}
    for each, value in tables.get("test", {}).items():
        table = {"expect": value} if isinstance(value, list) else value
        tests[each] = reading.table(TestTable, table, f'test."{each}"')
    made = PolicyFile(
        name=stem,
        targets=reading.value(tuple[str, ...], tables.get("targets", []), "targets") or (),
        labels=reading.value(Mapping[str, str], tables.get("labels", {}), "labels") or {},
        mode=reading.value(Literal["enforce", "observe"], tables.get("mode", "enforce"), "mode") or "enforce",
        unparsed=reading.value(Literal["refuse", "forward"], tables.get("unparsed", "refuse"), "unparsed") or "refuse",
        contact=reading.value(str, tables.get("contact", ""), "contact") or "",
        rules=tuple(rules),
        identities=identities,
        tests=tests,
        break_glass=tuple(glass),
    )
    return made if len(errors) == before else None


def _check_detectors(reading: Reading, where: str, made: MaskTable) -> None:
    if bool(made.columns) == bool(made.detect):
        reading.wrong(where, "a mask has columns, or something to detect", "write the other in a rule of its own")
    for name in made.detect:
        if not detectors.known(name):
            reading.wrong(
                f"{where}.detect", f"nothing finds {name!r}", f"one of {', '.join(detectors.DETECTORS)}, phone:XX"
            )
    if made.columns and made.transfers != "refuse":
        reading.wrong(f"{where}.transfers", "is about SSH hosts, which have no columns", "leave it out")
    if made.detect and (made.find or made.show in ("hash", "null")):
        reading.wrong(where, "what is found in text is shown full, last4 or partial", "leave out the rest")


def _rule(reading: Reading, stem: str, verb: str, name: str, table: Any) -> Rule | None:
    where = f"{verb}.{name}"
    if isinstance(table, dict) and isinstance(table.get("notify"), str):
        table = {**table, "notify": [table["notify"]]}
    if isinstance(table, dict) and isinstance(table.get("skip"), str):
        table = {**table, "skip": [table["skip"]]}
    ticket = isinstance(table, dict) and verb == "hold" and table.get("wait") == TICKET
    if ticket:
        table = {name: value for name, value in table.items() if name != "wait"}
    made = reading.table(_TABLES[verb], table, where)
    if made is None:
        return None
    before = len(reading.errors)
    for word in getattr(made, "do", ()):
        if word not in WORDS:
            close = difflib.get_close_matches(word, sorted(WORDS), 1)
            hint = f"did you mean {close[0]}?" if close else "docs/policy.md lists the words"
            reading.wrong(f"{where}.do", f"unknown word {word!r}", hint)
    for pattern in (*made.who, *made.exempt, *getattr(made, "by", ()), *getattr(made, "review_by", ())):
        if pattern != "*" and pattern.partition(":")[0] not in ("user", "agent", "group"):
            reading.wrong(where, f"{pattern!r} names nobody", "write user:NAME, agent:NAME, group:NAME or *")
    if verb == "hold":
        _check_hold(reading, where, made)
        scopes = tuple(dict.fromkeys(("once", made.scope, *made.scopes)))
        made = evolve(made, wait=0.0 if ticket else made.wait, scopes=scopes)
    if verb == "break_glass":
        _check_break_glass(reading, where, made)
    if verb == "mask":
        for column in made.columns:
            if len(column.split(".")) not in (2, 3):
                reading.wrong(f"{where}.columns", f"{column!r} is no column", "write table.column or *.column")
        _check_detectors(reading, where, made)
    for pattern in getattr(made, "commands", ()):
        mistake = command_patterns.problem(pattern)
        if mistake:
            reading.wrong(f"{where}.commands", mistake)
    for pattern in getattr(made, "paths", ()):
        mistake = path_patterns.problem(pattern)
        if mistake:
            reading.wrong(f"{where}.paths", mistake)
    if getattr(made, "watch", None) is not None and "shell" not in made.do:
        reading.wrong(f"{where}.watch", "is about shells, and the rule opens none", 'do = ["shell"]')
    problem = reasons.problem(getattr(made, "reason", ""))
    if problem:
        reading.wrong(f"{where}.reason", problem)
    for limit in ("max_rows", "max_bytes", "max_time", "max_changes", "max_rows_factor"):
        value = getattr(made, limit, None)
        if value is not None and (value < 0 or (value == 0 and limit in ("max_time", "max_rows_factor"))):
            reading.wrong(f"{where}.{limit}", "must be more than nothing")
    condition = None
    if getattr(made, "when", ""):
        try:
            condition = Condition(made.when, cel.compile(made.when))
        except ValueError as error:
            reading.wrong(f"{where}.when", f"is no CEL expression: {str(error).splitlines()[0]}")
    return Rule(f"{stem}.{verb}.{name}", verb, made, condition) if len(reading.errors) == before else None


def _check_hold(reading: Reading, where: str, made: Any) -> None:
    if not made.by:
        reading.wrong(f"{where}.by", "is empty: nobody could approve")
    if made.quorum < 1:
        reading.wrong(f"{where}.quorum", "must be at least 1")
    if made.wait <= 0:
        reading.wrong(f"{where}.wait", "must be longer than nothing", f'"{TICKET}" waits for nobody')
    if not 0 < made.window_max <= WINDOW_MAX:
        reading.wrong(f"{where}.window_max", f"must be longer than nothing and at most {WINDOW_MAX / 3600:g} hours")
    if made.scopes and made.scope not in made.scopes:
        reading.wrong(f"{where}.scopes", f"leaves out the rule's own scope, {made.scope}")
    for pattern in made.by:
        if pattern.startswith("agent:"):
            reading.wrong(f"{where}.by", f"{pattern}: agents do not approve")


def _check_break_glass(reading: Reading, where: str, made: BreakGlassTable) -> None:
    if not made.who:
        reading.wrong(f"{where}.who", "is empty: nobody could use it")
    if not made.skip:
        reading.wrong(f"{where}.skip", "is empty: it would skip nothing")
    if not 0 < made.lasts <= BREAK_GLASS_MAX:
        reading.wrong(f"{where}.for", f"must be longer than nothing and at most {BREAK_GLASS_MAX / 3600:g} hours")
    if made.review <= 0:
        reading.wrong(f"{where}.review", "must be longer than nothing")
    for pattern in made.review_by:
        if pattern.startswith("agent:"):
            reading.wrong(f"{where}.review_by", f"{pattern}: agents do not review")
