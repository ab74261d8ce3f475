"""A synthetic hospital: fourteen months of facts of two establishments, and `Figures` computed from them.

Every figure comes from `indicators.engine.compute` over facts, as in the gateway; only the store is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from gateway.web.indicator_pages.addresses import shifted
from indicators import facts
from indicators.catalogue import Catalogue, default
from indicators.engine import compute
from indicators.explain import Explanation, explain
from indicators.published import Change, Establishment, Published, State
from indicators.sheet import Cell
from indicators.world import World
from tests.indicators.scenario import TYPES, cases

A, B = "750000001", "974000002"
NAMES = {A: "Centre hospitalier de l’Essai", B: "Clinique du Lagon"}
PARIS = ZoneInfo("Europe/Paris")
LAST = "2025-03"
ABSENT = shifted(LAST, -9)
"""A month in which nothing was told of establishment A: the gateway was stopped."""
NOW = datetime(2025, 4, 2, 9, 30, tzinfo=PARIS).timestamp()
_N = "1.2.250.1.71.4.2.2.990000010."


def scenario_facts(name: str) -> list[dict[str, Any]]:
    """The facts of a hand-computed case."""
    return next(c for c in cases() if c.name == name).facts()


def _ref(value: str) -> dict[str, str]:
    return {"authority": "CHU-ESSAI", "value": value}


class _Teller:
    """Facts of one establishment, month by month; the same at each run."""

    def __init__(self, finess: str, size: int) -> None:
        self.finess, self.size = finess, size
        self.random = Random(finess)
        self.count = 0

    def fact(self, what: str, at: datetime, **more: Any) -> dict[str, Any]:
        self.count += 1
        fact = {
            "fact_id": f"{self.finess}-{self.count}",
            "fact": what,
            "at": at.isoformat(),
            "finess": self.finess,
        }
        return fact | {k: v for k, v in more.items() if v is not None}

    def month(self, start: datetime, progress: float) -> Iterator[dict[str, Any]]:
        for n in range(self.size):
            yield from self.stay(start, n, progress)
        for n in range(self.size // 3):
            yield from self.use(start, n, progress)
        for profession, users in (("medecin", 40), ("infirmier", 90), ("pharmacien", 4)):
            at = start + timedelta(days=27, hours=20)
            yield self.fact("user_census", at, profession=profession, users=users)

    def stay(self, start: datetime, n: int, progress: float) -> Iterator[dict[str, Any]]:
        chance, name = self.random.random, f"{self.finess[:2]}{start:%y%m}{n:04d}"
        outpatient = n % 6 == 5
        opened = start + timedelta(days=n * 26 / self.size, hours=9)
        closed = opened + (
            timedelta(minutes=40) if outpatient else timedelta(hours=6 + int(chance() * 9) * 24)
        )
        common: dict[str, Any] = {
            "stay": _ref(name),
            "patient": f"P-{name}",
            "patient_class": "O" if outpatient else "I",
            "kind": "07" if outpatient else "04" if n % 4 == 0 else "03",
        }
        for event, at, move in (("A04" if outpatient else "A01", opened, "m1"), ("A03", closed, "m9")):
            movement = {"id": move, "action": "INSERT", "at": at.isoformat()}
            yield self.fact("stay", at, event=event, movement=movement, **common)
        if chance() < 0.5 + progress / 3:
            told = ("IO", "INC") if chance() < 0.06 else ("INO", "IC")
            yield self.fact("consent", opened, stay=_ref(name), feeding=told[0], consulting=told[1])
        rpps = f"8100000{n % 23:04d}"
        address = f"dr.{n % 23:02d}@cabinet.mssante.fr"
        yield self.fact("correspondent", opened, stay=_ref(name), rpps=rpps, address=address)
        kinds = [("LDL", 0.45 + progress * 0.45), ("CRO", 0.25), ("BIO", 0.3), ("ORD", 0.2 + progress / 4)]
        for code, likely in [*kinds, ("18761-7", 0.05)]:
            if chance() < (0.4 if outpatient else 1) * likely:
                patient = f"27{n:011d}42@patient.mssante.fr"
                yield from self.document(name, code, closed, (None, address, patient))

    def document(
        self, stay: str, code: str, closed: datetime, recipients: tuple[str | None, ...]
    ) -> Iterator[dict[str, Any]]:
        chance = self.random.random
        set_id = f"{_N}{stay}.{code}"
        for n, recipient in enumerate(recipients):
            if n and chance() < 0.4:
                continue
            late = chance() < 0.02
            yield self.fact(
                "delivery",
                closed + (timedelta(days=45) if late else timedelta(hours=1 + int(chance() * 50))),
                control_id=f"M{stay}{code}",
                document={
                    "unique_id": f"{set_id}.1",
                    "set_id": set_id,
                    "version": 1,
                    "type_code": TYPES.get(code, code),
                    "type_system": "2.16.840.1.113883.6.1",
                },
                destination="mss" if recipient else "dmp",
                recipient=recipient,
                outcome="failure" if chance() < 0.06 else "success",
                stay=_ref(stay),
                ins_qualified=chance() < 0.93,
            )

    def use(self, start: datetime, n: int, progress: float) -> Iterator[dict[str, Any]]:
        chance = self.random.random
        at = start + timedelta(days=n % 26, hours=10)
        if chance() < 0.4 + progress / 2:
            user = {"rpps": f"8100001{n % 31:04d}", "profession": ("medecin", "infirmier")[n % 2]}
            yield self.fact(
                "dmp_consultation",
                at,
                transaction=("TD3.2", "TD3.1", "TD0.10", "TD0.9")[n % 4],
                outcome="success" if chance() < 0.95 else "failure",
                user=user,
                stay=_ref(f"{self.finess[:2]}{start:%y%m}{n:04d}"),
                document={"unique_id": f"9.{n}", "type_code": TYPES["LDL"]} if n % 4 == 0 else None,
            )
        mail = f"{start:%y%m}-{n}@operateur.mssante.fr"
        yield self.fact("mss_reception", at, message_id=mail, document={"unique_id": f"8.{n}"})
        if chance() < 0.85:
            yield self.fact(
                "mss_integration",
                at + timedelta(hours=2),
                outcome="success",
                mode="auto" if chance() < 0.6 else "manual",
                format="cda" if chance() < 0.8 else "non_cda",
                message_id=mail,
                document={"unique_id": f"8.{n}"},
            )


def hospital_facts(size: int = 60, last: str = LAST) -> list[dict[str, Any]]:
    """Fifteen months. Of establishment B no ADT ever comes; of A nothing comes in one month."""
    told = []
    tellers = (_Teller(A, size), _Teller(B, size // 3))
    for n in range(15):
        month = shifted(last, n - 14)
        start = datetime(int(month[:4]), int(month[5:]), 1, tzinfo=PARIS)
        for teller in tellers:
            for fact in teller.month(start, n / 14):
                if teller.finess == A and month == shifted(last, -9):
                    continue
                if teller.finess == B and fact["fact"] == "stay":
                    continue
                told.append(fact)
    return told


@cache
def _world(size: int) -> World:
    return World().add_all(facts.read(json.dumps(f)) for f in hospital_facts(size))


class ComputedFigures:
    """`Figures` over a world: months up to `last`; all but the last one are published as revisions 1 and 2."""

    def __init__(self, world: World, months: list[str], names: dict[str, str] = NAMES) -> None:
        self.world = world
        self.all = sorted(months, reverse=True)
        self.names = names
        self.now: State = "idle"
        self.asked: list[str] = []
        self._kept: dict[tuple[str, str], Published] = {}

    async def establishments(self) -> list[Establishment]:
        found = compute(self.world, self.all[0]).quality if self.all else []
        told = [Establishment(q.finess, self.names.get(q.finess, q.finess)) for q in found]
        return sorted(told, key=lambda e: e.name)

    async def months(self, finess: str) -> list[str]:
        return self.all

    async def month(self, finess: str, month: str, revision: int | None = None) -> Published | None:
        if month not in self.all:
            return None
        newest = self._newest(month)
        if revision is None or revision == newest:
            return self._made(finess, month)
        return next((r for r in await self.revisions(finess, month) if r.revision == revision), None)

    def _newest(self, month: str) -> int:
        return 0 if month == self.all[0] else 2

    def _made(self, finess: str, month: str) -> Published:
        if (finess, month) not in self._kept:
            self._kept[finess, month] = self._compute(finess, month)
        return self._kept[finess, month]

    def _compute(self, finess: str, month: str) -> Published:
        revision = self._newest(month)
        found = compute(self.world, month, finess=finess, revision=revision)
        row = next(r for r in found.rows if r.indicator == "ALI-1" and r.document_code == "ALL")
        change = Change(
            row.cell,
            (1, row.denominator),
            (row.numerator, row.denominator),
            f"ALI-1, tous types : {row.numerator} au lieu de 1, des succès sont arrivés plus tard.",
        )
        return Published(
            finess,
            month,
            revision,
            datetime.fromisoformat(row.cutoff).timestamp() + 300 if revision else NOW,
            None,
            row.cutoff,
            row.rule_version,
            found.catalogue_version,
            len(self.world.uses.uses),
            found.rows,
            found.quality[0],
            [change] if revision == 2 else [],
            NOW if revision else None,
        )

    async def revisions(self, finess: str, month: str) -> list[Published]:
        if not self._newest(month):
            return []
        second = self._made(finess, month)
        first = Published(
            finess,
            month,
            1,
            second.computed_at - 200,
            None,
            second.cutoff,
            second.rule_version,
            second.catalogue_version,
            second.facts - 3,
            second.rows,
            second.quality,
        )
        return [second, first]

    async def definitions(self) -> Catalogue:
        return default()

    async def trend(self, finess: str, last: str, count: int = 13) -> dict[str, Published | None]:
        labels = [shifted(last, -n) for n in reversed(range(count))]
        return {m: self._made(finess, m) if m in self.all and m != ABSENT else None for m in labels}

    async def explain(
        self, finess: str, month: str, cell: Cell, revision: int | None = None
    ) -> Explanation | None:
        try:
            return explain(self.world, month, finess, cell, revision=self._newest(month))
        except LookupError:
            return None

    async def refresh(self, month: str) -> State:
        self.asked.append(month)
        self.now = "computing"
        return self.now

    def state(self) -> State:
        return self.now


def hospital(size: int = 60) -> ComputedFigures:
    """The figures of the synthetic hospital."""
    return ComputedFigures(_world(size), [shifted(LAST, -n) for n in range(15)])


def whole_month() -> ComputedFigures:
    """The figures of the scenario `fevrier-2025`, all of them computed by hand."""
    world = World().add_all(facts.read(json.dumps(f)) for f in scenario_facts("fevrier-2025"))
    return ComputedFigures(world, ["2025-02"], {})
