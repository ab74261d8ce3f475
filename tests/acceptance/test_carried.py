"""Every official document is taken in both presets when the message that carries it was made for it.

Profile, document and coherence together, to the DMP and MSSanté, replacements as replacements: nothing right is
refused. (What the connectors make of it, and the register, are tested elsewhere.)
"""

from __future__ import annotations

import pytest

from fixtures import build
from gateway.cda.check import check_content
from gateway.errors import Place
from gateway.hl7.transmission import InstanceId
from tests.acceptance import verdicts
from tests.fuzz.support import BOOKS, check
from tests.hl7.messages import put
from tests.official import OFFICIAL

pytestmark = pytest.mark.official
DOCUMENTS = dict(s for s in verdicts.samples() if not s[0].startswith("hl7/")) if OFFICIAL.exists() else {}


def txa(identifier: InstanceId) -> str:
    return f"{identifier.extension}^^{identifier.root}^ISO" if identifier.extension else identifier.root


def carrying(content: bytes) -> bytes:
    """The message that a DPI in order would send with this document."""
    document = check_content(content, BOOKS["production"], Place("OBX", 1, 5)).document
    assert document is not None
    header, patient = document.header, document.header.patient
    assert header.id is not None and header.code is not None and patient is not None
    system = "LN" if header.code.system == build.LOINC else "TRE_A05"
    replaced = header.replaced_id
    raw = build.mdm(
        "T10" if replaced else "T02",
        content,
        type_code=f"{header.code.code}^{build.hl7_escape(header.code.label)}^{system}",
        document_id=txa(header.id),
        replaced_id=txa(replaced) if replaced else None,
        finess=next(iter(sorted(header.author_organisations)), build.FINESS),
    )
    identifiers = (
        f"{i.extension}^^^AUTORITE&{i.root}&ISO^{'INS' if i == patient.ins else 'PI'}" for i in patient.ids
    )
    name = f"{build.hl7_escape(patient.birth_family)}^{build.hl7_escape(patient.birth_given)}^^^^^L"
    for field, value in (
        (3, "~".join(identifiers)),
        (5, name),
        (7, patient.birth_time[:8]),
        (8, {"UN": "U"}.get(patient.gender, patient.gender)),
    ):
        raw = put(raw, f"PID^1^{field}", value)
    return raw


@pytest.mark.parametrize("preset", BOOKS)
@pytest.mark.parametrize("name", DOCUMENTS or ["absent"])
def test_a_document_in_a_message_made_for_it_is_taken(name: str, preset: str) -> None:
    if not DOCUMENTS:
        pytest.skip("official data absent")
    checked = check(carrying(DOCUMENTS[name]), preset)  # type: ignore[arg-type]
    assert checked.cda is not None and len(checked.cda.documents) == 1
    assert [(f.rule, f.place and f.place.erl()) for f in checked.findings if f.rejects] == []
