"""The rule table of this room: codes, sentences, and a test for each rule."""

from __future__ import annotations

import re
from pathlib import Path

from connectors.mss.inbound import reading
from gateway.hl7.tables import APPLICATION_ERRORS, table
from gateway.rules import read_rules
from tests.mss.inbound.samples import TABLE

USED = re.compile(r'"(IN-[A-Z0-9-]+)"')


def test_every_rule_has_a_code_of_the_volet_and_a_sentence() -> None:
    """§2.4: table 0533; the sentence goes to people."""
    for rule in read_rules(TABLE):
        assert rule.err3 == "207" and rule.err5 in table(APPLICATION_ERRORS), rule.id
        assert rule.text.endswith(".") and rule.source, rule.id


def test_every_rule_is_raised_and_tested() -> None:
    known = {rule.id for rule in read_rules(TABLE)}
    code = "".join(p.read_text(encoding="utf-8") for p in Path(reading.__file__).parent.glob("*.py"))
    assert set(USED.findall(code)) == known
    own = Path(__file__)
    tests = "".join(p.read_text(encoding="utf-8") for p in own.parent.glob("test_*.py") if p != own)
    assert known == known & set(re.findall(r"IN-[A-Z0-9]+(?:-[A-Z0-9]+)*", tests))


def test_what_protects_the_patient_cannot_be_lowered() -> None:
    """MASQUE_PS, identity, integrity: invariants."""
    rules = {rule.id: rule for rule in read_rules(TABLE)}
    for name in (
        "IN-MASKED",
        "IN-PATIENT-DIFFERS",
        "IN-PATIENTS-SEVERAL",
        "IN-HASH",
        "IN-UID-DIFFERS",
        "IN-ACTION",
    ):
        assert rules[name].invariant, name
