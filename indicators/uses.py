"""Uses: what users do with the DMP and with received documents, the users themselves, and correspondents.

Purpose: facts `dmp_consultation`, `dmp_integration`, `mss_reception`, `mss_integration`, `break_glass`, `user_census`
and `correspondent`, kept small. Pure.
Guarantee: the same facts give the same content in any order and however often they are repeated (they are kept by
`fact_id`).
Fails: never.
Source: spec/indicators.md R7, R8, §2.1, §8.
"""

from __future__ import annotations

from typing import NamedTuple

from indicators.patients import Numbers, Ref
from indicators.told import (
    BreakGlass,
    Correspondent,
    DmpConsultation,
    DmpIntegration,
    MssIntegration,
    MssReception,
    Seen,
    User,
    UserCensus,
)


class Use(NamedTuple):
    """A transaction or an integration. Texts are "" when they are not known."""

    at: float
    finess: str
    what: str
    """`TD3.2`, `dmp`, `mss`, `break_glass`."""
    ok: bool
    user: str
    profession: str
    ref: Ref | None
    unique_id: str
    type_code: str
    prefetch: bool
    manual: bool
    cda: bool
    message_id: str
    fact_id: str


class Reception(NamedTuple):
    """A received document that waits."""

    at: float
    finess: str
    message_id: str
    unique_id: str
    fact_id: str


class UseFold:
    """Tell it every fact of these kinds, in any order."""

    __slots__ = ("_numbers", "_texts", "census", "correspondents", "receptions", "uses")

    def __init__(self, numbers: Numbers | None = None) -> None:
        self.uses: dict[str, Use] = {}
        self.receptions: dict[str, Reception] = {}
        self.census: dict[tuple[str, str], set[tuple[float, int, str]]] = {}
        """(FINESS, profession) → (instant, number or -1, user)."""
        self.correspondents: set[tuple[str, Ref | None, str, str]] = set()
        """(FINESS, stay, RPPS, address)."""
        self._texts: dict[str, str] = {}
        self._numbers = numbers or Numbers()

    def add_consultation(self, fact: DmpConsultation, at: float) -> None:
        """A DMP transaction."""
        user, profession = user_of(fact.user, fact.finess)
        unique_id, type_code = _document(fact.document)
        self._keep(
            Use(
                at,
                self._one(fact.finess),
                self._one(fact.transaction),
                fact.outcome == "success",
                self._one(user),
                self._one(profession),
                self._numbers.one(fact.stay, fact.finess),
                unique_id,
                self._one(type_code),
                fact.trigger == "prefetch",
                False,
                False,
                "",
                fact.fact_id,
            )
        )

    def add_integration(self, fact: DmpIntegration | MssIntegration, at: float) -> None:
        """A document taken into the record."""
        user, profession = user_of(fact.user, fact.finess)
        unique_id, type_code = _document(fact.document)
        mss = isinstance(fact, MssIntegration)
        self._keep(
            Use(
                at,
                self._one(fact.finess),
                "mss" if mss else "dmp",
                fact.outcome == "success",
                self._one(user),
                self._one(profession),
                self._numbers.one(fact.stay, fact.finess),
                unique_id,
                self._one(type_code),
                False,
                fact.mode == "manual",
                fact.format == "cda",
                fact.message_id or "" if isinstance(fact, MssIntegration) else "",
                fact.fact_id,
            )
        )

    def add_break_glass(self, fact: BreakGlass, at: float) -> None:
        """An access in an emergency."""
        user, profession = user_of(fact.user, fact.finess)
        self._keep(
            Use(
                at,
                self._one(fact.finess),
                "break_glass",
                True,
                user,
                profession,
                self._numbers.one(fact.stay, fact.finess),
                "",
                "",
                False,
                True,
                False,
                "",
                fact.fact_id,
            )
        )

    def add_reception(self, fact: MssReception, at: float) -> None:
        """A document received by MSSanté."""
        unique_id, _ = _document(fact.document)
        told = Reception(at, self._one(fact.finess), fact.message_id, unique_id, fact.fact_id)
        self.receptions[told.fact_id] = min(self.receptions.get(told.fact_id, told), told)

    def add_census(self, fact: UserCensus, at: float) -> None:
        """Accounts of a profession, counted or one by one."""
        user, profession = user_of(fact.user, fact.finess)
        profession = fact.profession or profession
        users = fact.users
        if users is not None:
            told = (at, users, "")
        elif user:
            told = (at, -1, user)
        else:
            return
        self.census.setdefault((fact.finess, profession), set()).add(told)

    def add_correspondent(self, fact: Correspondent) -> None:
        """Who follows the patient of a stay."""
        rpps, address = fact.rpps or "", (fact.address or "").lower()
        if rpps or address:
            ref = self._numbers.one(fact.stay, fact.finess)
            self.correspondents.add((fact.finess, ref, rpps, address))

    def _keep(self, use: Use) -> None:
        known = self.uses.get(use.fact_id)
        # one id told twice with different contents is refused where facts are stored; here the order must not matter
        if known is None or use != known:
            self.uses[use.fact_id] = use if known is None else min(known, use, key=str)

    def _one(self, text: str) -> str:
        return self._texts.setdefault(text, text)


def user_of(user: User | None, finess: str) -> tuple[str, str]:
    """(identity, profession): the RPPS, else the establishment's own identifier."""
    if user is None:
        return "", ""
    rpps, local = user.rpps, user.local_id
    return rpps or (f"{finess}/{local}" if local else ""), user.profession or ""


def _document(seen: Seen | None) -> tuple[str, str]:
    if seen is None:
        return "", ""
    return seen.unique_id or "", seen.type_code or ""
