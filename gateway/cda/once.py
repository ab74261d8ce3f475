"""Header elements that stand once: of two, only one would be read.

Purpose: two versionNumber, two confidentialityCode or two birth dates leave a choice that nobody made; the XSD refuses
them, but it may not be configured. Pure.
Guarantee: each such element that is repeated gets one finding (CDA-ONCE) with its path and line. Those of H02, H03,
H08 to H10, H14, H16, H17, H22, H25 and H26 are counted by their own rule.
Source: CDA R2, cardinalities 0..1 and 1..1 of ClinicalDocument and Patient; volet Structuration minimale.
"""

from __future__ import annotations

from lxml import etree

from gateway.cda.header import child
from gateway.cda.reader import V3
from gateway.errors import Place
from gateway.rules import Findings

_DOCUMENT = ("effectiveTime", "confidentialityCode", "languageCode", "versionNumber", "custodian")
_PATIENT = ("administrativeGenderCode", "birthTime", "birthplace")


def check_once(root: etree._Element, findings: Findings, place: Place) -> None:
    """Findings CDA-ONCE of the ClinicalDocument `root`, all at `place`."""
    patient = child(root, "recordTarget", "patientRole", "patient")
    for parent, path, names in (
        (root, "", _DOCUMENT),
        (patient, "recordTarget/patientRole/patient/", _PATIENT),
    ):
        if parent is None:
            continue
        for name in names:
            found = parent.findall(f"{{{V3}}}{name}")
            if len(found) > 1:
                line = found[1].sourceline
                spot = (path + name, line if isinstance(line, int) else None)
                findings.add_inside(spot, "CDA-ONCE", place, element=name)
