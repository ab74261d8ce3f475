"""IHE_XDM.ZIP and the PDF copy. Source: spec/mssante.md §1.5 to §1.8."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from connectors.mss import pdf_copy, xdm
from connectors.mss.plan import MailPlan, PdfCopy, from_json
from connectors.port import Preparation
from fixtures import build
from gateway.cda.document import CdaBody
from gateway.errors import GatewayBug
from gateway.hl7.transmission import Action
from tests.mss import samples
from tests.mss.samples import accepted, preparation, transmission
from tests.official import official
from tests.xds.schemas import valid

RIM = {"rim": "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"}


def planned(prepared: Preparation) -> MailPlan:
    verdict = asyncio.run(samples.connector().prepare(prepared))
    return from_json(accepted(verdict).deliveries[0].plan)


def opened(archive: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(archive))


def test_the_tree_is_the_official_one() -> None:
    """§1.5: order, directory entries, 8.3 names, deflate."""
    cda = build.cda_n1()
    archive = opened(xdm.build(planned(preparation(transmission(), cda)), [cda]))
    assert archive.namelist() == [
        "INDEX.HTM",
        "README.TXT",
        "IHE_XDM/",
        "IHE_XDM/SUBSET01/",
        "IHE_XDM/SUBSET01/DOC0001.XML",
        "IHE_XDM/SUBSET01/METADATA.XML",
    ]
    assert archive.testzip() is None
    for info in archive.infolist():
        folder = info.filename.endswith("/")
        assert info.is_dir() == folder
        assert info.compress_type == (zipfile.ZIP_STORED if folder else zipfile.ZIP_DEFLATED)
    assert archive.read("IHE_XDM/SUBSET01/DOC0001.XML") == cda


def test_same_plan_same_bytes() -> None:
    """A repetition of a mail is the same bytes: dates and marks come from the plan."""
    cda = build.cda_n1()
    plan = planned(preparation(transmission(), cda))
    assert xdm.build(plan, [cda]) == xdm.build(plan, [cda])
    moment = plan.created
    dates = {i.date_time for i in opened(xdm.build(plan, [cda])).infolist()}
    assert dates == {
        (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second // 2 * 2)
    }


def test_readme_is_ascii_with_crlf_and_index_is_well_formed() -> None:
    """§1.5: README 7-bit ASCII and CRLF; INDEX valid XHTML with links that exist."""
    cda = build.cda_n1()
    archive = opened(xdm.build(planned(preparation(transmission(), cda)), [cda]))
    readme = archive.read("README.TXT")
    assert readme.isascii()
    assert readme.count(b"\n") == readme.count(b"\r\n")
    assert b"Hopital fictif de l'Essai(1990000010)" in readme
    assert b"Version : 1.2.3" in readme
    index = archive.read("INDEX.HTM")
    root = etree.fromstring(index)
    links = [str(a.get("href")) for a in root.iter("{http://www.w3.org/1999/xhtml}a")]
    assert links == ["README.TXT", "IHE_XDM/SUBSET01/DOC0001.XML"]
    assert set(links) <= set(archive.namelist())


@pytest.mark.parametrize(
    ("action", "first", "slot"),
    [
        (Action.SUBMIT, False, None),
        (Action.REPLACE, False, "C"),
        (Action.REPLACE, True, None),
        (Action.DELETE, False, "D"),
    ],
)
def test_action_slot(action: Action, first: bool, slot: str | None) -> None:
    """§1.6, §1.7: `urn:action:extraMetadataSlot` C, D or absent."""
    root = build.DOCUMENT_ROOT
    cda = build.cda_n1(uid=f"{root}.1.2", version=2, replaces=f"{root}.1.1")
    plan = planned(preparation(transmission(action), cda))
    metadata = opened(xdm.build(plan, [cda], first=first)).read("IHE_XDM/SUBSET01/METADATA.XML")
    tree = etree.fromstring(metadata)
    found = tree.xpath("//rim:Slot[@name='urn:action:extraMetadataSlot']//rim:Value/text()", namespaces=RIM)
    assert found == ([slot] if slot else [])


def metadata_of(*contents: bytes) -> etree._Element:
    prepared = preparation(transmission(), *contents)
    archive = opened(xdm.build(planned(prepared), list(contents)))
    return etree.fromstring(archive.read("IHE_XDM/SUBSET01/METADATA.XML"))


def test_hash_size_and_uri_are_those_of_the_files() -> None:
    """§1.6: hash, size and URI of each document, two documents in one lot."""
    contents = (build.cda_n1(), build.cda_n3())
    tree = metadata_of(*contents)
    for name, values in (
        ("hash", [hashlib.sha1(c).hexdigest() for c in contents]),
        ("size", [str(len(c)) for c in contents]),
        ("URI", ["DOC0001.XML", "DOC0002.XML"]),
    ):
        assert tree.xpath(f"//rim:Slot[@name='{name}']//rim:Value/text()", namespaces=RIM) == values


@pytest.mark.official
def test_metadata_is_valid_against_lcm_xsd() -> None:
    """ebRIM 3.0: the official schema."""
    valid("lcm.xsd", metadata_of(build.cda_n1(), build.cda_n3()))


@pytest.mark.official
@pytest.mark.parametrize("name", ["DOC_NON_STRUCTURE_CDA-R2-N1", "IMG_CR_IMG_2024.01"])
def test_the_tree_is_that_of_the_official_archives(name: str) -> None:
    """§1.5, measured on the official archives."""
    theirs = zipfile.ZipFile(official("xdm", name, "IHE_XDM.ZIP"))
    cda = build.cda_n1()
    ours = opened(xdm.build(planned(preparation(transmission(), cda)), [cda]))
    assert sorted(ours.namelist()) == sorted(theirs.namelist())
    assert {i.filename: i.external_attr for i in ours.infolist()} == {
        i.filename: i.external_attr for i in theirs.infolist()
    }


def test_without_ins_the_establishments_identifier_names_the_patient() -> None:
    """§1.2 X-MSS-INS N: a document without INS may still go by mail."""
    cda = build.cda_n1(with_ins=False)
    plan = planned(preparation(transmission(), cda))
    assert not plan.ins_complete
    assert plan.submission.patient_id == plan.documents[0].entry.patient_id
    assert plan.submission.patient_id.startswith(build.PATIENT.ipp)


def test_other_bytes_than_planned_are_our_own_bug() -> None:
    cda = build.cda_n1()
    plan = planned(preparation(transmission(), cda))
    for contents in ([cda + b" "], [cda.replace(b"11502-2", b"11502-3")], []):
        with pytest.raises(GatewayBug):
            xdm.build(plan, contents)


def test_size_bound_is_an_upper_bound() -> None:
    """Incompressible documents too."""
    for payload in (build.pdf(), build.pdf(400_000)):
        cda = build.cda_n1(payload=payload)
        noise = cda.replace(b"</title>", b"</title><!--" + bytes(range(128, 256)) * 2000 + b"-->", 1)
        plan = planned(preparation(transmission(), cda))
        assert len(xdm.build(plan, [cda])) <= xdm.size_bound(plan, [len(cda)])
        entry = replace(plan.documents[0].entry, size=len(noise), sha1=hashlib.sha1(noise).hexdigest())
        other = replace(plan, documents=(replace(plan.documents[0], entry=entry),))
        assert len(xdm.build(other, [noise])) <= xdm.size_bound(other, [len(noise)])


# --- PDF copy -------------------------------------------------------------------------------------------------

CDA = """<?xml version="1.0" encoding="UTF-8"?>
<ClinicalDocument xmlns="urn:hl7-org:v3"><component><structuredBody>{}</structuredBody></component>
</ClinicalDocument>"""
SECTION = """<component><section>{}<entry><observationMedia classCode="OBS" moodCode="EVN">
<value mediaType="{}" representation="B64">{}</value></observationMedia></entry></section></component>"""
B64 = base64.encodebytes(build.pdf()).decode()


def n3(*sections: str) -> bytes:
    return CDA.format("".join(sections)).encode()


def test_the_copy_of_an_n3_comes_from_its_own_section_only() -> None:
    """§1.8: 55108-5 or its templateId; never 55107-7 nor 101792-0."""
    other = base64.b64encode(b"%PDF-other").decode()
    attached = SECTION.format('<code code="55107-7"/>', "application/pdf", other)
    second = SECTION.format('<code code="101792-0"/>', "application/pdf", other)
    image = SECTION.format('<code code="55108-5"/>', "image/png", other)
    by_code = SECTION.format('<code code="55108-5"/>', "application/pdf", B64)
    by_template = SECTION.format('<templateId root="1.2.250.1.213.1.1.2.243"/>', "application/pdf", B64)
    for copy in (by_code, by_template):
        assert pdf_copy.extract(n3(attached, second, image, copy), PdfCopy.SECTION) == build.pdf()
    with pytest.raises(pdf_copy.NoPdf):
        pdf_copy.extract(n3(attached, second, image), PdfCopy.SECTION)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (CdaBody("nonXML", "application/pdf", "B64"), PdfCopy.BODY),
        (CdaBody("nonXML", "text/plain"), PdfCopy.NONE),
        (CdaBody("structured", has_pdf_copy=True), PdfCopy.SECTION),
        (CdaBody("structured"), PdfCopy.NONE),
    ],
)
def test_where_the_copy_is(body: CdaBody, place: PdfCopy) -> None:
    assert pdf_copy.where(body) is place


@pytest.mark.parametrize(
    "content",
    [
        b"pas du XML",
        build.cda_n1(payload=b"ceci n'est pas un PDF"),
        build.cda_n1().replace(b"JVBERi", b"@@@@@@", 1),
        b'<!DOCTYPE ClinicalDocument [<!ENTITY x "y">]>' + build.cda_n1().partition(b"?>")[2],
        build.cda_n3(),
    ],
)
def test_an_unreadable_copy_is_told_without_its_content(content: bytes) -> None:
    with pytest.raises(pdf_copy.NoPdf) as fault:
        pdf_copy.extract(content, PdfCopy.BODY)
    assert fault.value.__cause__ is None
    assert "TEST-DURAND" not in str(fault.value)


def test_a_self_presenting_document_has_its_copy_too() -> None:
    inner = build.cda_n1().partition(b"?>")[2]
    wrapped = (
        b'<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform">' + inner + b"</xsl:stylesheet>"
    )
    assert pdf_copy.extract(wrapped, PdfCopy.BODY) == build.pdf()


def test_what_the_metadata_say_of_a_self_presenting_document_and_of_its_masks() -> None:
    """§1.6: `application/xslt+xml` (OUT mapping), text/xml otherwise; the CDA's confidentiality, then the OBX's."""
    cda = build.cda_n1(confidentiality="R")
    plain = samples.preparation(transmission(), cda)
    (made,) = plain.documents
    asked = transmission(flags=samples.flags(invisible_patient=True, invisible_rep_legaux=True))
    wrapped = replace(made, header=replace(made.header, self_presenting=True))
    for document, mime in ((made, "text/xml"), (wrapped, "application/xslt+xml")):
        plan = planned(Preparation(asked, (document,), plain.now))
        root = etree.fromstring(opened(xdm.build(plan, [cda])).read("IHE_XDM/SUBSET01/METADATA.XML"))
        assert root.xpath("//rim:ExtrinsicObject/@mimeType", namespaces=RIM) == [mime]
        codes = root.xpath(
            "//rim:Classification[@classificationScheme='urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f']"
            "/@nodeRepresentation",
            namespaces=RIM,
        )
        assert codes == ["R", "INVISIBLE_PATIENT", "INVISIBLE_REPRESENTANTS_LEGAUX"]


def test_a_copy_above_libxml2s_text_limit(tmp_path: Path) -> None:
    """A text node above 10 MB needs huge_tree (spec/cda.md §5)."""
    pdf = build.pdf(8_000_000)
    assert pdf_copy.extract(build.cda_n1(payload=pdf), PdfCopy.BODY) == pdf
