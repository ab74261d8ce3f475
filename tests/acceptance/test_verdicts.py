"""Every official sample gets the verdict that its content deserves: verdicts.toml, reviewed by hand."""

from __future__ import annotations

import pytest

from tests.acceptance import verdicts
from tests.official import OFFICIAL

pytestmark = pytest.mark.official
TABLE = verdicts.table()
SAMPLES = dict(verdicts.samples()) if OFFICIAL.exists() else {}


@pytest.mark.parametrize(("name", "judgement"), [(n, j) for n in TABLE for j in verdicts.judgements(n)])
def test_verdict(name: str, judgement: str) -> None:
    if name not in SAMPLES:
        pytest.skip(f"official data absent: {name}")
    assert verdicts.judge(SAMPLES[name], judgement) == verdicts.row(TABLE[name], judgement)


def test_every_sample_at_hand_is_in_the_table() -> None:
    if not SAMPLES:
        pytest.skip("official data absent")
    assert not SAMPLES.keys() - TABLE.keys()


@pytest.mark.parametrize("name", TABLE)
def test_every_row_is_reviewed(name: str) -> None:
    """Each refusal says why the content deserves it; interop is never stricter than production."""
    known = TABLE[name]
    why = str(known["why"])
    assert len(why) > 20 and "TO REVIEW" not in why
    refused = {j for j in verdicts.judgements(name) if verdicts.row(known, j).rejects}
    assert "interop" not in refused or "production" in refused
    for judgement in refused:
        for reject in verdicts.row(known, judgement).rejects:
            assert reject.split()[0] in why, f"{reject} in {judgement}: why?"


@pytest.mark.parametrize("name", [n for n in TABLE if n.startswith(("cda/", "xdm/"))])
def test_no_official_document_is_refused(name: str) -> None:
    for preset in ("production", "interop"):
        assert verdicts.row(TABLE[name], preset).verdict != "reject"


REAL = (
    "hl7/transmission-v2.1/mdm/message_MDM_CR_Radio_INIT_N1_Base64.er7",
    "hl7/transmission-v2.1/mdm/message_MDM_CR_Radio_RPLC_N1.er7",
    "hl7/transmission-v2.1/oru/message_ORU_CR_Bio_INIT_N3_SEGUR.hl7",
)
PLACEHOLDER = "hl7/transmission-v2.1/mdm/message_MDM_CR_Radio_INIT_N1.er7"


@pytest.mark.parametrize("name", REAL)
def test_interop_takes_the_messages_whose_document_is_a_real_one(name: str) -> None:
    assert verdicts.row(TABLE[name], "interop").verdict == "warn"


def test_interop_refuses_a_placeholder_for_its_document_alone() -> None:
    assert [r.split()[1:] for r in verdicts.row(TABLE[PLACEHOLDER], "interop").rejects] == [
        ["OBX^1^5", "102"]
    ]
