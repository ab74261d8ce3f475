"""Scenarios: hand-computed cases in YAML, read into facts, and their expected rows compared cell by cell.

A file (`scenarios/*.yaml`) has a `theme` and `cases`. In a case, times are local (`2025-02-10 15:00`, Europe/Paris
unless `zone` says another), types have short names (LDL, CRO, ORD, BIO, IMG), everything is text. A `stays` line is an
admission (A01) and, with `out`, a discharge (A03); `movements` are single messages. README.md there tells it all.

`python -m tests.indicators.scenario FILE CASE` prints the facts of a case as JSON lines.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from indicators import facts
from indicators.catalogue import load
from indicators.engine import Result, Row, compute
from indicators.world import World

FOLDER = Path(__file__).with_name("scenarios")
FINESS = "750000001"
LOINC = "2.16.840.1.113883.6.1"
TYPES = {"LDL": "11490-0", "CRO": "34874-8", "ORD": "57833-6", "BIO": "11502-2", "IMG": "18748-4"}
SECTIONS = frozenset(
    [
        "stays",
        "movements",
        "consents",
        "identities",
        "deliveries",
        "uses",
        "dmp_integrations",
        "integrations",
        "receptions",
        "census",
        "visits",
        "correspondents",
        "glass",
    ]
)
HEADINGS = SECTIONS | frozenset(
    [
        "name",
        "rule",
        "text",
        "month",
        "finess",
        "zone",
        "options",
        "as_of",
        "cutoff",
        "expect",
        "complete",
        "absent",
    ]
)
SELECTORS = {
    "type": "document_code",
    "kind": "stay_kind",
    "profession": "profession",
    "channel": "channel",
} | {name: name for name in ("result", "period", "finess")}
CHECKS = {"is", "count", "null", "rate", "documents", "details", "reason"}


@dataclass(frozen=True)
class Case:
    """One hand-computed case."""

    file: str
    told: dict[str, Any]

    @property
    def name(self) -> str:
        """What a reader finds it by."""
        return str(self.told["name"])

    def facts(self) -> list[dict[str, Any]]:
        """Its facts as JSON objects."""
        return list(_Reader(self.told).facts())

    def compute(self, lines: list[str]) -> Result:
        """The rows of its month from lines of facts."""
        told = self.told
        as_of = told.get("as_of")
        world = World(_Reader(told).instant(as_of) if as_of else None)
        world.add_all(facts.read(line) for line in lines)
        cutoff = told.get("cutoff")
        return compute(
            world,
            told["month"],
            catalogue=load(overrides=self.options),
            cutoff=_Reader(told).instant(cutoff) if cutoff else None,
        )

    @property
    def options(self) -> dict[str, Any]:
        """Choices of the catalogue that are others in this case."""
        return {
            name: value.split() if name.endswith("classes") else int(value) if value.isdigit() else value
            for name, value in self.told.get("options", {}).items()
        }

    @property
    def as_of(self) -> datetime | None:
        """Facts known then count."""
        return _Reader(self.told).instant(self.told["as_of"]) if "as_of" in self.told else None


def cases() -> list[Case]:
    """All cases of all files."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        # every value is text: no date, code or "no" is guessed
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        for told in data["cases"]:
            unknown = set(told) - HEADINGS
            assert not unknown, f"{path.name}, {told['name']}: {unknown}"
            found.append(Case(path.name, told))
    return found


class _Reader:
    """Short lines → facts."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.zone = ZoneInfo(told.get("zone", "Europe/Paris"))
        self.finess = told.get("finess", FINESS)
        self.count = 0

    def instant(self, text: str) -> datetime:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=self.zone)

    def iso(self, text: str | None) -> str | None:
        return None if text is None else self.instant(text).isoformat()

    def fact(self, fact: str, line: dict[str, str], at: str, /, **more: Any) -> dict[str, Any]:
        self.count += 1
        common = {
            "fact_id": line.get("fact_id", f"{self.told['name']}-{self.count}"),
            "fact": fact,
            "at": self.iso(at),
            "known_at": self.iso(line.get("known")),
            "finess": line.get("finess", self.finess),
        }
        return {key: value for key, value in (common | more).items() if value is not None}

    def ref(self, value: str | None) -> dict[str, str] | None:
        if value is None:
            return None
        authority, _, number = value.rpartition(":")
        return {"authority": authority or "CHU-TEST", "value": number}

    def facts(self) -> Iterator[dict[str, Any]]:
        for section in (s for s in self.told if s in SECTIONS):
            for line in self.told[section]:
                yield from getattr(self, section)(line)

    def stays(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        common = {k: v for k, v in line.items() if k in ("account", "finess", "class", "kind", "patient")}
        common = {"class": "I", "kind": "03", "patient": f"P-{line['id']}"} | common
        if "in" in line:
            at = line["in"]
            event = "A01" if common["class"] in "IR" else "A04"
            yield from self.movements(common | {"stay": line["id"], "event": event, "move": "m1", "at": at})
            if "consent" in line:
                yield from self.consents(
                    {
                        "stay": line["id"],
                        "at": at,
                        "is": line["consent"],
                        "finess": line.get("finess", self.finess),
                    }
                )
        if "out" in line:
            told = {"said": line["said_out"]} if "said_out" in line else {}
            out = {"stay": line["id"], "event": "A03", "move": "m9", "at": line["out"]}
            yield from self.movements(common | out | told)

    def movements(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        movement = {
            "id": line.get("move"),
            "action": line.get("action", "INSERT"),
            "at": self.iso(line.get("at")),
            "trigger": line.get("trigger"),
        }
        yield self.fact(
            "stay",
            line,
            line.get("said") or line["at"],
            event=line["event"],
            stay=self.ref(line.get("stay")),
            account=self.ref(line.get("account")),
            patient=line.get("patient"),
            patient_class=line.get("class"),
            kind=line.get("kind"),
            movement={k: v for k, v in movement.items() if v is not None},
            admitted_at=self.iso(line.get("admitted")),
            discharged_at=self.iso(line.get("discharged")),
            occurred_at=self.iso(line.get("occurred")),
            recorded_at=self.iso(line.get("recorded")),
        )

    def consents(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        feeding, _, consulting = line["is"].partition("/")
        yield self.fact(
            "consent",
            line,
            line["at"],
            stay=self.ref(line.get("stay")),
            patient=line.get("patient"),
            feeding=feeding or None,
            consulting=consulting or None,
        )

    def identities(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        yield self.fact(
            "identity",
            line,
            line["at"],
            event=line["event"],
            patient=line["patient"],
            prior_patient=line.get("prior"),
            account=self.ref(line.get("account")),
        )

    def deliveries(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        doc, version, to = line["doc"], int(line.get("v", "1")), line.get("to", "dmp")
        yield self.fact(
            "delivery",
            line,
            line["at"],
            control_id=line.get("msg", f"{doc}-{version}"),
            document={
                "unique_id": line.get("uid", f"{doc}.{version}"),
                "set_id": doc,
                "version": version,
                "type_code": TYPES.get(line.get("type", "LDL"), line.get("type")),
                "type_system": LOINC,
            }
            | ({"date": self.iso(line["date"])} if "date" in line else {}),
            destination="dmp" if to == "dmp" else "mss",
            recipient=None if to == "dmp" else to,
            outcome=line.get("outcome", "success"),
            code=line.get("code"),
            stay=self.ref(line.get("stay")),
            patient=line.get("patient"),
            ins_qualified=line.get("ins", "yes") == "yes",
            historical=line.get("historical", "no") == "yes",
        )

    def _user(self, line: dict[str, str]) -> dict[str, str] | None:
        if "user" not in line:
            return None
        return {"rpps": line["user"]} | ({"profession": line["profession"]} if "profession" in line else {})

    def _document(self, line: dict[str, str]) -> dict[str, str] | None:
        found = {}
        if "doc" in line:
            found["unique_id"] = line["doc"]
        if "type" in line:
            found["type_code"] = TYPES.get(line["type"], line["type"])
        return found or None

    def uses(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        yield self.fact(
            "dmp_consultation",
            line,
            line["at"],
            transaction=line["what"],
            outcome=line.get("outcome", "success"),
            user=self._user(line),
            stay=self.ref(line.get("stay")),
            document=self._document(line),
            trigger="prefetch" if line.get("prefetch") == "yes" else None,
        )

    def dmp_integrations(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        yield self.fact(
            "dmp_integration",
            line,
            line["at"],
            outcome=line.get("outcome", "success"),
            document=self._document(line),
        )

    def integrations(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        yield self.fact(
            "mss_integration",
            line,
            line["at"],
            outcome=line.get("outcome", "success"),
            mode=line["mode"],
            format=line.get("format", "cda"),
            message_id=line.get("mail"),
            document=self._document(line),
        )

    def receptions(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        yield self.fact(
            "mss_reception", line, line["at"], message_id=line["mail"], document=self._document(line)
        )

    def census(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        yield self.fact(
            "user_census",
            line,
            line["at"],
            profession=line.get("profession"),
            users=int(line["users"]) if "users" in line else None,
            user={"local_id": line["user"]} if "user" in line else None,
        )

    def visits(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        feeding, _, consulting = line.get("consent", "").partition("/")
        yield self.fact(
            "consultation_visit",
            line,
            line["at"],
            stay=self.ref(line.get("stay")),
            patient=line.get("patient"),
            feeding=feeding or None,
            consulting=consulting or None,
        )

    def correspondents(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        yield self.fact(
            "correspondent",
            line,
            line["at"],
            stay=self.ref(line.get("stay")),
            rpps=line.get("rpps"),
            address=line.get("address"),
        )

    def glass(self, line: dict[str, str]) -> Iterator[dict[str, Any]]:
        yield self.fact("break_glass", line, line["at"], user=self._user(line))


def differences(case: Case, result: Result) -> list[str]:
    """Each cell that differs: the row, the cell, what was expected and what is there."""
    found: list[str] = []
    named: list[Row] = []
    for line in case.told["expect"]:
        unknown = set(line) - {"row", *SELECTORS, *CHECKS}
        assert not unknown, f"{case.name}: {unknown}"
        row = _row(case, result, line)
        label = " ".join(f"{k}={v}" for k, v in line.items() if k not in CHECKS)
        if row is None:
            found.append(f"{label}: no such row")
            continue
        named.append(row)
        found += [f"{label}: {difference}" for difference in _compare(line, row)]
    for indicator in case.told.get("absent", "").split():
        if any(r.indicator == indicator for r in result.rows):
            found.append(f"{indicator}: a row that should not be there")
    if case.told.get("complete") == "yes":
        found += [
            f"{r.cell}: {r.numerator} where nothing was expected"
            for r in result.rows
            if r not in named and r.numerator
        ]
    return found


def _row(case: Case, result: Result, line: dict[str, str]) -> Row | None:
    wanted: dict[str, Any] = {"finess": case.told.get("finess", FINESS), "period": case.told["month"]}
    wanted |= {
        SELECTORS[key]: TYPES.get(value, value) if key == "type" else value
        for key, value in line.items()
        if key in SELECTORS
    }
    rows = [
        r
        for r in result.rows
        if r.indicator == line["row"] and all(getattr(r, name) == value for name, value in wanted.items())
    ]
    assert len(rows) < 2, f"{case.name}: {line} names {len(rows)} rows"
    return rows[0] if rows else None


def _compare(line: dict[str, str], row: Row) -> Iterator[str]:
    expected: dict[str, Any] = {}
    if "is" in line:
        numerator, denominator = map(int, line["is"].split("/"))
        rate = None if not denominator else round(numerator / denominator + 1e-9, 4)
        expected |= {"numerator": numerator, "denominator": denominator, "rate": rate}
    if "count" in line:
        expected |= {"numerator": int(line["count"]), "denominator": None, "rate": None}
    if "null" in line:
        expected |= {"denominator": None, "rate": None, "reason": line["null"]}
    if "rate" in line:
        expected["rate"] = float(line["rate"])
    if "reason" in line:
        expected["reason"] = line["reason"]
    if "documents" in line:
        expected["documents"] = int(line["documents"])
    for name, value in expected.items():
        if getattr(row, name) != value:
            yield f"{name}: expected {value}, found {getattr(row, name)}"
    for name, value in json.loads(line.get("details", "{}")).items():
        if row.details.get(name) != value:
            yield f"details.{name}: expected {value}, found {row.details.get(name)}"


def orders(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """The same facts in other orders, and repeated."""
    yield "as written", lines
    yield "backwards", lines[::-1]
    for seed in (1, 2):
        mixed = lines * 2
        random.Random(seed).shuffle(mixed)
        yield f"twice, mixed by {seed}", mixed


if __name__ == "__main__":
    for found in cases():
        if found.file.startswith(sys.argv[1]) and found.name == sys.argv[2]:
            for fact in found.facts():
                print(json.dumps(fact, ensure_ascii=False))
