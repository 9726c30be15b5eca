"""What a statement's meaning depends on in a session, as one value; not how it changes (L{hoopd.sql.variables})."""

from __future__ import annotations

from attrs import evolve, field, frozen

from hoopd.sql.catalogue import Catalogue
from hoopd.sql.variables import Effect, Variables, effective


@frozen
class SessionSettings:
    """What a statement's meaning depends on; the fingerprint under which decisions are cached.

    @ivar temporary: counts the temporary objects that the session made.
    @ivar variables: what the session has set, and in which part of its transaction.
    @ivar began: C{search_path} as the client set it at start-up, or None.
    """

    database: str = ""
    role: str = ""
    search_path: tuple[str, ...] = ("public",)
    standard_conforming_strings: bool = True
    client_encoding: str = "UTF8"
    temporary: int = 0
    variables: Variables = field(factory=Variables)
    began: tuple[str, ...] | None = None
    login: str = ""

    def after(self, effect: Effect | None, catalogue: Catalogue | None) -> SessionSettings:
        """Those of the statement behind one with C{effect}. @raise LookupError: see L{Variables.after}"""
        moved = self.variables.after(effect)
        return self if moved == self.variables else evolve(self, variables=moved).resolved(catalogue)

    def resolved(self, catalogue: Catalogue | None) -> SessionSettings:
        """With role and path as C{variables} have them."""
        path, role = self.variables.get("search_path"), self.variables.get("role")
        login = self.login or self.role
        present = str(role) if role is not None else login
        names = path if isinstance(path, tuple) else self.began
        if catalogue is None:
            return evolve(self, role=present, login=login, search_path=names or self.search_path)
        if names is None and role is None:
            found = catalogue.search_path
        else:
            found = effective(names if names is not None else catalogue.path, present, catalogue.usable)
        return evolve(self, role=present, login=login, search_path=found)
