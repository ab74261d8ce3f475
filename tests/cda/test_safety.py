"""The safety cases of spec/cda.md §5, one by one: what comes in instead of a CDA, and what hides inside one."""

from __future__ import annotations

import base64
import bz2
import lzma
import time
import zipfile
from io import BytesIO

import pytest

from fixtures.build import Patient, cda_n1, mdm, pdf
from gateway.cda.reader import CdaLimits, read
from tests.cda.support import BOOK, BOOKS, OBX, passed, rejecting, rules, swap

N1 = cda_n1()
DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>'
ACCENTS = cda_n1(patient=Patient(birth_family="LÉVÊQUE", used_family="LÉVÊQUE"))


def refused(content: bytes, limits: CdaLimits | None = None) -> list[str]:
    """The rules that refuse `content`; nothing of it may come out."""
    result = read(content, BOOK, OBX, limits)
    assert result.clinical_document is None
    assert all(f.err3 == "102" or f.rule in ("CDA-SIZE", "CDA-EMPTY") for f in result.findings if f.rejects)
    return rejecting(result.findings)


def recoded(encoding: str, declared: str, document: bytes = ACCENTS) -> bytes:
    return swap(document, 'encoding="UTF-8"', f'encoding="{declared}"').decode().encode(encoding)


def zipped() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("DOC0001.XML", N1)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "rule", "words"),
    [
        (pdf(), "CDA-NOT-XML", "PDF"),
        (b'{"resourceType": "Bundle"}', "CDA-NOT-XML", "JSON"),
        (b"[1]", "CDA-NOT-XML", "JSON"),
        (b"{\\rtf1 x}", "CDA-NOT-XML", "RTF"),
        (b"MSH|^~\\&|A", "CDA-NOT-XML", "HL7"),
        (b"\xff\xd8\xff\xe0", "CDA-NOT-XML", "image"),
        (N1.decode().encode("cp500"), "CDA-NOT-XML", "EBCDIC"),
        (zipped(), "CDA-COMPRESSED", "compressé"),
        (bz2.compress(N1), "CDA-COMPRESSED", "compressé"),
        (lzma.compress(N1), "CDA-COMPRESSED", "compressé"),
        (b"<html><body/></html>", "CDA-H01", "ClinicalDocument"),
        (b"<!DOCTYPE html><html></html>", "CDA-DOCTYPE", "DOCTYPE"),
        (b"<!DOCTYPE html><html><br></html>", "CDA-DOCTYPE", "DOCTYPE"),
        (base64.b64encode(N1), "CDA-B64-TWICE", "un encodage de trop"),
        (base64.b64encode(b"\xef\xbb\xbf" + N1), "CDA-B64-TWICE", "un encodage de trop"),
        (base64.b64encode(N1[len(DECLARATION) + 1 :]), "CDA-B64-TWICE", "un encodage de trop"),
        (base64.b64encode(b"\r\n" + N1), "CDA-B64-TWICE", "un encodage de trop"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",  # bytes of archives hold the time
)
def test_something_else_than_a_cda_is_named(content: bytes, rule: str, words: str) -> None:
    (finding,) = read(content, BOOK, OBX).findings
    assert finding.rule == rule
    assert words in finding.text


@pytest.mark.parametrize("preset", BOOKS)
def test_a_cda_encoded_twice_is_told_at_its_obx(preset: str) -> None:
    """Base64 of base64, as seen in practice."""
    raw = mdm("T02", N1).replace(base64.b64encode(N1), base64.b64encode(base64.b64encode(N1)))
    assert rejecting(passed(raw, preset)[1].findings) == ["CDA-B64-TWICE"]  # type: ignore[arg-type]


# --- DOCTYPE, entities, inclusion --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE ClinicalDocument>",
        "<!-- before --><!DOCTYPE ClinicalDocument [<!ELEMENT x ANY>]>",
        "<?pi before?>\n\n<!DOCTYPE ClinicalDocument SYSTEM 'http://192.0.2.1/x.dtd'>",
        "<!DOCTYPE ClinicalDocument PUBLIC '-//X//Y' 'file:///etc/hostname'>",
        "<!DOCTYPE ClinicalDocument [<!ENTITY % p SYSTEM 'file:///etc/hostname'> %p;]>",
        "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;'>]>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1"])
def test_a_doctype_is_refused_wherever_and_however_it_is_written(doctype: str, encoding: str) -> None:
    declared = "UTF-16" if "16" in encoding else encoding.upper()
    text = N1.decode().replace('encoding="UTF-8"?>', f'encoding="{declared}"?>{doctype}', 1)
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    assert "CDA-DOCTYPE" in refused(mark + text.encode(encoding, "xmlcharrefreplace"))


def test_an_entity_that_the_doctype_defines_and_the_text_uses_is_a_doctype() -> None:
    text = N1.replace(b"?>", b"?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/hostname'>]>", 1)
    assert refused(text.replace(b"CAMILLE", b"&a;", 1)) == ["CDA-DOCTYPE"]
    assert refused(text.replace(b"CAMILLE", b"&undefined;", 1)) == ["CDA-DOCTYPE"]
    assert refused(N1.replace(b"CAMILLE", b"&nbsp;", 1)) == ["CDA-XML"]


def test_the_word_doctype_in_a_text_or_a_comment_is_no_doctype() -> None:
    assert (
        read(N1.replace(b"<title>", b"<!-- <!DOCTYPE x> --><title>"), BOOK, OBX).clinical_document is not None
    )
    assert (
        read(N1.replace(b"<title>", b"<title><![CDATA[<!DOCTYPE x>]]>"), BOOK, OBX).clinical_document
        is not None
    )


def test_processing_instructions_and_schema_locations_are_ignored() -> None:
    text = N1.replace(b"?>", b"?><?xml-stylesheet href='http://192.0.2.1/x.xsl'?><?php system('id')?>", 1)
    text = text.replace(
        b"<ClinicalDocument ",
        b"<ClinicalDocument xsi:schemaLocation='urn:hl7-org:v3 http://192.0.2.1/a.xsd' ",
    )
    assert rules(read(text, BOOK, OBX).findings) == []


# --- encodings -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (recoded("utf-32", "UTF-32"), "CDA-ENCODING-UNKNOWN"),
        (recoded("utf-32-le", "UTF-32"), "CDA-ENCODING-UNKNOWN"),
        (recoded("utf-32-be", "UTF-32"), "CDA-ENCODING-UNKNOWN"),
        (ACCENTS[len(DECLARATION) :].lstrip().decode().encode("utf-32-be"), "CDA-ENCODING-UNKNOWN"),
        (recoded("utf-7", "UTF-7"), "CDA-ENCODING-UNKNOWN"),
        (recoded("utf-8", "UTF-7"), "CDA-ENCODING-UNKNOWN"),
        (recoded("cp1252", "windows-1252"), "CDA-ENCODING-UNKNOWN"),
        (recoded("utf-8", "EBCDIC-CP-FR"), "CDA-ENCODING-UNKNOWN"),
        (recoded("iso-8859-1", "UTF-8"), "CDA-UTF8"),
        (recoded("cp1252", "UTF-8"), "CDA-UTF8"),
        (recoded("utf-8", "ISO-8859-1"), "CDA-MOJIBAKE"),
        (recoded("utf-8", "ISO-8859-15"), "CDA-MOJIBAKE"),
        (recoded("cp1252", "ISO-8859-1", N1.replace(b"CAMILLE", "L’ÉTÉ".encode())), "CDA-C1"),
        (N1.replace(b"CAMILLE", b"CAM\0LLE"), "CDA-XML"),
        (N1.replace(b"CAMILLE", b"CAM\xed\xa0\x80LLE"), "CDA-UTF8"),
    ],
)
def test_an_encoding_that_would_alter_the_text_is_refused(content: bytes, rule: str) -> None:
    assert refused(content) == [rule]


def test_text_that_was_encoded_twice_inside_good_utf8_is_told_with_its_line() -> None:
    """« Ã© » for « é »: what was sent is kept, the editor is told."""
    double = ACCENTS.replace("LÉVÊQUE".encode(), "LÉVÊQUE".encode().decode("latin-1").encode())
    (finding,) = read(double, BOOK, OBX).findings
    assert (finding.rule, finding.rejects) == ("CDA-DOUBLE-ENCODED", False)
    assert finding.line == double[: double.index(b"\xc3\x83")].count(b"\n") + 1
    assert rules(read(ACCENTS, BOOK, OBX).findings) == []
    assert rules(read(N1.replace(b"CAMILLE", "Ã ÉTÉ".encode()), BOOK, OBX).findings) == []


def test_the_line_of_a_syntax_error_is_told_without_its_text() -> None:
    (finding,) = read(N1.replace(b"</title>", b""), BOOK, OBX).findings
    assert finding.rule == "CDA-XML"
    assert finding.line is not None
    assert "title" not in finding.text


# --- sizes ---------------------------------------------------------------------------------------------------


def test_a_million_siblings_are_refused_before_they_are_built() -> None:
    started = time.process_time()
    assert refused(N1.replace(b"<title>", b"<a/>" * 1_000_000 + b"<title>")) == ["CDA-ELEMENTS"]
    assert time.process_time() - started < 2, "a tree was built"


def test_a_hundred_thousand_attributes_or_namespaces_end_in_an_answer() -> None:
    for form in (' a{0}="x"', ' xmlns:n{0}="urn:{0}"'):
        many = "".join(form.format(i) for i in range(100_000)).encode()
        result = read(N1.replace(b"<ClinicalDocument ", b"<ClinicalDocument" + many + b" ", 1), BOOK, OBX)
        assert result.clinical_document is not None or rejecting(result.findings)


def test_depth_and_long_names_are_bounded() -> None:
    deep = b"<a>" * 300 + b"</a>" * 300
    assert refused(N1.replace(b"<title>", deep + b"<title>"))[0] in ("CDA-DEPTH", "CDA-XML")
    assert refused(N1.replace(b"<title>", b"<" + b"n" * 60_000 + b"/><title>")) == ["CDA-XML"]


# --- base64 of OBX-5 -----------------------------------------------------------------------------------------


def sent(text: bytes) -> list[tuple[str, bool]]:
    """What the document whose base64 is `text` gives: (rule, rejects)."""
    raw = mdm("T02", N1).replace(base64.b64encode(N1), text)
    return [(f.rule, f.rejects) for f in passed(raw)[1].findings]


def test_base64_is_repaired_when_only_padding_is_missing_and_refused_otherwise() -> None:
    document = N1 + b"\n" * (-(len(N1) + 1) % 3)
    text = base64.b64encode(document + b"\n")
    assert text.endswith(b"=") or len(document + b"\n") % 3 == 0
    padded = base64.b64encode(N1 + b" " * ((1 - len(N1)) % 3))
    assert padded.endswith(b"==")
    assert sent(padded[:-2]) == sent(padded[:-1]) == [("CDA-B64-PADDING", False)]
    assert sent(padded[:-3]) == [("CDA-B64", True)], "length mod 4 = 1"
    assert sent(padded[:100] + b"*" + padded[101:]) == [("CDA-B64", True)]
    assert sent(padded[:100] + b"=" + padded[101:]) == [("CDA-B64", True)]
