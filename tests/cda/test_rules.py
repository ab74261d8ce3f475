"""Rules H02–H29, I00–I02 and B00–B13 (spec/cda.md §4, decision 0013): each is broken once, alone, and told once."""

from __future__ import annotations

import base64
import re
import zipfile
from pathlib import Path

import pytest

import gateway.cda
from fixtures.build import AUTHOR, DOCUMENT_ROOT, FINESS, PATIENT, Patient, cda_n1, cda_n3, pdf
from fixtures.people import ins_key
from gateway.cda.values import valid_ins, valid_time
from gateway.hl7.transmission import Action
from gateway.rules import read_rules
from tests.cda.support import BOOKS, OBX, checked, cut, rejecting, rules, swap
from tests.official import official

N1 = cda_n1()
N3 = cda_n3()
BASE64 = base64.b64encode(pdf()).decode()
PADDED = pdf() + b" " * ((1 - len(pdf())) % 3)
"""A PDF whose base64 ends with two `=`."""
OTHER_INS = "1850275123987" + ins_key("1850275123987")


def with_other(element: str) -> bytes:
    """N1 with one more element of the header (before documentationOf, or inFulfillmentOf's place)."""
    return swap(N1, "<documentationOf>", element + "<documentationOf>")


def with_image(media_type: str, data: str) -> bytes:
    """N3 with an image in an entry."""
    return swap(
        N3,
        "</text></section>",
        f'</text><entry><observationMedia classCode="OBS" moodCode="EVN" ID="i"><value mediaType="{media_type}"'
        f' representation="B64">{data}</value></observationMedia></entry></section>',
    )


UID = f'<id root="{DOCUMENT_ROOT}.1.1"/>'
SET = f'<setId root="{DOCUMENT_ROOT}.1"/>'
ORGANISATION = f'<id root="1.2.250.1.71.4.2.2" extension="{FINESS}"/>'
BROKEN = {
    "CDA-H02": swap(N1, '<realmCode code="FR"/>', '<realmCode code="US"/>'),
    "CDA-H03": swap(N1, "POCD_HD000040", "POCD_HD000041"),
    "CDA-H04": swap(N1, "2.16.840.1.113883.2.8.2.1", "1.2.3"),
    "CDA-H05": swap(N1, '<templateId root="1.2.250.1.213.1.1.1.1"/>', '<templateId root="1.2.3"/>'),
    "CDA-H07": swap(N1, "1.3.6.1.4.1.19376.1.2.20", "1.3.6.1.4.1.19376.1.2.21"),
    "CDA-H07-COUNT": swap(N1, UID, '<templateId root="1.2.3"/>' + UID),
    "CDA-H08": swap(N1, UID, UID + '<id root="1.2.3"/>'),
    "CDA-H08-FORM": swap(N1, UID, '<id root="1.02.3"/>'),
    "CDA-H08-EXTENSION-DMP": cda_n1(uid="1.2.3^4"),
    "CDA-H09": swap(N1, """ displayName="CR d'examens biologiques" """.rstrip(), "", 1),
    "CDA-H09-SYSTEM": cda_n1(type_system="1.2.3"),
    "CDA-H09-J07": cda_n1(type_code="99999-9"),
    "CDA-H09-J66": cda_n1(type_code="29274-8"),
    "CDA-H10": cda_n1(title=" "),
    "CDA-H11": swap(N1, '<effectiveTime value="20260110093000+0100"/>', '<effectiveTime value="20260231"/>'),
    "CDA-H12": cda_n1(confidentiality="L"),
    "CDA-H12-LABEL": swap(N1, ' displayName="Normal"', ""),
    "CDA-H13": swap(N1, "fr-FR", "fr"),
    "CDA-H14": cda_n1(set_id=None),
    "CDA-H14-FORM": swap(N1, SET, f'<setId root="{DOCUMENT_ROOT}.1" extension=""/>'),
    "CDA-H15": cda_n1(version=None),
    "CDA-H15-POSITIVE": cda_n1(version=0),
    "CDA-H16-IDS": swap(N1, f' extension="{PATIENT.ipp}"', ""),
    "CDA-H17": swap(N1, "</name><administrativeGender", "</name><name/><administrativeGender"),
    "CDA-H17-QUALIFIER": swap(N1, '<family qualifier="CL">', "<family>"),
    "CDA-H17-SP": swap(N1, '<family qualifier="CL">', '<family qualifier="SP">'),
    "CDA-H18": swap(N1, '<birthTime value="19841203"/>', '<birthTime value="19841303"/>'),
    "CDA-H18-VALUE": cda_n1(patient=Patient(sex="X")),
    "CDA-H19": swap(N1, "<birthplace>", '<raceCode code="x"/><birthplace>'),
    "CDA-H20": cda_n1(authors=()),
    "CDA-H20-AUTHOR": cut(N1, f'<id root="1.2.250.1.71.4.2.1" extension="{AUTHOR.id}"/>', ">"),
    "CDA-H20-NAME": swap(N1, f"<family>{AUTHOR.family}</family>", "", 1),
    "CDA-H20-DEVICE": swap(
        cut(N1, "<assignedPerson>", "</assignedPerson>"),
        "<representedOrganization>",
        "<assignedAuthoringDevice><softwareName>x</softwareName></assignedAuthoringDevice><representedOrganization>",
        1,
    ),
    "CDA-H20-NO-CODE": cut(N1, f'<code code="{AUTHOR.code}"', "/>"),
    "CDA-H20-J01": swap(N1, f'code="{AUTHOR.code}"', 'code="G15_10/SM99"'),
    "CDA-H20-CODE": swap(N1, ' codeSystem="1.2.250.1.213.1.1.4.5"', ""),
    "CDA-H20-ORGANISATION": swap(
        N1, f"<representedOrganization>{ORGANISATION}", "<representedOrganization>", 1
    ),
    "CDA-H21": swap(N1, f"CustodianOrganization>{ORGANISATION}", "CustodianOrganization>"),
    "CDA-H22": cut(N1, "<legalAuthenticator>", "</legalAuthenticator>"),
    "CDA-H22-CONTENT": swap(N1, '<signatureCode code="S"/>', ""),
    "CDA-H23": cut(N1, "<performer ", "</performer>"),
    "CDA-H23-LOW": swap(
        N1, '<effectiveTime><low value="20260109080000+0100"/>', '<effectiveTime><low value="x"/>', 1
    ),
    "CDA-H23-PRACTICE": cut(N1, "<standardIndustryClassCode", "/>"),
    "CDA-H23-J04": swap(N1, 'code="ETABLISSEMENT"', 'code="AILLEURS"'),
    "CDA-H24": swap(cda_n1(replaces="1.2.3"), '<id root="1.2.3"/>', ""),
    "CDA-H24-TYPE": swap(cda_n1(replaces="1.2.3"), '"RPLC"', '"APND"'),
    "CDA-H25": cut(N1, "<componentOf>", "</componentOf>"),
    "CDA-H25-TIME": swap(
        N1,
        '<encompassingEncounter><effectiveTime><low value="20260109080000+0100"/></effectiveTime>',
        "<encompassingEncounter>",
    ),
    "CDA-H25-FACILITY": swap(N1, ' displayName="Etablissement public de santé"', ""),
    "CDA-H25-J02": swap(N1, 'code="SA01"', 'code="SA99"'),
    "CDA-H25-J142": swap(N1, "<encompassingEncounter>", '<encompassingEncounter><code code="XYZ"/>'),
    "CDA-H26": cut(N1, "<nonXMLBody>", "</nonXMLBody>"),
    "CDA-H27": swap(N1, '<telecom nullFlavor="UNK"/>', '<telecom value="0102030405"/>'),
    "CDA-H27-ADDRESS": swap(N1, "<addr><houseNumber>", '<addr use="BAD"><houseNumber>'),
    "CDA-H28-INFORMANT": swap(N1, "<documentationOf>", "<informant/><documentationOf>"),
    "CDA-H28-PARTICIPANT": with_other(
        '<participant typeCode="INF"><associatedEntity classCode="PROV"/></participant>'
    ),
    "CDA-H28-J144": with_other(
        '<participant typeCode="XYZ"><time nullFlavor="UNK"/><associatedEntity classCode="PROV"/></participant>'
    ),
    "CDA-H28-AUTHENTICATOR": with_other(
        '<authenticator><time value="20260101"/><signatureCode code="S"/><assignedEntity><id root="1.2"/>'
        "</assignedEntity></authenticator>"
    ),
    "CDA-H28-CONSENT": with_other(
        '<authorization><consent><statusCode code="active"/></consent></authorization>'
    ),
    "CDA-H28-ORDER": with_other("<inFulfillmentOf><order/></inFulfillmentOf>"),
    "CDA-H29": swap(N1, '<telecom nullFlavor="UNK"/>', '<telecom nullFlavor="UNK"/><addr nullFlavor="NA"/>'),
    "CDA-I00-DMP": cda_n1(with_ins=False),
    "CDA-I01-KEY": cda_n1(patient=Patient(ins="184127512398700")),
    "CDA-I01-SEVERAL": swap(
        N1, "<patientRole>", f'<patientRole><id root="1.2.250.1.213.1.4.8" extension="{OTHER_INS}"/>'
    ),
    "CDA-I02": cda_n1(with_birthplace=False),
    "CDA-B00": cda_n1(payload=b""),
    "CDA-B01": swap(N1, "<nonXMLBody>", "<nonXMLBody><text/>"),
    "CDA-B01-B64": swap(N1, 'representation="B64"', 'representation="TXT"'),
    "CDA-B01-MEDIA": cda_n1(media_type="application/msword"),
    "CDA-B01-OLD": cda_n1(media_type="image/jpeg", payload=b"\xff\xd8\xff\xe0" + b"x" * 100),
    "CDA-B02": swap(N3, "<title>Biochimie</title>", ""),
    "CDA-B03": swap(N1, BASE64[:40], BASE64[:39] + "*"),
    "CDA-B03-PADDING": swap(cda_n1(payload=PADDED), "==</text>", "</text>"),
    "CDA-B04": cda_n1(payload=b"GIF89a" + b"x" * 3000),
    "CDA-B04-EMPTY": cda_n1(payload=b"%PDF-1.4\n%%EOF\n"),
    "CDA-B05": cda_n1(payload=pdf(20_000)[:15_000]),
    "CDA-B06": cda_n1(payload=pdf().replace(b"/Root 1 0 R", b"/Root 1 0 R /Encrypt 9 0 R")),
    "CDA-B07": cda_n1(media_type="text/plain", payload=b"PK\x03\x04" + bytes(100)),
    "CDA-B09": cda_n1(payload=base64.b64encode(pdf())),
    "CDA-B10": cda_n3(pdf_copy=b"not a PDF"),
    "CDA-B10-EMPTY": cut(
        swap(cda_n3(pdf_copy=pdf()), '<renderMultiMedia referencedObject="copie"/>', "voir"),
        "<entry>",
        "</entry>",
    ),
    "CDA-B11": with_image("image/png", "iVBORw0KGgo*"),
    "CDA-B11-TYPE": with_image("image/jpeg", "iVBORw0KGgoAAAAN"),
    "CDA-B12": swap(N3, "<tbody>", '<caption><renderMultiMedia referencedObject="absent"/></caption><tbody>'),
    "CDA-B13": swap(N1, "<nonXMLBody>", '<nonXMLBody><languageCode code="fr"/>'),
}
TOLERATED = frozenset(
    [
        "CDA-H14-FORM",
        "CDA-H17-SP",
        "CDA-H20-ORGANISATION",
        "CDA-H24-TYPE",
        "CDA-H20-NO-CODE",
        "CDA-H20-J01",
        "CDA-H25-J142",
        "CDA-H28-J144",
        "CDA-H29",
        "CDA-I01-KEY",
        "CDA-B01-OLD",
        "CDA-B02",
        "CDA-B03-PADDING",
        "CDA-B05",
        "CDA-B06",
        "CDA-B10-EMPTY",
        "CDA-B11-TYPE",
        "CDA-B12",
        "CDA-B13",
    ]
)
"""Warnings in both presets: official examples or older editions have them (spec/cda.md §4, §6)."""
ALWAYS = frozenset(
    [
        "CDA-H08",
        "CDA-H08-EXTENSION-DMP",
        "CDA-H26",
        "CDA-I00-DMP",
        "CDA-B00",
        "CDA-B01",
        "CDA-B03",
        "CDA-B04",
        "CDA-B07",
        "CDA-B09",
    ]
)
"""Rejected in both presets: nobody could read it, or it would not go under a safe identity."""


def test_conform_documents_have_no_finding() -> None:
    assert rules(checked(N1)) == []
    assert rules(checked(N3)) == []
    assert rules(checked(cda_n3(pdf_copy=pdf()))) == []
    assert rules(checked(cda_n1(version=2, replaces="1.2.3"))) == []


@pytest.mark.parametrize("rule", BROKEN)
def test_one_fault_is_one_finding_in_production(rule: str) -> None:
    (finding,) = checked(BROKEN[rule])
    assert finding.rule == rule
    assert finding.place == OBX
    assert finding.rejects is (rule not in TOLERATED)


@pytest.mark.parametrize("rule", BROKEN)
def test_interop_tolerates_form_and_keeps_safety(rule: str) -> None:
    (finding,) = checked(BROKEN[rule], "interop")
    assert finding.rejects is (rule in ALWAYS)


def test_a_pdf_copy_is_looked_at_whether_it_says_base64_or_not() -> None:
    """B10: an attribute left out must not hide a copy that nobody can open."""
    for payload, told in ((b"not a PDF", True), (pdf(), False)):
        document = cda_n3(pdf_copy=payload).replace(b' representation="B64">', b">")
        assert ("CDA-B10" in rules(checked(document))) is told


def test_h06_a_model_is_named() -> None:
    """Breaking H06 on an N1 breaks H07 too (XDS-SD is the third template); on an N3 it stands alone."""
    document = swap(N3, '<templateId root="1.3.6.1.4.1.19376.1.3.3"/>', "")
    document = swap(document, '<templateId root="1.2.250.1.213.1.1.1.55" extension="2024.01"/>', "")
    assert rules(checked(document)) == ["CDA-H06"]


@pytest.mark.parametrize(
    "document",
    [
        cut(N1, "<recordTarget>", "</recordTarget>"),
        swap(
            N1, "<author>", N1[N1.index(b"<recordTarget>") : N1.index(b"<author>")].decode() + "<author>", 1
        ),
        cut(N1, "<patient ", "</patient>"),
    ],
    ids=["none", "two", "no patient"],
)
def test_h16_one_patient_and_one_only_whatever_the_preset_and_the_action(document: bytes) -> None:
    for action in Action:
        assert "CDA-H16" in rejecting(checked(document, "interop", action=action))


def test_all_faults_are_told_together() -> None:
    document = swap(cda_n1(set_id=None, title="", with_birthplace=False), "fr-FR", "fr")
    assert rules(checked(document)) == ["CDA-H10", "CDA-H13", "CDA-H14", "CDA-I02"]


def test_ins_is_compulsory_for_the_dmp_only() -> None:
    """cda.md §6: INS absence is refused (903) only when the DMP is a target."""
    document = cda_n1(with_ins=False)
    (refused,) = checked(document, dmp=True)
    assert (refused.rejects, refused.err3, refused.err5) == (True, "207", "903")
    (told,) = checked(document, dmp=False)
    assert (told.rule, told.rejects, told.err5) == ("CDA-I00", False, "903")


def test_an_id_with_an_extension_is_refused_for_the_dmp_only() -> None:
    for document in (cda_n1(uid="1.2.3^4"), cda_n1(replaces="1.2.3^4")):
        assert rejecting(checked(document, dmp=True)) == ["CDA-H08-EXTENSION-DMP"]
        assert rejecting(checked(document, dmp=False)) == []
        assert rules(checked(document, dmp=False)) == ["CDA-H08-EXTENSION"]


def test_a_body_of_blanks_is_empty() -> None:
    """EX_GEN-1060: an empty document must not be sent."""
    start = N1.index(b'representation="B64">') + len(b'representation="B64">')
    blank = N1[:start] + b"\n   " * 20 + N1[N1.index(b"</text>", start) :]
    assert rejecting(checked(blank, "interop")) == ["CDA-B00"]


def test_i02_names_the_missing_traits_and_no_value() -> None:
    document = swap(cda_n1(with_birthplace=False), '<given qualifier="BR">CAMILLE</given>', "")
    (finding,) = checked(document)
    assert finding.err5 == "905"
    assert "lieu de naissance" in finding.text
    assert "prénom" in finding.text
    assert "CAMILLE" not in finding.text


def test_no_sentence_quotes_the_patient() -> None:
    secrets = (PATIENT.birth_family, PATIENT.birth_given, PATIENT.ins, PATIENT.birth_date, PATIENT.ipp)
    for document in BROKEN.values():
        for finding in checked(document):
            assert not any(secret in finding.text for secret in secrets), finding.rule


def test_a_uuid_is_a_document_id() -> None:
    assert rules(checked(cda_n1(uid="90E1C8EC-F951-4B26-A305-A34848818DD6"))) == []


def test_a_deletion_is_checked_for_identity_only() -> None:
    """A published document must remain deletable even if it breaks a formal rule."""
    formal = cda_n1(set_id=None, title="", confidentiality="L", authors=())
    assert rules(checked(formal, action=Action.DELETE)) == []
    assert rejecting(checked(BROKEN["CDA-H08"], action=Action.DELETE)) == ["CDA-H08"]
    assert rejecting(checked(BROKEN["CDA-I00-DMP"], action=Action.DELETE)) == ["CDA-I00-DMP"]


def test_a_patients_own_document_needs_no_organisation() -> None:
    """The author is the patient, known by the INS (1.2.250.1.213.1.4.x)."""
    mine = swap(N1, f'<assignedAuthor><id root="1.2.250.1.71.4.2.1" extension="{AUTHOR.id}"/>',
                f'<assignedAuthor><id root="{PATIENT.ins_oid}" extension="{PATIENT.ins}"/>')  # fmt: skip
    start = mine.index(b"<representedOrganization>")
    mine = mine[:start] + cut(mine[start:], "<representedOrganization>", "</representedOrganization>")
    assert rules(checked(mine)) == []


@pytest.mark.parametrize(
    ("value", "valid"),
    [
        ("2026", True), ("202601", True), ("20260110", True), ("2026011009", True), ("20260110093000+0100", True),
        ("20260110093000.827+0100", True), ("20240229", True), ("20260110235960", True),
        ("", False), ("20260229", False), ("20261301", False), ("2026011025", False), ("99999999999999999999", False),
        ("20260110093000+100", False), ("20260110093000+1500", False), ("2026-01-10", False), ("٢٠٢٦", False),
    ],
)  # fmt: skip
def test_a_time_is_a_real_date_whatever_the_xsd_says(value: str, valid: bool) -> None:
    """cda.md §2: neither libxml2 nor Xerces rejects 20240231 or twenty digits."""
    assert valid_time(value) is valid


def test_a_short_offset_is_taken_where_the_time_is_not_converted() -> None:
    assert valid_time("20240106113623+100", zone=False)


@pytest.mark.parametrize(
    ("matricule", "valid"),
    [(PATIENT.ins, True), ("146026322000196", True), ("279035121518989", True), ("279035121518988", False),
     ("27903512151898", False), ("", False), ("184122A12398749", False)],
)  # fmt: skip
def test_ins_key(matricule: str, valid: bool) -> None:
    """97 − n mod 97 (mssante.md §1.4: both samples of the specification pass)."""
    assert valid_ins(matricule) is valid


def test_ins_key_of_corsica() -> None:
    """2A counts as 19, 2B as 18."""
    for letters, digits in (("2A", "19"), ("2B", "18")):
        key = 97 - int(f"18412{digits}123987") % 97
        assert valid_ins(f"18412{letters}123987{key:02d}")


@pytest.mark.official
def test_official_documents_are_never_rejected() -> None:
    """cda.md §4: 12 official documents; interop must take all, production only warns on older forms."""
    paths = sorted(official("cda").glob("*.xml"))
    assert len(paths) == 12
    for path in paths:
        for preset in BOOKS:
            findings = checked(path.read_bytes(), preset)
            assert rejecting(findings) == [], (path.name, preset)
            assert set(rules(findings)) <= {
                "CDA-H17-SP",
                "CDA-H29",
                "CDA-H01-STYLE",
                "CDA-B02",
                "CDA-B11-TYPE",
            }, path.name


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("CDA-H02", "realmCode"),
        ("CDA-H08", "id[1]"),
        ("CDA-H12", "confidentialityCode"),
        ("CDA-H14", "setId"),
        ("CDA-H16-IDS", "recordTarget/patientRole/id[2]"),
        ("CDA-H17-SP", "recordTarget/patientRole/patient/name/family[2]"),
        ("CDA-H18-VALUE", "recordTarget/patientRole/patient/administrativeGenderCode"),
        ("CDA-H20-CODE", "author/assignedAuthor/code"),
        ("CDA-H22", "legalAuthenticator"),
        ("CDA-H23-LOW", "documentationOf/serviceEvent/effectiveTime/low"),
        ("CDA-H25-J02", "componentOf/encompassingEncounter/location/healthCareFacility/code"),
        ("CDA-H27", "recordTarget/patientRole/telecom"),
        ("CDA-I00-DMP", "recordTarget/patientRole/id"),
        ("CDA-B02", "component/structuredBody/component/section"),
        ("CDA-B04", "component/nonXMLBody/text"),
    ],
)
def test_a_finding_says_where_in_the_document(rule: str, path: str) -> None:
    """For reports: the element's path and its line; ERR-2 stays the OBX-5."""
    (finding,) = checked(BROKEN[rule])
    assert finding.path == path
    assert finding.line is not None and finding.line >= 1
    assert finding.place == OBX


def test_the_line_is_that_of_the_element() -> None:
    (finding,) = checked(BROKEN["CDA-H12"])
    line = BROKEN["CDA-H12"].split(b"\n")[(finding.line or 0) - 1]
    assert b"<confidentialityCode" in line


def test_an_older_type_says_what_it_is() -> None:
    """B08: the older media types, tolerated, must still be what they say."""
    found = checked(cda_n1(media_type="text/rtf", payload=pdf()))
    assert rules(found) == ["CDA-B01-OLD", "CDA-B08"]
    assert rejecting(found) == ["CDA-B08"]
    assert rejecting(checked(cda_n1(media_type="text/rtf", payload=pdf()), "interop")) == []
    assert rules(checked(cda_n1(media_type="text/rtf", payload=b"{\\rtf1 essai}"))) == ["CDA-B01-OLD"]
    assert rules(checked(cda_n1(media_type="text/plain", payload="Compte rendu, été\n".encode()))) == []


@pytest.mark.parametrize("width", [0, 60, 64, 76])
@pytest.mark.parametrize("size", [700, 5_000, 60_001, 60_002, 2_000_000])
def test_a_good_pdf_is_good_however_its_base64_is_laid_out(size: int, width: int) -> None:
    text = base64.b64encode(pdf(size)).decode()
    if width:
        text = "\r\n   ".join(text[i : i + width] for i in range(0, len(text), width))
    start = N1.index(b'representation="B64">') + len(b'representation="B64">')
    document = N1[:start] + text.encode() + N1[N1.index(b"</text>", start) :]
    assert rules(checked(document)) == []


def test_a_pdf_header_may_stand_a_little_later() -> None:
    """ISO 32000-1, annex H: within the first 1024 bytes."""
    assert rules(checked(cda_n1(payload=b"\xef\xbb\xbf\n" * 200 + pdf()))) == []
    assert rejecting(checked(cda_n1(payload=b" " * 1100 + pdf()))) == ["CDA-B04"]


def test_an_encrypted_pdf_is_seen_through_its_cross_reference_stream() -> None:
    """PDF 1.5: no trailer; the dictionary with /Encrypt stands at startxref, far from the end."""
    body = b"%PDF-1.5\n" + b"x" * 9_000
    table = b"7 0 obj\n<< /Type /XRef /Encrypt 9 0 R >>\nstream\n" + b"y" * 20_000 + b"\nendstream\nendobj\n"
    payload = body + table + b"startxref\n%d\n%%%%EOF\n" % len(body)
    assert rules(checked(cda_n1(payload=payload))) == ["CDA-B06"]


def test_every_rule_of_the_table_has_a_test_that_names_it() -> None:
    sources = "".join(p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("test_*.py"))
    table = read_rules(Path(gateway.cda.__file__).parent / "rules.toml")
    assert [r.id for r in table if f'"{r.id}"' not in sources] == []


@pytest.mark.official
def test_every_official_document_gets_the_verdict_that_it_deserves() -> None:
    """Archives and messages too: only the three N1 samples without setId are refused, in production alone."""
    documents: dict[str, bytes] = {}
    for archive in official("xdm").glob("*/IHE_XDM.ZIP"):
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                if name.upper().endswith("DOC0001.XML"):
                    documents[archive.parent.name] = opened.read(name)
    for message in official("hl7").rglob("message_*"):
        for found in re.findall(rb"Base64\^([A-Za-z0-9+/=]{5000,})", message.read_bytes()):
            documents[message.name] = base64.b64decode(found + b"=" * (-len(found) % 4))
    assert len(documents) == 9
    for name, content in documents.items():
        for dmp in (True, False):
            assert rejecting(checked(content, "interop", dmp=dmp)) == [], name
            expected = ["CDA-H14"] if "Radio" in name else []
            assert rejecting(checked(content, dmp=dmp)) == expected, name
