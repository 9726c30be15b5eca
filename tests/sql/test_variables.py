"""Settings followed as guc.c keeps them: against a model that keeps a copy of everything at each savepoint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoopd.sql.variables import LEVELS, Effect, Variables, effective, path_of


def run(*effects: Effect) -> Variables:
    found = Variables()
    for each in effects:
        found = found.after(each)
    return found


def path(*names: str, local: bool = False) -> Effect:
    return Effect("set", "search_path", None, names, local)


BEGIN, COMMIT, ROLLBACK = Effect("begin"), Effect("commit"), Effect("rollback")


@pytest.mark.parametrize(
    ("effects", "value"),
    [
        ([path("a")], ("a",)),
        ([BEGIN, path("a"), COMMIT], ("a",)),
        ([BEGIN, path("a"), ROLLBACK], None),
        ([BEGIN, path("a", local=True)], ("a",)),
        ([BEGIN, path("a", local=True), COMMIT], None),
        ([BEGIN, path("a", local=True), path("b"), COMMIT], ("b",)),
        ([BEGIN, path("a"), path("b", local=True)], ("b",)),
        ([BEGIN, path("a"), path("b", local=True), COMMIT], ("a",)),
        ([BEGIN, path("a"), Effect("savepoint", "s"), path("b"), Effect("rollback-to", "s")], ("a",)),
        ([BEGIN, path("a"), Effect("savepoint", "s"), path("b"), Effect("release", "s"), COMMIT], ("b",)),
        ([BEGIN, path("a"), Effect("savepoint", "s"), path("b", local=True), Effect("release", "s")], ("b",)),
        ([BEGIN, path("a"), Effect("reset", "search_path"), COMMIT], None),
        ([path("a"), Effect("reset", None)], None),
        ([path("a"), Effect("discard", "all")], None),
        ([path("a"), Effect("discard", "plans")], ("a",)),
        ([BEGIN, path("a"), Effect("commit", None, "chain"), path("b"), ROLLBACK], ("a",)),
        ([Effect("set", "role", "x"), Effect("reset", None)], None),
    ],
)
def test_a_setting_lasts_as_long_as_the_server_keeps_it(effects: list[Effect], value: object) -> None:
    assert run(*effects).get("search_path") == value


def test_reset_all_leaves_the_role() -> None:
    assert run(Effect("set", "role", "x"), Effect("reset", None)).get("role") == "x"


def test_a_savepoint_that_is_not_known_matters_only_where_something_was_set() -> None:
    assert run(BEGIN, Effect("rollback-to", "s")).get("search_path") is None
    with pytest.raises(LookupError):
        run(BEGIN, path("a"), Effect("rollback-to", "s"))


def test_savepoints_without_end_take_bounded_room() -> None:
    effects = [BEGIN, path("a")] + [Effect("savepoint", "s")] * (3 * LEVELS)
    found = run(*effects)
    assert len(found.levels) <= LEVELS + 2
    assert found.after(path("b")).after(Effect("rollback-to", "s")).get("search_path") == ("a",)


STEPS = st.one_of(
    st.sampled_from([BEGIN, COMMIT, ROLLBACK]),
    st.builds(path, st.sampled_from("abc"), local=st.booleans()),
    st.builds(Effect, st.just("savepoint"), st.sampled_from("xy")),
    st.builds(Effect, st.sampled_from(["release", "rollback-to"]), st.sampled_from("xy")),
    st.builds(Effect, st.just("reset"), st.just("search_path"), local=st.booleans()),
)


class Model:
    """The server's rules, slowly: each savepoint keeps what was there; errors change nothing."""

    def __init__(self) -> None:
        #: what is there after the transaction, what is seen
        self.state: tuple[object, object] = (None, None)
        self.saved: list[tuple[str, tuple[object, object]]] = []
        self.block = False
        self.before: tuple[object, object] = (None, None)

    def run(self, effect: Effect) -> bool:
        """@return: whether the server would have agreed"""
        kind = effect.kind
        if kind == "begin":
            if not self.block:
                self.block, self.before = True, self.state
        elif kind in ("commit", "rollback"):
            kept = self.state[0] if kind == "commit" else self.before[0]
            if self.block:
                self.state = (kept, kept)
            self.block, self.saved = False, []
        elif kind in ("set", "reset"):
            value = effect.path if kind == "set" else None
            if effect.local:
                if self.block:
                    self.state = (self.state[0], value)
            else:
                self.state = (value, value)
        elif not self.block:
            return False
        elif kind == "savepoint":
            self.saved.append((effect.name or "", self.state))
        else:
            at = next((n for n in reversed(range(len(self.saved))) if self.saved[n][0] == effect.name), None)
            if at is None:
                return False
            if kind == "rollback-to":
                self.state = self.saved[at][1]
                del self.saved[at + 1 :]
            else:
                del self.saved[at:]
        return True


@given(st.lists(STEPS, max_size=25))
def test_any_conversation_agrees_with_the_model(steps: list[Effect]) -> None:
    model, followed = Model(), Variables()
    for step in steps:
        if not model.run(step):
            continue
        followed = followed.after(step)
        if not model.block:
            # each statement by itself is a transaction
            followed = followed.ended(True)
        assert followed.get("search_path") == model.state[1], step


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("public", ("public",)),
        ('"$user", public', ("$user", "public")),
        ('A, "B c", "d""e" ,f', ("a", "B c", 'd"e', "f")),
        ("a,", None),
        (",a", None),
        ('"a', None),
        ("a b", None),
        ('""', None),
        ("é", None),
        ("a" * 64, None),
    ],
)
def test_a_path_is_read_as_the_server_reads_it(text: str, names: tuple[str, ...] | None) -> None:
    assert path_of(text) == names


def test_schemas_that_the_role_may_not_use_are_passed_over() -> None:
    usable = {"app": frozenset({"a", "app"}), "boss": frozenset({"b"})}
    assert effective(("$user", "b", "a", "a"), "app", usable) == ("app", "a")
    assert effective(("$user", "b", "a"), "boss", usable) == ("b",)
    assert effective(("a",), "stranger", usable) == ()
