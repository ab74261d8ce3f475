"""Safe reading (spec/cda.md §5): nothing outside is opened, bounds hold, text is what its author wrote."""

from __future__ import annotations

import gzip
import http.server
import threading
from pathlib import Path

import pytest

from fixtures.build import Patient, cda_n1
from gateway.cda.reader import CdaLimits, read
from gateway.errors import Severity
from tests.cda.support import BOOK, BOOKS, OBX, header_of, rejecting, rules, swap

N1 = cda_n1()
PROLOGUE = '<?xml version="1.0" encoding="UTF-8"?>\n'


def refusal(content: bytes, limits: CdaLimits | None = None) -> list[str]:
    result = read(content, BOOK, OBX, limits)
    assert result.clinical_document is None
    assert all(f.place == OBX for f in result.findings)
    return rejecting(result.findings)


def test_a_conform_document_is_read_without_a_finding() -> None:
    result = read(N1, BOOK, OBX)
    assert result.clinical_document is not None
    assert not result.findings
    assert not result.self_presenting
    assert not result.has_stylesheet_pi


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "CDA-EMPTY"),
        (b"Document medical au format CDA niveau 1", "CDA-NOT-XML"),
        (b"%PDF-1.4\n", "CDA-NOT-XML"),
        (b"PK\x03\x04zip", "CDA-COMPRESSED"),
        (gzip.compress(N1), "CDA-COMPRESSED"),
        (N1[:-20], "CDA-XML"),
        (N1 + b"<more/>", "CDA-XML"),
        (b" " + N1, "CDA-XML"),
        (swap(N1, "TEST-DURAND", "TEST\x01DURAND"), "CDA-XML"),
        (N1.replace(b"CAMILLE", b"CAMILLE\xe9"), "CDA-UTF8"),
        (N1.replace(b"CAMILLE", b"CAM\xc0\xafLLE"), "CDA-UTF8"),
        (b"<Document xmlns='urn:hl7-org:v3'/>", "CDA-H01"),
        (b"<ClinicalDocument/>", "CDA-H01"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_a_cda_is_refused(content: bytes, rule: str) -> None:
    assert refusal(content) == [rule]


def test_refusals_are_wire_errors_and_quote_nothing() -> None:
    """ERR-3 is 101 or 102 for a payload that cannot be read, and the parser's own words never come out."""
    result = read(N1.replace(b"CAMILLE", b"CAMILLE</nope>"), BOOK, OBX)
    (finding,) = result.findings
    assert finding.err3 == "102"
    assert "nope" not in finding.text
    assert "CAMILLE" not in finding.text


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE ClinicalDocument>",
        '<!DOCTYPE ClinicalDocument [<!ENTITY x "abc">]>',
        '<!DOCTYPE ClinicalDocument SYSTEM "file:///nowhere/cda.dtd">',
        '<!DOCTYPE ClinicalDocument [<!ENTITY % p SYSTEM "file:///nowhere/p.dtd"> %p;]>',
    ],
)
def test_any_doctype_is_refused(doctype: str) -> None:
    assert refusal(swap(N1, PROLOGUE, PROLOGUE + doctype)) == ["CDA-DOCTYPE"]


def test_an_external_entity_is_neither_opened_nor_expanded(tmp_path: Path) -> None:
    """XXE with a real file and a real HTTP server: the document is refused and the server hears nothing."""
    asked: list[str] = []

    class Ear(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            return

    secret = tmp_path / "secret"
    secret.write_text("<leak/>")
    with http.server.HTTPServer(("127.0.0.1", 0), Ear) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_port}"
            for system in (secret.as_uri(), f"{base}/entity"):
                doctype = f'<!DOCTYPE ClinicalDocument SYSTEM "{base}/dtd" [<!ENTITY x SYSTEM "{system}">]>'
                attack = swap(swap(N1, PROLOGUE, PROLOGUE + doctype), "CAMILLE", "&x;")
                assert set(refusal(attack)) <= {"CDA-DOCTYPE", "CDA-XML"}
        finally:
            server.shutdown()
            thread.join()
    assert asked == []


def test_exponential_entities_are_refused() -> None:
    entities = '<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    bomb = swap(N1, PROLOGUE, f"{PROLOGUE}<!DOCTYPE ClinicalDocument [{entities}]>")
    assert set(refusal(swap(bomb, "CAMILLE", "&i;"))) <= {"CDA-DOCTYPE", "CDA-XML"}


def test_size_is_bounded_before_parsing() -> None:
    assert refusal(N1, CdaLimits(max_bytes=len(N1) - 1)) == ["CDA-SIZE"]
    assert read(N1, BOOK, OBX, CdaLimits(max_bytes=len(N1))).clinical_document is not None


def test_elements_are_bounded() -> None:
    """The exact count after parsing, and a cheap refusal before parsing for a flood of elements."""
    assert refusal(N1, CdaLimits(max_elements=50)) == ["CDA-ELEMENTS"]
    flood = swap(N1, "</title>", "</title>" + "<a/>" * 5_000)
    assert refusal(flood, CdaLimits(max_elements=1_000)) == ["CDA-ELEMENTS"]


def nested(levels: int) -> bytes:
    inside = "<a>" * (levels - 1) + "</a>" * (levels - 1)
    return f"<ClinicalDocument xmlns='urn:hl7-org:v3'>{inside}</ClinicalDocument>".encode()


def test_depth_is_bounded_at_200_levels() -> None:
    assert read(nested(200), BOOK, OBX).clinical_document is not None
    assert refusal(nested(201)) == ["CDA-DEPTH"]


def test_depth_is_bounded_for_a_huge_document_too() -> None:
    """Above 9 MB libxml2's own limit of 256 levels is lifted: ours remains."""
    huge = nested(300).replace(b"</ClinicalDocument>", b"<b>" + b"x" * 9_100_000 + b"</b></ClinicalDocument>")
    assert refusal(huge) == ["CDA-DEPTH"]


def test_a_text_of_more_than_ten_million_characters_is_read() -> None:
    """A PDF of about 7.5 MB gives a text node over libxml2's default limit."""
    result = read(cda_n1(payload=bytes(7_600_000)), BOOK, OBX)
    assert result.clinical_document is not None


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "ISO-8859-15", "UTF-16"])
def test_tolerated_encodings_are_read_with_a_warning(encoding: str) -> None:
    """H00: UTF-8 is wanted, Latin and UTF-16 are tolerated; accents survive."""
    document = cda_n1(patient=Patient(birth_given="ZOÉ")).decode().replace('"UTF-8"', f'"{encoding}"')
    result = read(document.encode(encoding), BOOK, OBX)
    assert rules(result.findings) == ["CDA-H00"]
    patient = header_of(document.encode(encoding)).patient
    assert patient is not None
    assert patient.birth_given == "ZOÉ"


@pytest.mark.parametrize("encoding", ["UTF-7", "windows-1252", "EBCDIC-CP-FR", "x-unknown"])
def test_other_encodings_are_refused(encoding: str) -> None:
    assert refusal(swap(N1, '"UTF-8"', f'"{encoding}"')) == ["CDA-ENCODING-UNKNOWN"]


def test_an_encoding_that_only_the_parser_sees_is_checked_too() -> None:
    """A declaration padded with blanks is valid XML: what the parser used is checked after parsing."""
    hidden = swap(N1, 'version="1.0" ', 'version="1.0"' + " " * 300)
    assert read(hidden, BOOK, OBX).clinical_document is not None
    assert refusal(swap(hidden, '"UTF-8"', '"windows-1252"')) == ["CDA-ENCODING-UNKNOWN"]
    accented = cda_n1(patient=Patient(birth_given="ZOÉ"))
    accented = swap(
        accented, 'version="1.0" encoding="UTF-8"', f'version="1.0"{" " * 300}encoding="ISO-8859-1"'
    )
    assert refusal(accented) == ["CDA-MOJIBAKE"]


def test_utf8_declared_latin1_is_refused_as_mojibake() -> None:
    document = cda_n1(patient=Patient(birth_given="ZOÉ"))
    assert refusal(swap(document, '"UTF-8"', '"ISO-8859-1"')) == ["CDA-MOJIBAKE"]


def test_windows_1252_declared_latin1_is_refused_in_production_and_told_in_interop() -> None:
    document = (
        cda_n1(patient=Patient(birth_family="D’ESSAI"))
        .decode()
        .replace('"UTF-8"', '"ISO-8859-1"')
        .encode("windows-1252")
    )
    assert refusal(document) == ["CDA-C1"]
    result = read(document, BOOKS["interop"], OBX)
    assert result.clinical_document is not None
    assert {f.rule: f.severity for f in result.findings}["CDA-C1"] is Severity.WARN


def test_a_utf8_byte_order_mark_is_fine() -> None:
    assert not read(b"\xef\xbb\xbf" + N1, BOOK, OBX).findings


def test_a_separate_style_sheet_is_noticed_and_not_run() -> None:
    """dmp.md §0.5: the DMP refuses a CDA with a separate style sheet; the fact is kept for the connector."""
    pi = '<?xml-stylesheet type="text/xsl" href="http://127.0.0.1:1/x.xsl"?>'
    result = read(swap(N1, PROLOGUE, PROLOGUE + pi), BOOK, OBX)
    assert result.has_stylesheet_pi
    assert not result.findings


def inside(wrapper: str) -> bytes:
    return wrapper.format(N1.decode().removeprefix(PROLOGUE)).encode()


STYLE = (
    '<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform" version="2.0">'
    '<d xmlns="x:y">{0}</d></xsl:stylesheet>'
)
SIGNATURE = (
    '<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:Object>{0}</ds:Object></ds:Signature>'
)


def test_self_presenting_and_signed_documents_are_unwrapped() -> None:
    """H01: xsl:stylesheet or ds:Signature with exactly one ClinicalDocument below."""
    style, signature = read(inside(STYLE), BOOK, OBX), read(inside(SIGNATURE), BOOK, OBX)
    assert style.clinical_document is not None
    assert style.self_presenting
    assert signature.clinical_document is not None
    assert not signature.self_presenting
    assert header_of(inside(STYLE)).id == header_of(N1).id


@pytest.mark.parametrize("content", ["", "{0}{0}"])
def test_a_wrapper_with_no_or_two_documents_is_refused(content: str) -> None:
    assert refusal(inside(STYLE.replace("{0}", content))) == ["CDA-H01"]


def test_xinclude_is_not_resolved(tmp_path: Path) -> None:
    other = tmp_path / "other.xml"
    other.write_text("<title>inclus</title>")
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{other.as_uri()}"/>'
    result = read(swap(N1, "<title>", f"{include}<title>"), BOOK, OBX)
    assert result.clinical_document is not None
    assert "inclus" not in [str(text) for text in result.clinical_document.itertext()]
