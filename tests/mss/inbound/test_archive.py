"""Archives with one thing wrong, and those that must be tolerated. Source: spec/mssante.md §1.5, §2.2."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import replace

import pytest

from connectors.mss.inbound.limits import InboundLimits
from fixtures import build
from gateway.hl7.transmission import Action
from tests.mss.inbound import samples
from tests.mss.inbound.samples import (
    N1,
    N1_V2,
    N3,
    SUBSET,
    archive,
    changed,
    entries,
    read,
    rejecting,
    zipped,
)

PAIR = {**entries(archive())}
DOC, META = SUBSET + "DOC0001.XML", SUBSET + "METADATA.XML"


def _flagged(content: bytes, flag: int) -> bytes:
    """The archive with a general purpose bit set on every entry of its directory and its local headers."""
    made = bytearray(content)
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = made.find(signature)
        while at >= 0:
            made[at + offset] |= flag
            at = made.find(signature, at + 4)
    return bytes(made)


def _linked() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name, content in PAIR.items():
            made.writestr(name, content)
        link = zipfile.ZipInfo(SUBSET + "DOC0002.XML")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        made.writestr(link, "../../../etc/passwd")
    return out.getvalue()


def _damaged() -> bytes:
    content = bytearray(zipped(PAIR, zipfile.ZIP_STORED))
    at = content.find(b"ClinicalDocument")
    content[at : at + 4] = b"XXXX"
    return bytes(content)


def _many_announced() -> bytes:
    """An end record that announces a directory of a hundred megabytes."""
    content = bytearray(zipped(PAIR))
    end = content.rfind(b"PK\x05\x06")
    content[end + 12 : end + 16] = struct.pack("<L", 100_000_000)
    return bytes(content)


HOSTILE = {
    "IN-ZIP": b"PK\x03\x04 pas une archive",
    "IN-ZIP empty": b"",
    "IN-ZIP cut": zipped(PAIR)[:-30],
    "IN-ZIP-ENTRIES": zipped({**PAIR, **{f"A/{n}.TXT": b"x" for n in range(200)}}),
    "IN-ZIP-ENTRIES announced": _many_announced(),
    "IN-ZIP-RATIO": zipped({**PAIR, "ZEROS.BIN": bytes(20_000_000)}),
    "IN-ZIP-NAME absolute": zipped({**PAIR, "/etc/passwd": b"x"}),
    "IN-ZIP-NAME drive": zipped({**PAIR, "C:\\WINDOWS\\X.DLL": b"x"}),
    "IN-ZIP-NAME climbs": zipped({**PAIR, "IHE_XDM/../../X.XML": b"x"}),
    "IN-ZIP-NAME climbs by backslash": zipped({**PAIR, "IHE_XDM\\..\\..\\X.XML": b"x"}),
    "IN-ZIP-NAME control": zipped({**PAIR, "A\x07B.TXT": b"x"}),
    "IN-ZIP-LINK": _linked(),
    "IN-ZIP-ENCRYPTED": _flagged(zipped(PAIR), 1),
    "IN-ZIP-METHOD": zipped(PAIR, zipfile.ZIP_BZIP2),
    "IN-ZIP-TWICE": zipped([*PAIR.items(), (DOC, N3)]),
    "IN-ZIP-TWICE by case": zipped({**PAIR, DOC.lower(): N3}),
    "IN-ZIP-TWICE by separator": zipped({**PAIR, DOC.replace("/", "\\"): N3}),
    "IN-ZIP-ENTRY": _damaged(),
    "IN-TREE-SEVERAL": zipped({**PAIR, **{"AUTRE/" + k: v for k, v in PAIR.items()}}),
    "IN-NO-METADATA": zipped({k: v for k, v in PAIR.items() if k != META}),
    "IN-METADATA-XML": zipped({**PAIR, META: b"<a>"}),
    "IN-METADATA-DOCTYPE": zipped(
        {**PAIR, META: PAIR[META].replace(b"?>", b'?><!DOCTYPE a [<!ENTITY b "c">]>', 1)}
    ),
    "IN-NO-DOCUMENT": changed(archive(), r"<rim:ExtrinsicObject.*</rim:ExtrinsicObject>", ""),
    "IN-URI": zipped({k: v for k, v in PAIR.items() if k != DOC}),
    "IN-URI no slot": changed(archive(), 'name="URI"', 'name="Autre"'),
    "IN-HASH": zipped({**PAIR, DOC: N1.replace(b"<title>", b"<title>X", 1)}),
    "IN-SIZE": changed(archive(), r'(name="size"><rim:ValueList><rim:Value>)\d+', r"\g<1>12"),
    "IN-FILE-FORGOTTEN": zipped({**PAIR, SUBSET + "DOC0002.XML": N3}),
    "IN-FILE-FORGOTTEN beside": zipped({**PAIR, "IHE_XDM/SUBSET02/DOC0001.XML": N3}),
    "IN-ACTION": changed(archive(Action.DELETE, N1_V2), "<rim:Value>D<", "<rim:Value>X<"),
    "IN-STATUS": changed(
        archive(), r"(<rim:ExtrinsicObject [^>]*)StatusType:Approved", r"\g<1>StatusType:Deprecated"
    ),
    "IN-URI-TWICE": changed(archive(Action.SUBMIT, N1, N3), "DOC0002.XML", "DOC0001.XML"),
    "CDA-DOCTYPE": samples.with_document(
        archive(), N1.replace(b"<ClinicalDocument", b"<!DOCTYPE a><ClinicalDocument", 1)
    ),
    "CDA-XML": samples.with_document(archive(), N1[:-30]),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_one_thing_is_wrong_and_it_is_named(case: str) -> None:
    """§2.2: each guard, by the rule that begins the name of the case."""
    assert case.split()[0] in rejecting(HOSTILE[case])


def test_total_size_is_bounded_before_anything_is_inflated() -> None:
    limits = replace(InboundLimits(), unzipped_bytes=10_000)
    assert rejecting(archive(), limits=limits) == ["IN-ZIP-SIZE"]


def test_a_lying_size_does_not_pass() -> None:
    """Announced as 10 bytes, inflating to 5 MB: never held."""
    content = bytearray(zipped({**PAIR, DOC: bytes(5_000_000)}))
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        name = content[at + 46 : at + 46 + int.from_bytes(content[at + 28 : at + 30], "little")]
        if name == DOC.encode():
            content[at + 24 : at + 28] = struct.pack("<L", 10)
        at = content.find(b"PK\x01\x02", at + 4)
    documents, rules = read(bytes(content))
    assert documents == () and "IN-ZIP-ENTRY" in rules


def test_one_file_named_many_times_is_not_inflated_many_times() -> None:
    """The budget is of the bytes read, not of the entries: the third reading of one file is beyond it."""
    content = changed(archive(Action.SUBMIT, N1, N3), "DOC0002.XML", "DOC0001.XML")
    files = {k: v for k, v in entries(content).items() if k in (DOC, META)}
    total = sum(map(len, files.values()))
    within, _ = read(zipped(files))
    assert len(within) == 2
    documents, rules = read(zipped(files), limits=replace(InboundLimits(), unzipped_bytes=total))
    assert len(documents) == 1 and "IN-ZIP-ENTRY" in rules and "IN-URI-TWICE" in rules


def test_metadata_are_bounded() -> None:
    limits = replace(InboundLimits(), metadata_bytes=1000)
    assert rejecting(archive(), limits=limits) == ["IN-METADATA-SIZE"]


def test_documents_are_bounded() -> None:
    limits = replace(InboundLimits(), documents=1)
    content = archive(Action.SUBMIT, N1, N3)
    assert "IN-DOCUMENTS" in rejecting(content, limits=limits)


def _renamed(change: object) -> bytes:
    return zipped({change(k): v for k, v in PAIR.items() if not k.endswith("/")})  # type: ignore[operator]


TOLERATED = {
    "IN-NO-README": zipped({k: v for k, v in PAIR.items() if k != "README.TXT"}),
    "IN-NO-INDEX": zipped({k: v for k, v in PAIR.items() if k != "INDEX.HTM"}),
    "IN-TREE-PREFIX": _renamed(lambda k: "EXPORT 12/" + k),
    "IN-TREE-NAMES case": _renamed(str.lower),
    "IN-TREE-NAMES separator": _renamed(lambda k: k.replace("/", "\\")),
    "IN-ZIP-NESTED": zipped({**PAIR, "IHE_XDM/AUTRE.ZIP": zipped(PAIR)}),
    "IN-METADATA-BLANKS": zipped({**PAIR, META: b"  \r\n" + PAIR[META]}),
    "IN-HASH-ABSENT": changed(archive(), 'name="hash"', 'name="empreinte"'),
    "IN-SIZE-ABSENT": changed(archive(), 'name="size"', 'name="taille"'),
    "IN-UID-ABSENT": changed(archive(), "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab", "urn:uuid:autre"),
    "IN-NO-MEMBER": changed(archive(), r"<rim:Association .*</rim:Association>", ""),
    "IN-METADATA-SET": changed(archive(), r"<rim:RegistryPackage.*</rim:RegistryPackage>", ""),
    "IN-OBJECT-REFS": changed(archive(), r'registryObject="[^"]*"', 'registryObject="urn:uuid:autre"', 9),
    "IN-IDENTIFIER-NAMES": changed(archive(), "XDSSubmissionSet.sourceId", "XDSSumissionSet.sourceId"),
    "IN-CONTENT-TYPE": changed(
        archive(),
        r"(aa543740-bdda-424e-8c96-df4873be8500.*?<rim:Value>)[^<]*",
        r"\g<1>1.2.250.1.71.4.2.4",
    ),
    "IN-ASSOCIATION": changed(
        archive(),
        "</rim:RegistryObjectList>",
        '<rim:Association associationType="urn:ihe:iti:2007:AssociationType:XFRM" sourceObject="a"'
        ' targetObject="b"/></rim:RegistryObjectList>',
    ),
}


@pytest.mark.parametrize("case", TOLERATED)
def test_slips_are_tolerated_and_named(case: str) -> None:
    """§1.5, §1.6: the document comes through, the slip is a warning of its own rule."""
    documents, rules = read(TOLERATED[case])
    assert [d.document.content for d in documents] == [N1]
    assert rules == [case.split()[0]]


def test_what_is_no_cda_is_ignored() -> None:
    """§2.2: an object that is no XML (a PDF in the archive) is left aside and named."""
    content = archive(Action.SUBMIT, N1, N3)
    metadata = entries(content)[META].decode()
    at = metadata.rindex('mimeType="text/xml"')
    metadata = (
        metadata[:at]
        + 'mimeType="application/pdf"'
        + metadata[at + 19 :].replace("DOC0002.XML", "DOC0002.PDF")
    )
    files = {**entries(content), META: metadata.encode()}
    files[SUBSET + "DOC0002.PDF"] = files.pop(SUBSET + "DOC0002.XML")
    documents, rules = read(zipped(files))
    assert [d.document.content for d in documents] == [N1] and rules == ["IN-NOT-CDA"]


def test_a_style_sheet_beside_the_documents_is_nothing() -> None:
    """§1.5: FSTYLE.XSL was shipped once; folders of other systems too."""
    files = {
        **PAIR,
        SUBSET + "FSTYLE.XSL": b"<x/>",
        "__MACOSX/IHE_XDM/SUBSET01/METADATA.XML": b"x",
        "Thumbs.db": b"y",
    }
    documents, rules = read(zipped(files))
    assert len(documents) == 1 and rules == []


def test_several_subsets_are_all_read() -> None:
    """§1.5: one SUBSETnn per submission set."""
    second = {
        k.replace("SUBSET01", "SUBSET02"): v
        for k, v in entries(archive(Action.SUBMIT, N3)).items()
        if SUBSET in k
    }
    documents, rules = read(zipped({**PAIR, **second}))
    assert [d.document.content for d in documents] == [N1, N3] and rules == []


def test_nothing_of_the_patient_shows() -> None:
    """No repr of what was read names the patient or the document."""
    received = samples.receive(samples.mail())
    shown = repr(received)
    for secret in (build.PATIENT.ins, build.PATIENT.birth_family, build.PATIENT.birth_given, "Cher confr"):
        assert secret not in shown
