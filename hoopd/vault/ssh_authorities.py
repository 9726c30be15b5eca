"""The gateway's SSH authorities, generation by generation: which signs now, and which others must still or already trust.

Three of them, with keys of their own, so that none can be taken for another: C{user} signs what the gateway shows to hosts,
C{client} what people show to the gateway, C{host} the gateway's own host keys. A new generation is published first (others learn to
trust it), activated then (it signs), and the one before it is trusted until it is retired: nobody is locked out on the way.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from attrs import frozen

from hoopd.store.connection import Transaction
from hoopd.store.schema import Migration
from hoopd.vault.ssh_authority import SshAuthority

Kind = Literal["user", "client", "host"]
KINDS: tuple[Kind, ...] = get_args(Kind)

State = Literal["published", "active", "trusted", "retired"]

MIGRATIONS: tuple[Migration, ...] = (
    (
        "ssh-authorities-1",
        """
        CREATE TABLE ssh_authorities (
            kind TEXT NOT NULL,
            generation INTEGER NOT NULL,
            state TEXT NOT NULL,
            changed_at REAL NOT NULL,
            changed_by TEXT NOT NULL,
            PRIMARY KEY (kind, generation)
        );
        """,
    ),
)

#: step to the states that it moves, and to which
_STEPS: dict[str, dict[State, State]] = {
    "activate": {"active": "trusted", "published": "active"},
    "retire": {"trusted": "retired"},
}


@frozen
class Generation:
    """One authority's key. @ivar public: as authorized_keys has it, without comment"""

    kind: Kind
    generation: int
    state: State
    changed_at: float
    changed_by: str
    public: str


class Authorities:
    """
    @param store: L{hoopd.interfaces.IStore} with L{MIGRATIONS}.
    @param vault: L{hoopd.vault.vault.Vault}, which keeps their seeds.
    @param clock: IReactorTime.
    """

    def __init__(self, store: Any, vault: Any, clock: Any) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._known: list[tuple[Generation, SshAuthority]] = []

    async def start(self) -> None:
        """Make the first generations where there are none, and open the keys."""
        now = self._clock.seconds()

        def first(tx: Transaction) -> None:
            for kind in KINDS:
                tx.execute(
                    "INSERT INTO ssh_authorities VALUES (?, 1, 'active', ?, 'hoopd') "
                    "ON CONFLICT (kind, generation) DO NOTHING",
                    (kind, now),
                )

        await self._store.transact(first)
        await self._read()

    async def _read(self) -> None:
        rows = await self._store.transact(
            lambda tx: tx.execute(
                "SELECT kind, generation, state, changed_at, changed_by FROM ssh_authorities "
                "WHERE state <> 'retired' ORDER BY kind, generation DESC"
            )
        )
        known = []
        for kind, generation, state, at, by in rows:
            authority = SshAuthority(await self._vault.internal(f"ssh-{kind}-authority.{generation}"))
            known.append((Generation(kind, generation, state, at, by, authority.public), authority))
        self._known = known

    def signing(self, kind: Kind) -> SshAuthority:
        """The one that signs now."""
        return next(key for one, key in self._known if one.kind == kind and one.state == "active")

    def generations(self, kind: Kind) -> list[Generation]:
        """Those that others should trust, the newest first."""
        return [one for one, _ in self._known if one.kind == kind]

    async def rotate(self, kind: str, step: str, by: str) -> list[Generation]:
        """@param step: C{publish}, C{activate} or C{retire}. @raise ValueError: there is nothing to do so"""
        if kind not in KINDS:
            raise ValueError(f"{kind[:40]!r} is no authority: {', '.join(KINDS)}")
        if step not in ("publish", *_STEPS):
            raise ValueError(f"{step[:40]!r} is no step: publish, activate, retire")
        now = self._clock.seconds()

        def work(tx: Transaction) -> None:
            rows = tx.execute("SELECT generation, state FROM ssh_authorities WHERE kind = ?", (kind,))
            states = {state for _, state in rows}
            if step == "publish":
                if "published" in states:
                    raise ValueError(f"the next {kind} authority is published already: activate it")
                newest = max(generation for generation, _ in rows)
                tx.execute("INSERT INTO ssh_authorities VALUES (?, ?, 'published', ?, ?)", (kind, newest + 1, now, by))
                return
            needed = "published" if step == "activate" else "trusted"
            if needed not in states:
                raise ValueError(f"no {kind} authority can be {step}d: none is {needed}")
            for generation, state in rows:
                after = _STEPS[step].get(state)
                if after is not None:
                    tx.execute(
                        "UPDATE ssh_authorities SET state = ?, changed_at = ?, changed_by = ? "
                        "WHERE kind = ? AND generation = ?",
                        (after, now, by, kind, generation),
                    )

        await self._store.transact(work)
        await self._read()
        return self.generations(kind)
