import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from hoopd.config.structure import ConfigErrors
from hoopd.errors import Denied
from hoopd.interfaces import IPolicyService
from hoopd.policy.directory import read_directory
from hoopd.policy.explanation import render
from hoopd.policy.snapshot import PolicySnapshot
from hoopd.policy.statements import operation
from hoopd.policy.testing import identity, run
from hoopd.policy.words import WORDS
from hoopd.sql.analysis import SessionSettings, analyse
from hoopd.values import Decision, Identity, Operation, Target

ORDERS = Target("orders", "postgres", "db", 5432, {"env": "prod"})
PRIYA = identity("user:priya", ("eng",))
CI = identity("agent:ci/orders@main")
KEY = b"k" * 32
SHIPPED = read_directory("etc/hoopd", check_files=False)


def load(text: str, target: Target = ORDERS) -> PolicySnapshot:
    return PolicySnapshot.load({"p.toml": text}, {target.name: target}, KEY)


def judge(policy: PolicySnapshot, text: str, who: Identity = PRIYA, target: Target = ORDERS, **more) -> Decision:
    (statement,) = analyse(text.encode(), SessionSettings(), None).statements
    return policy.decide(who, target, operation(statement, more.pop("reason", None), more), 1000.0)


def test_the_shipped_policy() -> None:
    policy = PolicySnapshot.load(SHIPPED, {"orders": ORDERS}, KEY)
    assert all(result.passed for result in run(policy))
    assert len(run(policy)) >= 7
    assert verifyObject(IPolicyService, policy)
    held = judge(policy, "DELETE FROM orders")
    assert held.verdict == "hold"
    assert [terms.by for terms in held.holds] == [("group:leads",), ("group:dba",)]
    assert held.holds[0].wait == 900
    assert judge(policy, "SELECT * FROM orders").limits.max_rows == 10000
    denied = judge(policy, "DROP TABLE orders")
    assert (denied.verdict, denied.why) == ("deny", "Schema changes go through migrations: see the wiki")
    assert denied.hint == "ask the database team"
    assert [mask.show for mask in policy.masks(PRIYA, ORDERS, 0)] == ["last4", "hash"]
    fraud = identity("user:fred", ("eng", "fraud"))
    assert [mask.show for mask in policy.record_masks(ORDERS)] == ["last4", "hash"]
    assert [mask.show for mask in policy.masks(fraud, ORDERS, 0)] == ["hash"]


def test_documents_carry_everything() -> None:
    policy = PolicySnapshot.load(SHIPPED, {"orders": ORDERS}, KEY)
    again = PolicySnapshot.from_document(policy.document())
    assert again.version == policy.version
    assert again.mask_key == KEY
    assert dict(again.targets()) == {"orders": ORDERS}
    for text in ("SELECT 1", "DELETE FROM orders", "DROP TABLE x", "SELECT f()"):
        assert judge(again, text) == judge(policy, text)


BASE = 'targets = ["orders"]\nallow.read = { who = ["group:eng"], do = ["read"] }\n'


@pytest.mark.parametrize(
    ("rules", "text", "verdict"),
    [
        ("", "SELECT * FROM t", "allow"),
        ("", "SELECT 1", "allow"),
        ("", "BEGIN", "allow"),
        ("", "UPDATE t SET a = 1", "deny"),
        ("", "SELECT f() FROM t", "deny"),
        ("", "SELECT * FROM pg_authid", "deny"),
        ("", "COPY t TO STDOUT", "allow"),
        ("", "COPY t TO PROGRAM 'x'", "deny"),
        ("", "SELECT * FROM t FOR UPDATE", "deny"),
        ('allow.w = { do = ["update"] }', "UPDATE t SET a = 1", "allow"),
        ('allow.w = { do = ["update"] }', "DELETE FROM t", "deny"),
        ('allow.w = { do = ["write"] }', "DELETE FROM t", "allow"),
        ('allow.w = { do = ["write"] }', "SELECT f() FROM t", "deny"),
        ('allow.f = { do = ["function"] }', "SELECT f() FROM t", "allow"),
        ('allow.w = { do = ["write"], objects = ["t"] }', "DELETE FROM t", "allow"),
        ('allow.w = { do = ["write"], objects = ["t"] }', "DELETE FROM u", "deny"),
        ('allow.w = { do = ["write"] }\ndeny.d = { objects = ["u"] }', "UPDATE t SET a = (SELECT 1 FROM u)", "deny"),
        ('allow.w = { do = ["write"], when = "op.where" }', "DELETE FROM t", "deny"),
        ('allow.w = { do = ["write"], when = "op.rows < 5" }', "DELETE FROM t", "deny"),
        ('allow.w = { do = ["write"] }\nhold.h = { when = "op.rows > 5", by = ["group:l"] }', "DELETE FROM t", "hold"),
        ('deny.all = { who = ["user:priya"] }', "SELECT 1", "deny"),
        ('deny.all = { who = ["user:p*"], except = ["group:eng"] }', "SELECT 1", "allow"),
        ('deny.d = { do = ["introspect"] }', "SELECT 1", "deny"),
    ],
)
def test_verdicts(rules: str, text: str, verdict: str) -> None:
    assert judge(load(BASE + rules), text).verdict == verdict


def test_nothing_is_allowed_to_strangers() -> None:
    policy = load(BASE)
    stranger = identity("user:stranger")
    assert policy.may_connect(stranger, ORDERS, 0).verdict == "deny"
    assert policy.may_connect(PRIYA, ORDERS, 0).verdict == "allow"
    assert judge(policy, "SELECT 1", stranger).verdict == "deny"
    elsewhere = Target("billing", "postgres", "db", 1)
    assert policy.may_connect(PRIYA, elsewhere, 0).verdict == "deny"


def test_facts_conditions_and_reasons() -> None:
    policy = load(BASE + 'allow.w = { do = ["write"], reason = "OPS-[0-9]+" }')
    refused = judge(policy, "DELETE FROM t")
    assert refused.verdict == "deny"
    assert "hoopd.reason" in refused.hint
    assert judge(policy, "DELETE FROM t", reason="because").verdict == "deny"
    assert judge(policy, "DELETE FROM t", reason="OPS-12").verdict == "allow"


def test_what_lacks_nothing_but_a_reason_and_would_be_held_says_so() -> None:
    hold = 'hold.d = { do = ["delete"], by = ["group:l"], reason = "OPS-[0-9]+", reason_hint = "a ticket" }'
    policy = load(BASE + 'allow.w = { do = ["write"], reason = "required" }\n' + hold)
    for reason in (None, "because"):
        refused = judge(policy, "DELETE FROM t", reason=reason)
        assert (refused.verdict, [terms.rule for terms in refused.holds]) == ("deny", ["p.hold.d"])
        assert refused.unreasoned is not None
        assert refused.unreasoned.patterns == ("required", "OPS-[0-9]+")
        assert (refused.unreasoned.why, refused.unreasoned.hint) == (refused.why, refused.hint)
    assert judge(policy, "DELETE FROM t", reason="OPS-1").unreasoned is None
    # what would not be held, or is refused for something else, was not to be asked for
    assert judge(policy, "INSERT INTO t VALUES (1)").unreasoned is None
    denying = load(BASE + 'allow.w = { do = ["write"] }\ndeny.d = { do = ["delete"] }\n' + hold)
    assert judge(denying, "DELETE FROM t").unreasoned is None


def test_a_time_is_asked_for_with_a_reason_that_its_rules_take() -> None:
    hold = 'hold.d = { do = ["delete"], by = ["group:l"], scopes = ["window", "once"], reason = "OPS-[0-9]+" }'
    policy = load(BASE + 'allow.w = { do = ["write"] }\n' + hold)
    target = next(iter(policy.targets().values()))
    assert [terms.rule for terms in policy.holds_over(PRIYA, target, ["write"], "OPS-1")] == ["p.hold.d"]
    assert policy.holds_over(PRIYA, target, ["insert"], "because") == ()
    with pytest.raises(Denied, match="OPS"):
        policy.holds_over(PRIYA, target, ["write"], "because")
    assert judge(policy, "SELECT * FROM t").verdict == "allow"
    limited = load(BASE + 'allow.b = { do = ["read"], max_rows = 5 }\nallow.c = { do = ["read"], max_rows = 3 }')
    assert judge(limited, "SELECT * FROM t").limits.max_rows == 3
    clock = load(BASE + 'deny.night = { do = ["read"], when = "now > 2000.0" }')
    decision = judge(clock, "SELECT * FROM t")
    assert (decision.verdict, decision.cacheable) == ("allow", False)


def test_scopes_only_narrow() -> None:
    policy = load(BASE + 'allow.w = { do = ["write"] }')
    reader = identity("user:priya", ("eng",), ("target:ord*", "do:read"))
    assert judge(policy, "SELECT * FROM t", reader).verdict == "allow"
    assert "scopes leave out delete" in judge(policy, "DELETE FROM t", reader).why
    elsewhere = identity("user:priya", ("eng",), ("target:billing",))
    assert policy.may_connect(elsewhere, ORDERS, 0).verdict == "deny"


def test_observe_forwards_and_tells() -> None:
    text = BASE + 'mode = "observe"\nmask.m = { columns = ["t.a"], show = "full" }\n'
    policy = load('mode = "observe"\n' + BASE + 'mask.m = { columns = ["t.a"], show = "full" }')
    assert text
    decision = judge(policy, "DROP TABLE t")
    assert (decision.verdict, decision.observed) == ("allow", "deny")
    assert policy.masks(PRIYA, ORDERS, 0) == ()
    assert len(policy.record_masks(ORDERS)) == 1


def test_explanation_reads_well() -> None:
    policy = PolicySnapshot.load(SHIPPED, {"orders": ORDERS}, KEY)
    (statement,) = analyse(b"DELETE FROM orders", SessionSettings(), None).statements
    said = render(policy.explain(PRIYA, ORDERS, operation(statement), 0), PRIYA, ORDERS, "DELETE FROM orders")
    assert "HELD until approved: Changes by hand need a second pair of eyes" in said
    assert "orders.hold.bulk: 2 of group:dba must approve within 900 s" in said
    assert "  orders.deny.drop: it is about drop, truncate, and this does delete, write" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('allow.a = { do = ["raed"] }', "allow.a.do: unknown word 'raed' (did you mean read?)"),
        ("allow.a = { }", "allow.a.do: is missing"),
        ('allow.a = { do = ["read"], who = ["bob"] }', "'bob' names nobody"),
        ('allow.a = { do = ["read"], when = "op." }', "allow.a.when: is no CEL expression"),
        ('hold.h = { do = ["write"] }', "hold.h.by: is missing"),
        ('hold.h = { do = ["write"], by = [] }', "nobody could approve"),
        ('hold.h = { by = ["group:l"], quorum = 0 }', "quorum: must be at least 1"),
        ('hold.h = { by = ["agent:x"] }', "agents do not approve"),
        ('hold.h = { by = ["group:l"], wait = "tickets" }', 'a duration such as "15m"'),
        ('hold.h = { by = ["group:l"], scope = "ever" }', "must be one of 'once', 'session', 'window'"),
        ('hold.h = { by = ["group:l"], scope = "window", scopes = ["once"] }', "leaves out the rule's own scope"),
        ('hold.h = { by = ["group:l"], window_max = "30d" }', "at most 72 hours"),
        ('mask.m = { columns = ["card"] }', "'card' is no column"),
        ('mask.m = { columns = ["t.c"], show = "lst4" }', "did you mean 'last4'?"),
        ("break_glass.b = { }", "break_glass.b.who: is missing"),
        ("break_glass.b = { who = [] }", "nobody could use it"),
        (
            'break_glass.b = { who = ["group:oncall"], skip = "everything" }',
            "must be one of 'holds', 'denies', 'masks'",
        ),
        ('break_glass.b = { who = ["group:oncall"], skip = [] }', "it would skip nothing"),
        ('break_glass.b = { who = ["group:oncall"], for = "2d" }', "at most 12 hours"),
        ('break_glass.b = { who = ["group:oncall"], review = 0 }', "review: must be longer than nothing"),
        ('break_glass.b = { who = ["group:oncall"], review_by = ["agent:x"] }', "agents do not review"),
        ('break_glass.b = { who = ["group:oncall"], by = ["x"] }', "break_glass.b.by: unknown key"),
        ("alow.x = {}", "alow: unknown key (did you mean allow?)"),
        ('allow.a = { do = ["read"], reason = "(" }', "neither required nor a regular expression"),
        ('test."user:x SELECT 1" = ["allow.a"]', "expected ['p.allow.a'], decided by []"),
        ('test."nobody SELECT 1" = []', "is no identity"),
        ('test."user:x SELEC 1" = []', "refused before any rule: syntax error"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load('targets = ["orders"]\n' + text)
    assert said in str(caught.value)


def test_a_missing_target_is_an_error() -> None:
    with pytest.raises(ConfigErrors, match="there is no target 'ordres'"):
        load('targets = ["ordres"]\n')


_words = st.frozensets(st.sampled_from(sorted(WORDS)), min_size=1, max_size=4)
_RANK = {"allow": 0, "hold": 1, "deny": 2}


def _rule(verb: str, name: str, do: frozenset[str]) -> str:
    by = ', by = ["group:l"]' if verb == "hold" else ""
    return f"{verb}.{name} = {{ do = {sorted(do)}{by} }}\n".replace("'", '"')


@settings(max_examples=60, deadline=None)
@given(_words, _words, st.sampled_from(["deny", "hold"]), _words, _words)
def test_judgement_is_monotone(classes, allowed, verb, extra, scopes) -> None:
    operated = Operation("postgres", classes, "x")
    base = 'targets = ["orders"]\n' + _rule("allow", "a", allowed)
    plain = load(base).decide(PRIYA, ORDERS, operated, 0).verdict
    tightened = load(base + _rule(verb, "t", extra)).decide(PRIYA, ORDERS, operated, 0).verdict
    assert _RANK[tightened] >= _RANK[plain]
    without = load('targets = ["orders"]\n').decide(PRIYA, ORDERS, operated, 0).verdict
    assert _RANK[without] >= _RANK[plain]
    narrowed = identity("user:priya", ("eng",), tuple(f"do:{word}" for word in scopes))
    assert _RANK[load(base).decide(narrowed, ORDERS, operated, 0).verdict] >= _RANK[plain]


EVERYTHING = """
targets = ["orders"]
unparsed = "forward"
allow.all = { who = ["group:eng"], do = [
    "read", "write", "ddl", "session-privileged", "read-secret", "file", "program", "network", "copy-file",
    "copy-program", "role", "call", "do", "function", "listen", "notify", "maintenance", "lock",
] }
allow.read = { who = ["group:few"], do = ["read"] }
"""
OPAQUE = Operation("postgres", frozenset({"opaque"}), "something unreadable")


def test_what_nobody_could_read_is_forwarded_only_to_whom_everything_is_open() -> None:
    policy = load(EVERYTHING)
    assert policy.decide(PRIYA, ORDERS, OPAQUE, 0).verdict == "allow"
    for who in (identity("user:finn", ("few",)), identity("user:eve"), identity("user:priya", ("eng",), ("do:read",))):
        assert policy.decide(who, ORDERS, OPAQUE, 0).verdict == "deny"
    assert load(EVERYTHING.replace('"forward"', '"refuse"')).decide(PRIYA, ORDERS, OPAQUE, 0).verdict == "deny"


@pytest.mark.parametrize(
    "rule",
    [
        'mask.card = { columns = ["*.card"] }',
        'deny.drop = { do = ["drop"] }',
        'hold.write = { do = ["write"], by = ["group:leads"] }',
    ],
)
def test_nothing_is_forwarded_unread_where_a_rule_binds(rule: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(EVERYTHING + rule)
    assert caught.value.errors[0].key == "unparsed"
    with pytest.raises(ConfigErrors):
        sources = {"a.toml": EVERYTHING, "b.toml": 'labels = { env = "prod" }\n' + rule}
        PolicySnapshot.load(sources, {"orders": ORDERS}, KEY)
    elsewhere = {"a.toml": EVERYTHING, "b.toml": 'labels = { env = "test" }\n' + rule}
    assert PolicySnapshot.load(elsewhere, {"orders": ORDERS}, KEY)


def test_an_unknown_channel_is_a_load_error_with_a_suggestion() -> None:
    text = """
targets = ["orders"]
hold.write = { do = ["write"], by = ["group:leads"], notify = "ordres" }
break_glass.sre = { who = ["group:oncall"], notify = ["security", "pagr"] }
"""
    targets = {"orders": ORDERS}
    with pytest.raises(ConfigErrors) as caught:
        PolicySnapshot.load({"p.toml": text}, targets, KEY, channels=("orders", "security", "pager"))
    assert str(caught.value).splitlines() == [
        "p.toml: hold.write.notify: there is no channel 'ordres' (did you mean orders?)",
        "p.toml: break_glass.sre.notify: there is no channel 'pagr' (did you mean pager?)",
    ]
    assert PolicySnapshot.load({"p.toml": text}, targets, KEY, channels=("ordres", "security", "pagr"))
