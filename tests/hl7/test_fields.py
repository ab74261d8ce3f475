"""The table of fields: what it says is what is checked, whatever it says (gateway/hl7/profile/fields.toml)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigurationFault
from gateway.hl7.message import Message
from gateway.hl7.profile import Reading, read_transmission
from gateway.hl7.profile.datatypes import is_oid, is_timestamp
from gateway.hl7.profile.fields import PATH, Row, load, profile
from gateway.hl7.transmission import Flags
from gateway.rules import RuleBook
from tests.hl7 import messages as m
from tests.hl7.messages import MDM, ORU, REPLACEMENT, TO_PATIENT, put

TABLE = PATH.read_text(encoding="utf-8")


def read_by(table: str, raw: bytes, tmp_path: Path) -> Reading:
    """`raw` read by another table."""
    path = tmp_path / "fields.toml"
    path.write_text(table, encoding="utf-8")
    return read_transmission(Message.parse(raw), RuleBook(m.RULES), load(path))


def changed(before: str, after: str) -> str:
    assert TABLE.count(before) == 1, before
    return TABLE.replace(before, after)


CHANGES = [
    # what is changed in the table, the message, the finding that comes of it and what its sentence says
    (changed('values = ["FRA"]', 'values = ["BEL", "CHE"]'), MDM, "MSH17-VALUE", "MSH^1^17", "BEL ou CHE"),
    (changed('MDM = ["2.6"]', 'MDM = ["2.7"]'), MDM, "MSH12-VERSION", "MSH^1^12", "2.7"),
    (changed('M = "masculin", ', ""), MDM, "PID8-VALUE", "PID^1^8", "F, O, U, A ou N"),
    (changed(', I = "hospitalisation"', ""), MDM, "PV12-VALUE", "PV1^1^2", "E, O, R ou N"),
    (changed('Y = "oui", ', 'O = "oui", '), MDM, "META-VALUE", "OBX^7^5^1^1", "O ou N"),
    (changed('values = ["UC"]', 'values = ["AD"]'), MDM, "PRT2-VALUE", "PRT^1^2", "AD"),
    (changed('ORU = ["CE"]', 'ORU = ["CWE"]'), ORU, "META-TYPE", "OBX^2^2", "CWE"),
    (changed('NW = "submit"', 'XX = "submit"'), MDM, "ORC1-VALUE", "ORC^1^1", "XX, RO ou CA"),
    (changed('T10 = "replace", ', ""), REPLACEMENT, "MSH9-EVENT", "MSH^1^9^1^2", "T02 ou T04"),
    (changed('["X.400"]\ncase = "ignore"\ncode = ["PRT15-TYPE"]\n\n["PRT-15.4 RCT"]',
             '["NET"]\ncode = ["PRT15-TYPE"]\n\n["PRT-15.4 RCT"]'), MDM, "PRT15-TYPE", "PRT^2^15^1^3", "NET"),
    (changed('{ "MSH-9.2" = ["T10"] }', '{ "MSH-9.2" = ["T02"] }'), MDM, "TXA-REQUIRED", "TXA^1^13", "TXA-13"),
    (changed('usage = "RE"\ntype = "TS"\nform = "OPTIONAL-DATE"\n\n# === ORC',
             'usage = "R"\ntype = "TS"\nabsent = "PV1-REQUIRED"\n\n# === ORC'), MDM, "PV1-REQUIRED", "PV1^1^45",
     "PV1-45"),
    (changed('digits = 8', 'digits = 12'), MDM, "PID7-FORM", "PID^1^7", "PID-7"),
    (changed('CORPSMAIL_PATIENT = { usage = "O"', 'CORPSMAIL_PATIENT = { usage = "R"'), MDM, "META-MISSING", "OBX^13",
     "CORPSMAIL_PATIENT"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "raw", "rule", "place", "said"), CHANGES, ids=lambda v: v if len(v) < 40 else ""
)
def test_changing_the_table_changes_the_checker(
    table: str, raw: bytes, rule: str, place: str, said: str, tmp_path: Path
) -> None:
    assert m.found(m.read(raw)) == set()
    findings = read_by(table, raw, tmp_path).findings
    found = [f for f in findings if f.rule == rule and f.place and f.place.erl() == place]
    assert len(found) == 1, [(f.rule, f.place) for f in findings]
    assert said in found[0].text


def test_the_order_of_the_metadata_is_the_order_of_the_table(tmp_path: Path) -> None:
    lines = TABLE.split("\n")
    first = next(i for i, line in enumerate(lines) if line.startswith("MASQUE_PS ="))
    lines[first], lines[first + 1] = lines[first + 1], lines[first]
    findings = read_by("\n".join(lines), MDM, tmp_path).findings
    assert [(f.rule, f.place.erl() if f.place else "") for f in findings] == [("META-ORDER", "OBX^3")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('["MSH-3"]', '["MSH-three"]'),
        ('name = "Code pays"\nusage = "R"', 'name = "Code pays"\nusage = "S"'),
        ('name = "Code pays"\nusage = "R"', 'name = "Code pays"\nusage = "O"'),
        ('name = "Code pays"', 'label = "Code pays"'),
        ('values = "HL70001"', 'values = "HL79999"'),
        ('NW = "submit"', 'NW = "new"'),
        ('when = { "PV1-2" = ["E", "I", "O", "R"] }\n', ""),
        ('form = "PID7-FORM"', 'form = "PID7-FORM"\nblank = 1\ntype = "XX"'),
        ("[sets]\n", "[sets\n"),
    ],
)
def test_a_malformed_table_is_a_configuration_fault(before: str, after: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match="table of fields"):
        read_by(changed(before, after), MDM, tmp_path)


def test_table_and_rules_know_the_same_rules() -> None:
    named = {rule for row in profile().rows.values() for rule in row.every_rule}
    assert named == {r.id for r in m.RULES}


def test_every_flag_is_a_metadata() -> None:
    flags = [x.flag for x in profile().metadata.values() if x.flag]
    assert flags == [f.name for f in dataclasses.fields(Flags)]


def test_codes_of_the_document_s_action_agree() -> None:
    actions = profile().actions
    assert (
        set(actions["orders"].values())
        == set(actions["statuses"].values())
        == set(actions["events"].values())
    )


# --- any field of the table ---------------------------------------------------------------------------------

SAMPLES = {
    # a message and the occurrence of a segment of each kind in it
    "": (TO_PATIENT, 1),
    "document": (TO_PATIENT, 1),
    "metadata": (TO_PATIENT, 4),
    "body": (TO_PATIENT, 12),
    "SB": (TO_PATIENT, 1),
    "RCT": (TO_PATIENT, 2),
    "REPLY": (TO_PATIENT, 4),
}
ROWS = [r for r in profile().rows.values() if r.number is not None]


def where(row: Row, rep: int | None = None) -> str:
    _, occurrence = SAMPLES[row.kind]
    deeper = f"^{rep or 1}^{row.component}" if row.component else ""
    return f"{row.segment}^{occurrence}^{row.number}{deeper}"


def row_id(row: Row) -> str:
    return row.key


@pytest.mark.parametrize("row", [r for r in ROWS if r.usage == "R" and "absent" in r.rules], ids=row_id)
def test_an_empty_required_field_gives_its_rule_at_its_place_and_nothing_else(row: Row) -> None:
    raw, occurrence = SAMPLES[row.kind]
    reading = m.read(put(raw, where(row), ""))
    whole = f"{row.segment}^{occurrence}^{row.number}"
    assert m.found(reading) in ({(row.rules["absent"], where(row))}, {(row.rules["absent"], whole)})


@pytest.mark.parametrize("row", [r for r in ROWS if "value" in r.rules], ids=row_id)
@settings(deadline=None, max_examples=50)
@given(value=st.text("ABCXYZ09", min_size=1, max_size=9))
def test_a_code_outside_the_set_gives_its_rule_at_its_place(row: Row, value: str) -> None:
    raw, _ = SAMPLES[row.kind]
    reading = m.read(put(raw, where(row), value))
    codes = {c.upper() for c in row.codes["MDM"]}
    mine = {(f, p) for f, p in m.found(reading) if f == row.rules["value"]}
    assert mine == (set() if value in codes else {(row.rules["value"], where(row))})


@pytest.mark.parametrize("row", [r for r in ROWS if r.type == "TS" and "form" in r.rules], ids=row_id)
@settings(deadline=None, max_examples=50)
@given(
    value=st.one_of(
        st.datetimes().map(lambda d: d.strftime("%Y%m%d%H%M%S").zfill(14)),
        st.text("0123456789.+-TZ/", min_size=1, max_size=19),
    )
)
def test_a_date_that_is_none_gives_its_rule_at_its_place(row: Row, value: str) -> None:
    raw, _ = SAMPLES[row.kind]
    place = where(row) + ("^1" if row.repeats > 1 else "")
    mine = {(f, p) for f, p in m.found(m.read(put(raw, where(row), value))) if f == row.rules["form"]}
    assert mine == (set() if is_timestamp(value, row.digits) else {(row.rules["form"], place)})


@pytest.mark.parametrize("row", [r for r in ROWS if r.usage in ("RE", "O")], ids=row_id)
@pytest.mark.parametrize("value", ["", "x", "?&y&ISO", '""'])
def test_what_is_optional_never_refuses(row: Row, value: str) -> None:
    """Unless it feeds the metadata of the DMP (the sender's identifiers) or the routing."""
    if row.rules.get("form") == "SB-AUTHORITY" or row.key == "OBX-5.5 body":
        return
    raw, _ = SAMPLES[row.kind]
    assert m.rejecting(m.read(put(raw, where(row), value))) <= {"PATIENT-ADDRESS-UNQUALIFIED"}


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("2026", True),
        ("202602", True),
        ("20260228", True),
        ("20240229", True),
        ("2026022823", True),
        ("202602282359", True),
        ("20260228235959", True),
        ("20260228235959.1234+0200", True),
        ("202602282359-1000", True),
        ("20260229", False),
        ("20260001", False),
        ("20261301", False),
        ("00000101", False),
        ("20260100", False),
        ("2026022824", False),
        ("202602282360", False),
        ("20260228235960", False),
        ("202602282", False),
        ("20260228235959.12345", False),
        ("20260228+1500", False),
        ("2026-02-28", False),
        ("２０２６０２２８", False),
        ("", False),
    ],
)
def test_timestamps_are_real_dates(text: str, good: bool) -> None:
    assert is_timestamp(text) is good


@pytest.mark.parametrize("text", ["1.2.250.1.213.1.4.8", "0.0", "2.999"])
def test_oids(text: str) -> None:
    assert is_oid(text)
    assert not is_oid(text + ".")
    assert not is_oid(text + ".01")
    assert not is_oid("3" + text[1:])


# --- codes of table 0357 and 0533, as the volet has them ----------------------------------------------------

CODES = {
    "100": "MSG-STRAY-LINE SEG-MISSING SEG-ORDER PRT-PLACE META-ORDER",
    "101": "MSH-REQUIRED MSH9-STRUCTURE-ABSENT MSH17-ABSENT MSH18-ABSENT MSH21-ABSENT EVN2-ABSENT PID-REQUIRED "
    "PID3-INCOMPLETE PID5-BIRTH-NAME PV1-REQUIRED ORC1-REQUIRED OBR4-REQUIRED TXA-REQUIRED OBX5-EMPTY SB-REQUIRED "
    "SB-INCOMPLETE RCT-ADDRESS REPLY-ADDRESS META-MISSING",
    "102": "MSG-CHARSET-BYTES MSG-MOJIBAKE MSG-CONTROL "
    "FIELD-COMPONENT FIELD-SUBCOMPONENT MSH2-SEPARATORS MSH7-FORM EVN2-FORM "
    "OPTIONAL-DATE OPTIONAL-AUTHORITY PID3-AUTHORITY PID7-FORM TXA-ID-FORM TXA-ID-ORGANISATION OBX2-DOCUMENT OBX5-FORM "
    "PRT-BLANKS SB-AUTHORITY ADDRESS-SYNTAX ADDRESS-UNSAFE META-TYPE BODY-FORM BODY-PADDING BODY-BASE64 BODY-CHARSET",
    "103": "MSH17-VALUE MSH18-VALUE MSH18-UNREADABLE MSH21-VALUE MSH21-BLANK OPTIONAL-VALUE PID8-VALUE PV12-VALUE "
    "ORC1-VALUE OBR4-SYSTEM TXA-VALUE OBX11-DOCUMENT OBX-UNKNOWN PRT4-ROLE PRT2-VALUE PRT15-TYPE META-UNKNOWN "
    "META-ALIAS META-VALUE META-STATUS META-SYSTEM",
    "198": "FIELD-EMPTY-REPETITION RCT-TOO-MANY "
    "SEG-REPEATED FIELD-REPEATED FIELD-REPETITION-IGNORED DOC-COUNT PID-REPETITIONS OBX5-REPEATED SB-REPEATED "
    "RCT-SEVERAL-ADDRESSES RCT-REPEATED META-REPEATED",
    "199": "MSG-LINE-ENDS SEG-IGNORED SEG-CONTINUED TXA13-UNEXPECTED RCT-UNUSED",
    "200": "MSH9-TYPE MSH9-STRUCTURE",
    "201": "MSH9-EVENT",
    "202": "MSH11-PROCESSING",
    "203": "MSH12-VERSION MSH12-OTHER-VERSION",
    "207/903": "PATIENT-ADDRESS-NO-INS",
    "207/904": "PATIENT-ADDRESS-INS",
    "207/905": "PID3-INS-FORM",
    "207/906": "PID3-SEVERAL-INS PID3-TEST-INS ACTION-DISAGREES TYPE-DISAGREES ROUTE-NONE ROUTE-TABLE "
    "ROUTE-MASKED-TO-PS ROUTE-INVISIBLE-TO-PATIENT ROUTE-NO-PATIENT-ADDRESS ROUTE-NO-PS-ADDRESS "
    "ROUTE-MODIF-OUTSIDE-REPLACEMENT PATIENT-ADDRESS-DOMAIN PATIENT-ADDRESS-UNQUALIFIED",
}


def test_each_rule_has_the_code_of_its_cause() -> None:
    told = {rule: code for code, rules in CODES.items() for rule in rules.split()}
    assert told == {r.id: f"{r.err3}/{r.err5}" if r.err5 else r.err3 for r in m.RULES}
