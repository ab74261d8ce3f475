"""The MSSanté routing table, all 2^8 combinations of the metadata, strict and tolerant.

Source: volet Transmission v2.1, "règles de gestion MSSanté"; spec/mssante.md §1.1. The table is written here a second
time, by hand, so that the one of the product is compared with something.
"""

from __future__ import annotations

from itertools import product

import pytest

from gateway.errors import ConfigurationFault, Severity
from gateway.hl7.message import Message
from gateway.hl7.profile import read_transmission
from gateway.rules import RuleBook
from tests.hl7 import messages as m

CODES = (
    "MASQUE_PS",
    "INVISIBLE_PATIENT",
    "INVISIBLE_REP_LEGAUX",
    "CONNEXION_SECRETE",
    "MODIF_CONF_CODE",
    "DESTDMP",
    "DESTMSSANTEPS",
    "DESTMSSANTEPAT",
)
ROWS = (
    # MASQUE_PS INVISIBLE_PATIENT INVISIBLE_REP_LEGAUX CONNEXION_SECRETE MODIF_CONF_CODE DESTDMP PS PAT
    ("N", "N", "N", "NY", "NY", "NY", "Y", "Y"),
    ("N", "Y", "N", "NY", "NY", "NY", "Y", "N"),
    ("NY", "N", "NY", "N", "NY", "N", "N", "Y"),
)
BOTH = m.mdm(
    "T10",
    m.CDA,
    type_code=m.TYPE,
    document_id=f"{m.ROOT}.4",
    replaced_id=f"{m.ROOT}.3",
    recipients=(m.DR_MARTIN, m.patient_recipient()),
    body_patient="Bonjour",
)
"""A replacement, where MODIF_CONF_CODE may be Y towards the DMP too."""
ALL = ["".join(values) for values in product("NY", repeat=len(CODES))]


def expected(values: str) -> tuple[set[str], bool]:
    """(invariants broken, whether the table forbids it) of one combination."""
    given = dict(zip(CODES, values, strict=True))
    ps, patient, dmp = (given[c] == "Y" for c in ("DESTMSSANTEPS", "DESTMSSANTEPAT", "DESTDMP"))
    broken = set()
    if not (ps or patient or dmp):
        broken.add("ROUTE-NONE")
    if ps and given["MASQUE_PS"] == "Y":
        broken.add("ROUTE-MASKED-TO-PS")
    if patient and given["INVISIBLE_PATIENT"] == "Y":
        broken.add("ROUTE-INVISIBLE-TO-PATIENT")
    in_table = any(all(v in row[i] for i, v in enumerate(values)) for row in ROWS)
    return broken, (ps or patient) and not in_table and not broken


def rejected(values: str, book: RuleBook) -> set[str]:
    raw = BOTH
    for code, value in zip(CODES, values, strict=True):
        raw = m.flag(raw, code, value)
    return m.rejecting(read_transmission(Message.parse(raw), book))


@pytest.mark.parametrize("dmp_and_mss", ["NN", "NY", "YN", "YY"], ids="PS,PAT={}".format)
def test_all_combinations_strict_and_tolerant(dmp_and_mss: str) -> None:
    """Strict (production): what is in no row is refused. Tolerant (interop, or `[severity]` in production): the rows
    warn, the invariants refuse all the same."""
    strict, interop = RuleBook(m.RULES, "production"), RuleBook(m.RULES, "interop")
    relaxed = RuleBook(m.RULES, "production", {"ROUTE-TABLE": Severity.WARN})
    some = [values for values in ALL if values.endswith(dmp_and_mss)]
    assert len(some) == 64
    for values in some:
        broken, outside = expected(values)
        assert rejected(values, strict) == broken | ({"ROUTE-TABLE"} if outside else set()), values
        assert rejected(values, interop) == broken, values
        assert rejected(values, relaxed) == broken, values


def test_the_table_counts() -> None:
    """Three rows of eight combinations each go to MSSanté; the DMP alone takes any masking."""
    allowed = [v for v in ALL if expected(v) == (set(), False)]
    assert sum(v.endswith(("Y", "YN")) for v in allowed) == 24
    assert sum(v.endswith("YNN") for v in allowed) == 32


@pytest.mark.parametrize("rule", ["ROUTE-MASKED-TO-PS", "ROUTE-INVISIBLE-TO-PATIENT", "ROUTE-NO-PS-ADDRESS"])
@pytest.mark.parametrize("severity", [Severity.WARN, Severity.OFF])
def test_the_invariants_cannot_be_relaxed(rule: str, severity: Severity) -> None:
    """MASQUE_PS never to a professional, INVISIBLE_PATIENT never to the patient."""
    with pytest.raises(ConfigurationFault, match=rule):
        RuleBook(m.RULES, "interop", {rule: severity})
