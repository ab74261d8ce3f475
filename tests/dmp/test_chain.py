"""From a real message to the DMP's metadata: HL7 profile, CDA reader, mapping, together."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.dmp import plan as plans
from connectors.dmp.connector import DmpConnector
from connectors.dmp.simulator import DmpSimulator
from connectors.port import Accepted, OutcomeClass, Predecessor, Preparation, Refused
from connectors.xds.mapping import document_entry
from fixtures import build
from gateway.cda.check import check_documents
from gateway.cda.document import Document
from gateway.cda.header import read_header
from gateway.cda.reader import read
from gateway.errors import Place
from gateway.hl7.message import Message
from gateway.hl7.profile import read_transmission
from gateway.hl7.transmission import Action, Transmission
from gateway.rules import load_rulebook
from tests.dmp.conftest import Dpi
from tests.official import OFFICIAL, official
from tests.xds import samples

BOOK = load_rulebook()
INTEROP = load_rulebook(preset="interop")


def read_message(raw: bytes) -> tuple[Transmission, tuple[Document, ...]]:
    reading = read_transmission(Message.parse(raw), BOOK)
    assert reading.transmission is not None, list(reading.findings)
    check = check_documents(reading.transmission, raw, BOOK)
    assert not check.findings.rejects, list(check.findings)
    return reading.transmission, check.documents


@pytest.mark.parametrize("content", [build.cda_n1(), build.cda_n3()], ids=["N1", "N3"])
async def test_a_conform_message_is_accepted_and_delivered(
    simulator: DmpSimulator, connector: DmpConnector, content: bytes
) -> None:
    """What the default DPI of the fixtures sends, in production rules, without a finding."""
    sent, documents = read_message(build.mdm("T02", content))
    verdict = await connector.prepare(Preparation(sent, documents, datetime.now(UTC)))
    assert isinstance(verdict, Accepted), verdict
    assert verdict.warnings == ()
    (planned,) = verdict.deliveries
    job = Dpi(connector).of(planned, documents[0], Action.SUBMIT, Predecessor.NONE, 1)
    assert (await connector.deliver(job)).outcome is OutcomeClass.SUCCESS
    assert simulator.documents[documents[0].uid].content == content
    entry = plans.load(planned.plan).entry
    assert entry is not None
    assert entry.format_code.code in ("urn:ihe:iti:xds-sd:pdf:2008", "urn:ihe:lab:xd-lab:2008")


@pytest.mark.parametrize("odd", ["\x01", "\x0b", "\x1b", "\uffff"])
@pytest.mark.parametrize("name", ["MARTIN", "Hôpital"])
async def test_what_xml_cannot_carry_is_refused_before_the_ack(
    connector: DmpConnector, name: str, odd: str
) -> None:
    """Accepted, it would fail at every attempt of its whole lifetime, and hold the later versions back."""
    lines = build.mdm("T02", build.cda_n3()).decode().split("\r")
    sender = next(n for n, line in enumerate(lines) if line.startswith("PRT") and "|SB^" in line)
    assert name in lines[sender]
    lines[sender] = lines[sender].replace(name, name[:2] + odd + name[2:])
    sent, documents = read_message("\r".join(lines).encode())
    verdict = await connector.prepare(Preparation(sent, documents, datetime.now(UTC)))
    assert isinstance(verdict, Refused)
    assert [f.rule for f in verdict.findings] == ["DMP-CHARACTER"]


@pytest.mark.parametrize("namespace", [b'xmlns:x="relative"', b"xmlns:x = './a'", b'xmlns:x="&#x66;oo"'])
async def test_a_document_without_canonical_form_is_refused_before_the_ack(
    connector: DmpConnector, namespace: bytes
) -> None:
    """Canonical XML refuses relative namespace names: such a document cannot be signed (XAdES, §3.9)."""
    content = build.cda_n3().replace(b"<recordTarget", b"<recordTarget " + namespace, 1)
    sent, documents = read_message(build.mdm("T02", content))
    verdict = await connector.prepare(Preparation(sent, documents, datetime.now(UTC)))
    assert isinstance(verdict, Refused)
    assert [f.rule for f in verdict.findings] == ["DMP-SIGNABLE"]


async def test_a_text_that_looks_like_a_namespace_is_signed(
    simulator: DmpSimulator, connector: DmpConnector
) -> None:
    content = build.cda_n3().replace(b"<recordTarget", b'<!-- xmlns:x="relative" --><recordTarget', 1)
    sent, documents = read_message(build.mdm("T02", content))
    verdict = await connector.prepare(Preparation(sent, documents, datetime.now(UTC)))
    assert isinstance(verdict, Accepted)
    job = Dpi(connector).of(verdict.deliveries[0], documents[0], Action.SUBMIT, Predecessor.NONE, 1)
    assert (await connector.deliver(job)).outcome is OutcomeClass.SUCCESS


OFFICIAL_CDA = sorted(p.name for p in (OFFICIAL / "cda").glob("*.xml")) or ["absent"]


@pytest.mark.official
@pytest.mark.parametrize("name", OFFICIAL_CDA)
def test_official_documents_have_all_their_metadata(name: str) -> None:
    """§3.3 measured on the ANS examples: nothing missing, except formatCode of BIO-TROD (no row in ASS_A11)."""
    path: Path = official("cda", name)
    content = path.read_bytes()
    result = read(content, INTEROP, Place("OBX"))
    assert result.clinical_document is not None
    header = read_header(
        result.clinical_document,
        self_presenting=result.self_presenting,
        has_stylesheet_pi=result.has_stylesheet_pi,
    )
    made = document_entry(Document(header, content, ""), samples.transmission())
    assert made.problems == (("formatCode",) if name.startswith("BIO-TROD") else ())
