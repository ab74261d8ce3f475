"""The official XSD: documents of the ANS pass, mutations fail, no value of a document is repeated."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from fixtures import build
from gateway.cda.package.folder import Package
from gateway.cda.package.xsd import MAX_SIBLINGS, SHOWN, XsdLayer
from gateway.cda.reader import ROOT, read
from gateway.errors import Place
from gateway.exchange.checking import Checker, Layer
from gateway.hl7.message import Message
from gateway.hl7.transmission import Action
from gateway.rules import Findings, load_rulebook
from tests.official import official
from tests.package.documents import DOCUMENTS

OBX = Place("OBX", 1, 5)
BOOK = load_rulebook()
SECRET = "DURAND-SECRET"

pytestmark = pytest.mark.official


@pytest.fixture(scope="module")
def layer() -> Iterator[XsdLayer]:
    yield XsdLayer(Package.open(official("ans-cda-package")))


def root_of(content: bytes) -> etree._Element:
    result = read(content, BOOK, OBX)
    assert result.clinical_document is not None
    return result.clinical_document


@pytest.mark.parametrize(("name", "content"), DOCUMENTS, ids=[name for name, _ in DOCUMENTS])
def test_official_documents_are_valid(layer: XsdLayer, name: str, content: bytes) -> None:
    assert layer.faults(root_of(content)) == [], name


def test_a_stylesheet_around_the_document_does_not_hide_it(layer: XsdLayer) -> None:
    """H01: a self-presenting document is judged by its ClinicalDocument."""
    root = root_of(official("cda", "BIO-CR-BIO_2021.01_Auto-Presentable.xml").read_bytes())
    assert root.getroottree().getroot().tag != ROOT
    assert layer.faults(root) == []
    root.find("{*}effectiveTime").set("value", SECRET)  # type: ignore[union-attr]
    (fault,) = layer.faults(root)
    assert fault.path == "ClinicalDocument/effectiveTime"


@pytest.mark.parametrize("document", [build.cda_n1(), build.cda_n3(), build.cda_n1(replaces="1.2.3")])
def test_our_fixtures_are_valid(layer: XsdLayer, document: bytes) -> None:
    assert layer.faults(root_of(document)) == []


def test_mutations_fail_and_no_value_is_repeated(layer: XsdLayer) -> None:
    """One finding with the number of faults and the first places; libxml2's own messages quote values."""
    root = root_of(build.cda_n1())
    patient = root.find(".//{*}patient")
    assert patient is not None
    patient.set("foo", SECRET)
    etree.SubElement(patient, f"{{urn:hl7-org:v3}}{SECRET}").text = SECRET
    root.find("{*}effectiveTime").set("value", SECRET)  # type: ignore[union-attr]
    patient.find("{*}name").text = SECRET  # type: ignore[union-attr]
    root.find(".//{*}patientRole/{*}id").set("root", f"{SECRET} {SECRET}")  # type: ignore[union-attr]
    findings = Findings(BOOK)
    layer.check(root, findings, OBX)
    (finding,) = findings
    assert (finding.rule, finding.err3, finding.err5, finding.rejects) == ("CDA-XSD", "207", "906", True)
    assert "4 écart(s)" in finding.text
    assert "recordTarget/patientRole/patient" in finding.text
    assert (finding.path, finding.line) == ("ClinicalDocument/effectiveTime", 7)
    assert SECRET not in finding.text
    assert all(SECRET not in str(fault) for fault in layer.faults(root))


def test_schema_location_is_not_followed(layer: XsdLayer, tmp_path: Path) -> None:
    """A document cannot bring its own schema."""
    own = tmp_path / "own.xsd"
    own.write_text('<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x"/>')
    root = root_of(build.cda_n1())
    root.set("{http://www.w3.org/2001/XMLSchema-instance}schemaLocation", f"urn:hl7-org:v3 {own}")
    root.find("{*}effectiveTime").set("value", "x")  # type: ignore[union-attr]
    assert len(layer.faults(root)) == 1


def test_each_thread_has_its_own_log(layer: XsdLayer) -> None:
    """Schema objects are not shared: libxml2's error log would be (spec/cda.md §2)."""
    wrong: list[str] = []

    def work(tag: str) -> None:
        for _ in range(200):
            root = root_of(build.cda_n1())
            root.find(f"{{*}}{tag}").set("value", "x")  # type: ignore[union-attr]
            faults = layer.faults(root)
            if [f.path for f in faults] != [f"ClinicalDocument/{tag}"]:
                wrong.append(tag)

    threads = [
        threading.Thread(target=work, args=(t,)) for t in ("effectiveTime", "versionNumber", "effectiveTime")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def checked(layer: XsdLayer | None, message: bytes) -> dict[str, Layer]:
    return Checker(BOOK, layer).check_now(message, Message.parse(message)).checks


def test_the_layer_s_state(layer: XsdLayer) -> None:
    """A layer that did not run never reads as passed."""
    good = build.cda_n1()
    bad = good.replace(b"<setId ", b"<setId foo='1' ")
    assert checked(None, build.mdm("T02", good))["xsd"] is Layer.NOT_CONFIGURED
    assert checked(layer, build.mdm("T02", good))["xsd"] is Layer.PASSED
    assert checked(layer, build.mdm("T02", bad))["xsd"] is Layer.FAILED
    assert checked(layer, build.mdm("T02", b"not xml"))["xsd"] is Layer.NOT_RUN
    assert checked(layer, build.mdm("T04", bad))["xsd"] is Layer.NOT_APPLICABLE
    checker = Checker(BOOK, layer)
    assert checker.check_document_now(bad, Action.SUBMIT).checks["xsd"] is Layer.FAILED
    assert checker.check_document_now(bad, Action.DELETE).checks["xsd"] is Layer.NOT_APPLICABLE
    assert "CDA-XSD" in [f.rule for f in checker.check_document_now(bad, Action.SUBMIT).findings]


def test_faults_are_counted_without_a_path_for_each(layer: XsdLayer) -> None:
    """libxml2 and we ourselves would count the siblings before each: a minute for the largest documents."""
    wrong = build.cda_n3().replace(b"<tbody>", b"<tbody>" + b'<tr zz="1"/>' * 3000, 1)
    faults = layer.faults(root_of(wrong))
    assert len(faults) >= 3000
    assert [bool(f.path) for f in faults[: SHOWN + 1]] == [True] * SHOWN + [False]


def test_a_list_too_long_to_be_judged_is_never_said_to_be_valid(layer: XsdLayer) -> None:
    wide = build.cda_n3().replace(b"<tbody>", b"<tbody>" + b"<tr><td/></tr>" * (MAX_SIBLINGS + 1), 1)
    findings = Findings(BOOK)
    layer.check(root_of(wide), findings, OBX)
    (finding,) = findings
    assert finding.rule == "CDA-XSD"
    assert "contrôle impossible" in finding.text
