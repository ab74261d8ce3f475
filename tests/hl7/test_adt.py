"""PAM-FR ADT: what is read, every rule, and the official samples as they are."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from gateway.errors import Severity
from gateway.hl7.adt import AdtReading, read_adt
from gateway.hl7.adt_event import EVENTS
from gateway.hl7.message import Message
from gateway.rules import CORE_TABLES, Preset, load_rulebook, read_rules
from indicators import facts
from indicators.engine import compute, find
from indicators.from_adt import establishment_of, facts_of, instant, keyed_by
from indicators.rules.inf import consent
from indicators.why import Why
from indicators.world import World
from tests.official import official

PARIS = ZoneInfo("Europe/Paris")
KEY = keyed_by(b"a secret of the tests")
MSH = r"MSH|^~\&|GAM|CH|PFI|CH|20250203101500||ADT^{event}^ADT_A01|{id}|P|2.5^FRA^2.11|||||FRA|UNICODE UTF-8"
SEGMENTS = {
    "EVN": "EVN||20250203101500||||20250203100000",
    "PID": "PID|1||IPP1^^^CH&750000001&M^PI~184127512398791^^^INS&1.2.250.1.213.1.4.10&ISO^INS"
    "||TEST^ANNE^^^^^L||19790328|F" + "|" * 10 + "N1^^^CH&750000001&M^AN" + "|" * 14 + "VALI",
    "PV1": "PV1|1|I" + "|" * 17 + "V1^^^CH&750000001&M^VN||03" + "|" * 23 + "20250203100000",
    "ZBE": "ZBE|M1^CH^750000001|20250203100000||INSERT|N||UF|UF|HMS",
    "ZFA": "ZFA|ACTIF|20250203101500|||||||INO|20250203101500|IC|20250203101500",
}
"""A whole A01 of a synthetic patient."""


def adt(event: str = "A01", control_id: str = "1", **changes: str | None) -> bytes:
    """A message of the segments above, with others or without (None)."""
    segments = {**SEGMENTS, **changes}
    told = [MSH.format(event=event, id=control_id), *(s for s in segments.values() if s is not None)]
    return "".join(f"{s}\r" for s in told).encode()


def put(segment: str, field: int, value: str) -> str:
    """A segment with another value in a field."""
    fields = SEGMENTS[segment].split("|")
    fields += [""] * (field + 1 - len(fields))
    fields[field] = value
    return "|".join(fields)


def read(raw: bytes, preset: Preset = "production") -> AdtReading:
    return read_adt(Message.parse(raw), load_rulebook(preset=preset))


def found(reading: AdtReading) -> list[str]:
    """`RULE place` of each finding."""
    return [f"{f.rule} {f.place.erl() if f.place else ''}".strip() for f in reading.findings]


def test_a_whole_admission() -> None:
    reading = read(adt())
    assert reading.findings == []
    e = reading.event
    assert e is not None
    assert (e.event, e.control_id, e.sent_at) == ("A01", "1", "20250203101500")
    assert e.visit and (e.visit.value, e.visit.authority, e.visit.type) == ("V1", "750000001", "VN")
    assert e.account and e.account.value == "N1"
    assert [i.value for i in e.patient] == ["IPP1", "184127512398791"]
    assert (e.patient_class, e.kind, e.admitted_at, e.identity_status) == (
        "I",
        "03",
        "20250203100000",
        "VALI",
    )
    assert e.movement and (e.movement.id, e.movement.at, e.movement.action) == (
        "M1^CH^750000001",
        "20250203100000",
        "INSERT",
    )
    assert e.consent and (e.consent.feeding, e.consent.consulting) == ("INO", "IC")
    assert e.establishment == "750000001"


MRG = "MRG|OLD^^^CH&750000001&M^PI||N9^^^CH&750000001&M^AN"
LONG = "x" * 201
CASES = [
    ("ADT-EVENT MSH^1^9^1^2", "A99", {}),
    ("ADT-SEGMENT", "A01", {"PID": None}),
    ("ADT-SEGMENT", "A01", {"PV1": None}),
    ("ADT-SEGMENT", "A40", {}),
    ("ADT-NO-ZBE", "A03", {"ZBE": None}),
    ("ADT-PATIENT PID^1^3", "A01", {"PID": put("PID", 3, "")}),
    ("ADT-STAY PV1^1^19", "A01", {"PV1": put("PV1", 19, ""), "PID": put("PID", 18, "")}),
    ("ADT-VISIT PV1^1^19", "A01", {"PV1": put("PV1", 19, "")}),
    (
        "ADT-ESTABLISHMENT PV1^1^19^1^4",
        "A01",
        {"PV1": put("PV1", 19, "V1^^^CH^VN"), "PID": put("PID", 18, "")},
    ),
    ("ADT-CLASS PV1^1^2", "A01", {"PV1": put("PV1", 2, "Q")}),
    ("ADT-CLASS PV1^1^2", "A01", {"PV1": put("PV1", 2, "")}),
    ("ADT-MOVEMENT-ID ZBE^1^1", "A01", {"ZBE": put("ZBE", 1, "")}),
    ("ADT-MOVEMENT-DATE ZBE^1^2", "A01", {"ZBE": put("ZBE", 2, "")}),
    ("ADT-MOVEMENT-DATE ZBE^1^2", "A01", {"ZBE": put("ZBE", 2, "20250230")}),
    ("ADT-ZBE-3 ZBE^1^3", "A01", {"ZBE": put("ZBE", 3, "20250203")}),
    ("ADT-ACTION ZBE^1^4", "A01", {"ZBE": put("ZBE", 4, "NEW")}),
    ("ADT-HISTORIC ZBE^1^5", "A01", {"ZBE": put("ZBE", 5, "INSERT")}),
    ("ADT-TRIGGER ZBE^1^6", "Z99", {"ZBE": put("ZBE", 4, "UPDATE")}),
    ("ADT-CONSENT ZFA^1^9", "A01", {"ZFA": put("ZFA", 9, "OUI")}),
    ("ADT-CONSENT ZFA^1^11", "A31", {"ZFA": put("ZFA", 11, "INO"), "ZBE": None}),
    ("ADT-DATE PV1^1^45", "A03", {"PV1": put("PV1", 45, "demain")}),
    ("ADT-DATE EVN^1^6", "A01", {"EVN": "EVN||20250203101500||||hier"}),
    ("ADT-DATE ZFA^1^10", "A01", {"ZFA": put("ZFA", 10, "x")}),
    ("ADT-LENGTH PV1^1^19", "A01", {"PV1": put("PV1", 19, LONG)}),
    ("ADT-LENGTH ZBE^1^1", "A01", {"ZBE": put("ZBE", 1, LONG)}),
    ("ADT-PRIOR-PATIENT MRG^1^1", "A40", {"MRG": "MRG|||N9", "PV1": None, "ZBE": None}),
    ("ADT-PRIOR-ACCOUNT MRG^1^3", "A44", {"MRG": "MRG|OLD^^^CH", "PID": put("PID", 18, "")}),
    ("ADT-SAME-PATIENT MRG^1^1", "A47", {"MRG": "MRG|" + SEGMENTS["PID"].split("|")[3]}),
]


@pytest.mark.parametrize(("rule", "event", "changes"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_each_rule(rule: str, event: str, changes: dict[str, str | None]) -> None:
    assert rule in found(read(adt(event, **changes)))


def test_what_the_header_misses() -> None:
    raw = adt(control_id="")
    assert found(read(raw)) == ["ADT-CONTROL-ID MSH^1^10"]
    assert found(read(adt().replace(b"CH|20250203101500||", b"CH|||"))) == ["ADT-SENT-AT MSH^1^7"]
    for none in (b"00010101", b"99991231235959+0100"):
        undated = read(adt().replace(b"CH|20250203101500||", b"CH|" + none + b"||"))
        assert found(undated) == ["ADT-SENT-NONE MSH^1^7"]
        assert undated.event is not None and not undated.findings.rejects
    assert found(read(adt().replace(b"ADT^A01", b"MDM^T02"))) == ["ADT-TYPE MSH^1^9^1^1"]


def test_every_rule_of_the_table_is_raised_here() -> None:
    (table,) = (p for p in CORE_TABLES if p.name == "adt_rules.toml")
    raised = {rule.split(" ")[0] for rule, _, _ in CASES} | {
        "ADT-CONTROL-ID",
        "ADT-SENT-AT",
        "ADT-SENT-NONE",
        "ADT-TYPE",
    }
    assert {r.id for r in read_rules(table)} == raised


def test_all_errors_at_once() -> None:
    reading = read(
        adt(
            "Z99",
            "",
            PV1=put("PV1", 2, "Q"),
            ZBE="ZBE||demain|x|?|?|?",
            ZFA=put("ZFA", 9, "OUI"),
            PID=put("PID", 3, ""),
        )
    )
    assert {f.rule for f in reading.findings} == {
        "ADT-CONTROL-ID",
        "ADT-PATIENT",
        "ADT-CLASS",
        "ADT-MOVEMENT-ID",
        "ADT-MOVEMENT-DATE",
        "ADT-ZBE-3",
        "ADT-ACTION",
        "ADT-HISTORIC",
        "ADT-TRIGGER",
        "ADT-CONSENT",
    }
    assert reading.findings.rejects


def test_bytes_that_are_no_text_are_refused_where_they_are_read() -> None:
    raw = adt().replace(b"V1^^^CH", b"V\xe9^^^CH")
    assert found(read(raw)) == ["MSG-CHARSET-BYTES PV1^1^19"]
    assert found(read(adt().replace(b"V1^^^CH", b"V\x01^^^CH"))) == ["MSG-CONTROL PV1^1^19"]
    assert found(read(adt(NK1="NK1|1|\x01"))) == []
    assert "MSH18-UNREADABLE MSH^1^18" in found(read(adt().replace(b"UNICODE UTF-8", b"KLINGON")))


def test_interop_takes_a_movement_without_a_date() -> None:
    raw = adt("A03", ZBE=put("ZBE", 2, ""))
    assert read(raw).findings.rejects and not read(raw, "interop").findings.rejects


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_event_is_read(event: str) -> None:
    zbe = put("ZBE", 6, "A03") if event == "Z99" else SEGMENTS["ZBE"]
    reading = read(adt(event, ZBE=zbe, MRG=MRG))
    assert not reading.findings.rejects and reading.event is not None


def test_null_takes_a_consent_back() -> None:
    event = read(adt("A31", ZFA=put("ZFA", 9, '""'))).event
    assert event is not None and event.consent is not None and event.consent.feeding == "NA"


def test_no_value_of_the_message_enters_a_finding() -> None:
    secret = "SECRETNAME"
    for rule, event, changes in CASES:
        told = {k: None if v is None else v.replace("TEST^ANNE", secret) for k, v in changes.items()}
        for finding in read(adt(event, **told)).findings:
            for value in (secret, "IPP1", "184127512398791", "OUI", "demain"):
                assert value not in finding.text, rule


# --- facts ----------------------------------------------------------------------------------------------------------


def facts_from(raw: bytes, preset: Preset = "production") -> list[facts.Fact]:
    reading = read(raw, preset)
    assert reading.event is not None and not reading.findings.rejects
    made = facts_of(reading.event, establishment_of(reading.event, {}), PARIS, KEY)
    # what is made is what the published model reads
    return [facts.read(facts.canonical(f)) for f in made]


def test_an_admission_gives_a_movement_and_a_consent() -> None:
    stay, consented = facts_from(adt())
    assert stay["fact"] == "stay" and consented["fact"] == "consent"
    assert stay["stay"] == {"authority": "750000001", "value": "V1"} == consented["stay"]
    assert stay["movement"]["at"] == datetime(2025, 2, 3, 9, 0, tzinfo=UTC)
    assert stay["at"] == datetime(2025, 2, 3, 9, 15, tzinfo=UTC)
    assert (consented["feeding"], consented["consulting"]) == ("INO", "IC")
    for fact in (stay, consented):
        text = facts.canonical(fact)
        assert "IPP1" not in text and "184127512398791" not in text and "ANNE" not in text


def test_a31_without_a_visit_is_about_the_patient() -> None:
    (consented,) = facts_from(adt("A31", PV1="PV1|1|N", ZBE=None))
    assert consented["fact"] == "consent" and consented.get("stay") is None and consented["patient"]


def test_merge_and_move() -> None:
    (merged,) = facts_from(adt("A40", MRG=MRG, PV1=None, ZBE=None, ZFA=None))
    assert (
        merged["fact"] == "identity"
        and merged["event"] == "A40"
        and merged["prior_patient"] != merged["patient"]
    )
    (moved,) = facts_from(adt("A44", MRG=MRG, PV1=None, ZBE=None, ZFA=None))
    assert moved["fact"] == "identity" and moved["account"] == {"authority": "750000001", "value": "N1"}


def test_the_same_content_has_the_same_ids_whatever_its_control_id() -> None:
    ids = [f["fact_id"] for f in facts_from(adt(control_id="1"))]
    assert ids == [f["fact_id"] for f in facts_from(adt(control_id="2"))]
    assert not set(ids) & {f["fact_id"] for f in facts_from(adt(ZBE=put("ZBE", 1, "M2")))}


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("20250203100000", "2025-02-03T09:00:00+00:00"),
        ("202507031000", "2025-07-03T08:00:00+00:00"),
        ("20250203", "2025-02-02T23:00:00+00:00"),
        ("20250203100000.25+0000", "2025-02-03T10:00:00.250000+00:00"),
        ("20250203100000-0400", "2025-02-03T14:00:00+00:00"),
    ],
)
def test_instants(text: str, utc: str) -> None:
    found = instant(text, PARIS)
    assert found is not None and found.astimezone(UTC).isoformat() == utc
    assert instant("", PARIS) is None


# --- the official samples -------------------------------------------------------------------------------------------


@pytest.mark.official
def test_official_samples_give_five_stays_one_closed_whatever_the_order() -> None:
    folder = official("hl7", "adt")
    raws = [p.read_bytes() for p in sorted(folder.glob("*.er7"))]
    assert len(raws) == 7
    told = [facts_from(raw, preset) for raw in raws for preset in ("production", "interop")]
    for seed in range(20):
        mixed = list(itertools.chain(*told))
        random.Random(seed).shuffle(mixed)
        stays = World().add_all(mixed).stays.fold().all
        assert len(stays) == 5
        (closed,) = (s for s in stays if s.closed is not None)
        assert closed.name == "000897406"
        assert closed.closed == datetime(2024, 3, 6, 11, 0, tzinfo=PARIS).timestamp()
        assert consent(closed.feeding, closed.consulting) is Why.NOT_OPPOSED
        states = {s.name: consent(s.feeding, s.consulting) for s in stays}
        assert states == {
            "000897406": Why.NOT_OPPOSED,
            "000197406": Why.OPPOSED,
            "000297406": Why.OPPOSED,
            "000597406": Why.NOT_OPPOSED,
            "000997406": Why.NOT_RECORDED,
        }
        result = compute(World().add_all(mixed), "2024-03")
        row = find(result.rows, "INF-1", stay_kind="ALL", finess="000897406")
        assert (row.numerator, row.denominator, row.rate) == (1, 1, 1.0)
        treated = find(result.rows, "MSC-2", document_code="ALL")
        assert treated.denominator == 1


@pytest.mark.official
def test_the_official_discharge_is_read_with_warnings() -> None:
    reading = read(official("hl7", "adt", "sortie.er7").read_bytes())
    assert {f.rule for f in reading.findings} == {"ADT-ZBE-3", "ADT-ACTION", "ADT-HISTORIC"}
    assert all(f.severity is Severity.WARN for f in reading.findings)
    assert reading.event is not None and reading.event.movement is not None
    assert reading.event.movement.action == "INSERT"
