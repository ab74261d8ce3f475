"""What is wrong with the bytes of the document, its XML and its header."""

from __future__ import annotations

import gzip

from fixtures import build
from tests.catalogue.entry import Good, b64, bad, content, n1_with, swap, with_data

HERE = "OBX^1^5"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'


def declared(encoding: str, codec: str) -> object:
    """The document declared in an encoding and written in another."""
    return content(lambda g: g.n1().decode().replace('"UTF-8"', f'"{encoding}"', 1).encode(codec))


# --- bytes ---

bad(
    "XML",
    "b64-foreign",
    "Caractères étrangers au base64",
    lambda g: with_data(g.mdm, b"*" * 40),
    f"CDA-B64 {HERE} 102",
)
bad(
    "XML",
    "b64-length",
    "Base64 de longueur impossible (reste 1)",
    lambda g: with_data(g.mdm, b64(g.n1())[:1001]),
    f"CDA-B64 {HERE} 102",
)
bad(
    "XML",
    "b64-placeholder",
    "Texte au lieu du base64",
    lambda g: with_data(g.mdm, "Document minimisé".encode()),
    f"CDA-B64 {HERE} 102",
)
bad("XML", "b64-cut", "Document coupé", lambda g: with_data(g.mdm, b64(g.n1())[:2000]), f"CDA-XML {HERE} 102")
bad(
    "XML", "blank-document", "Document fait de blancs", content(lambda g: b"   \n"), f"CDA-NOT-XML {HERE} 102"
)
bad("XML", "b64-of-b64", "Base64 d'un base64", content(lambda g: b64(g.n1())), f"CDA-B64-TWICE {HERE} 102")
bad("XML", "a-pdf", "PDF au lieu d'un CDA", content(lambda g: build.pdf()), f"CDA-NOT-XML {HERE} 102")
bad(
    "XML",
    "json",
    "JSON au lieu d'un CDA",
    content(lambda g: b'{"resourceType": "Bundle"}'),
    f"CDA-NOT-XML {HERE} 102",
)
bad(
    "XML",
    "gzip",
    "CDA compressé (gzip)",
    content(lambda g: gzip.compress(g.n1())),
    f"CDA-COMPRESSED {HERE} 102",
)
bad("XML", "html", "HTML au lieu d'un CDA", content(lambda g: b"<html><body/></html>"), f"CDA-H01 {HERE} 102")
bad(
    "XML",
    "fhir",
    "FHIR au lieu d'un CDA",
    content(lambda g: b'<Bundle xmlns="http://hl7.org/fhir"/>'),
    f"CDA-H01 {HERE} 102",
)
bad(
    "XML",
    "other-namespace",
    "ClinicalDocument hors de l'espace de noms urn:hl7-org:v3",
    n1_with("urn:hl7-org:v3", "urn:hl7-org:v2"),
    f"CDA-H01 {HERE} 102",
)
bad(
    "XML",
    "two-documents-in-a-stylesheet",
    "Feuille de style avec deux ClinicalDocument",
    content(
        lambda g: (
            b'<xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform">'
            + 2 * b'<ClinicalDocument xmlns="urn:hl7-org:v3"/>'
            + b"</xsl:stylesheet>"
        )
    ),
    f"CDA-H01 {HERE} 102",
)

# --- XML ---

bad("XML", "not-well-formed", "Élément non fermé", n1_with("</title>", ""), f"CDA-XML {HERE} 102")
bad(
    "XML",
    "junk-after-root",
    "Texte après la racine",
    content(lambda g: g.n1() + b"fin"),
    f"CDA-XML {HERE} 102",
)
bad("XML", "two-roots", "Deux racines", content(lambda g: g.n1() + b"<a/>"), f"CDA-XML {HERE} 102")
bad(
    "XML",
    "blank-before-declaration",
    "Blanc avant la déclaration XML",
    content(lambda g: b" " + g.n1()),
    f"CDA-XML {HERE} 102",
)
bad(
    "XML",
    "control-character",
    "Caractère de contrôle dans le texte",
    n1_with("Compte rendu", "Compte\x01rendu"),
    f"CDA-XML {HERE} 102",
)
bad(
    "XML",
    "nul-character",
    "Octet nul dans le document",
    n1_with("Compte rendu", "Compte\0rendu"),
    f"CDA-XML {HERE} 102",
)
bad(
    "XML",
    "unknown-entity",
    "Entité non définie (&nbsp;)",
    n1_with("Compte rendu", "Compte&nbsp;rendu"),
    f"CDA-XML {HERE} 102",
)
bad(
    "XML",
    "unbound-prefix",
    "Préfixe d'espace de noms non déclaré",
    n1_with("<title>", "<x:y/><title>"),
    f"CDA-XML {HERE} 102",
)
bad(
    "XML",
    "latin-1-as-utf-8",
    "Octets Latin-1 annoncés UTF-8",
    content(lambda g: g.n1().decode().encode("iso-8859-15")),
    f"CDA-UTF8 {HERE} 102",
)
bad(
    "XML",
    "utf-8-as-latin-1",
    "UTF-8 annoncé ISO-8859-1 (accents perdus)",
    declared("ISO-8859-1", "utf-8"),
    f"CDA-MOJIBAKE {HERE} 102",
)
bad(
    "XML",
    "cp1252-as-latin-1",
    "Windows-1252 annoncé ISO-8859-1",
    content(
        lambda g: (
            swap(g.n1(), '"UTF-8"', '"ISO-8859-1"')
            .decode()
            .replace("d'examens", "d’examens")
            .encode("cp1252")
        )
    ),
    f"CDA-C1 {HERE} 102",
)
bad("XML", "utf-7", "Encodage UTF-7", declared("UTF-7", "utf-7"), f"CDA-ENCODING-UNKNOWN {HERE} 102")
bad("XML", "ebcdic", "Encodage EBCDIC", n1_with('"UTF-8"', '"IBM037"'), f"CDA-ENCODING-UNKNOWN {HERE} 102")
bad(
    "XML",
    "doctype",
    "DOCTYPE",
    n1_with("<ClinicalDocument ", "<!DOCTYPE ClinicalDocument><ClinicalDocument "),
    f"CDA-DOCTYPE {HERE} 102",
)
bad(
    "XML",
    "entity",
    "Entité interne",
    n1_with("<ClinicalDocument ", "<!DOCTYPE x [<!ENTITY e 'x'>]><ClinicalDocument "),
    f"CDA-DOCTYPE {HERE} 102",
)
bad(
    "XML",
    "external-entity",
    "Entité externe (XXE)",
    content(
        lambda g: swap(
            swap(
                g.n1(),
                "<ClinicalDocument ",
                "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/hostname'>]><ClinicalDocument ",
            ),
            "<title>",
            "<title>&e;",
        )
    ),
    f"CDA-DOCTYPE {HERE} 102",
)
bad(
    "XML",
    "doctype-utf-16",
    "DOCTYPE dans un document UTF-16",
    content(
        lambda g: (
            swap(swap(g.n1(), '"UTF-8"', '"UTF-16"'), "<ClinicalDocument ", "<!DOCTYPE x><ClinicalDocument ")
            .decode()
            .encode("utf-16")
        )
    ),
    f"CDA-DOCTYPE {HERE} 102",
)
bad(
    "XML",
    "too-deep",
    "Plus de 200 niveaux d'imbrication",
    n1_with("<title>", "<a>" * 210 + "</a>" * 210 + "<title>"),
    f"CDA-DEPTH {HERE} 102",
)
bad(
    "XML",
    "too-many-elements",
    "Plus de 200 000 éléments",
    n1_with("<title>", "<a/>" * 200_001 + "<title>"),
    f"CDA-ELEMENTS {HERE} 102",
)

# --- header ---


def without(start: str, end: str) -> object:
    """The document without what stands from `start` to `end`."""

    def make(g: Good) -> bytes:
        text = g.n1().decode()
        i = text.index(start)
        return (text[:i] + text[text.index(end, i) + len(end) :]).encode()

    return content(make)


def header(identifier: str, what: str, make: object, rule: str) -> None:
    bad("en-tête", identifier, what, make, f"{rule} {HERE} 207/906")  # type: ignore[arg-type]


header("realm-code-absent", "realmCode absent", n1_with('<realmCode code="FR"/>', ""), "CDA-H02")
header("realm-code-other", "realmCode autre que FR", n1_with('code="FR"', 'code="BE"'), "CDA-H02")
header("type-id-other", "typeId erroné", n1_with("POCD_HD000040", "POCD_HD000041"), "CDA-H03")
header(
    "template-hl7-france",
    "templateId HL7 France absent",
    n1_with('<templateId root="2.16.840.1.113883.2.8.2.1"/>', '<templateId root="1.2.3"/>'),
    "CDA-H04",
)
header(
    "template-ci-sis",
    "templateId CI-SIS absent",
    n1_with('<templateId root="1.2.250.1.213.1.1.1.1"/>', '<templateId root="1.2.3"/>'),
    "CDA-H05",
)
header(
    "template-xds-sd",
    "Niveau 1 sans templateId XDS-SD",
    n1_with("1.3.6.1.4.1.19376.1.2.20", "1.2.3"),
    "CDA-H07",
)
header(
    "template-too-many",
    "Niveau 1 avec quatre templateId",
    n1_with("<templateId", '<templateId root="1.2.3"/><templateId'),
    "CDA-H07-COUNT",
)
header(
    "id-null",
    "id sans valeur (nullFlavor)",
    content(lambda g: swap(g.n1(), f'<id root="{g.uid()}"/>', '<id nullFlavor="UNK"/>')),
    "CDA-H08",
)
header(
    "id-twice", "Deux id", content(lambda g: swap(g.n1(), "<code ", '<id root="1.2.3"/><code ')), "CDA-H08"
)
header(
    "code-without-label",
    "code sans displayName",
    n1_with(' displayName="CR d\'examens biologiques"', ""),
    "CDA-H09",
)
header(
    "code-system",
    "code d'une autre nomenclature que LOINC ou TRE_A05",
    n1_with(build.LOINC, "1.2.3"),
    "CDA-H09-SYSTEM",
)
header("title-absent", "title absent", without("<title>", "</title>"), "CDA-H10")
header("effective-time-absent", "effectiveTime absent", without("<effectiveTime value", "/>"), "CDA-H11")
header(
    "effective-time-impossible",
    "effectiveTime au 31 février",
    n1_with("20260110093000+0100", "20260231093000+0100"),
    "CDA-H11",
)
header(
    "effective-time-iso",
    "effectiveTime au format ISO (tirets)",
    n1_with("20260110093000+0100", "2026-01-10T09:30:00"),
    "CDA-H11",
)
header(
    "confidentiality-absent", "confidentialityCode absent", without("<confidentialityCode", "/>"), "CDA-H12"
)
header(
    "confidentiality-other",
    "confidentialityCode hors N, R, V",
    n1_with('<confidentialityCode code="N"', '<confidentialityCode code="L"'),
    "CDA-H12",
)
header(
    "confidentiality-twice",
    "Deux confidentialityCode (N et V)",
    n1_with(
        "<languageCode", '<confidentialityCode code="V" codeSystem="2.16.840.1.113883.5.25"/><languageCode'
    ),
    "CDA-ONCE",
)
header(
    "version-twice",
    "Deux versionNumber",
    n1_with("<versionNumber", '<versionNumber value="7"/><versionNumber'),
    "CDA-ONCE",
)
header("language-form", "languageCode « fr » au lieu de « fr-FR »", n1_with('"fr-FR"', '"fr"'), "CDA-H13")
header("set-id-absent", "setId absent", content(lambda g: g.n1(set_id=None)), "CDA-H14")
header(
    "version-absent",
    "versionNumber absent",
    content(lambda g: swap(g.n1(), '<versionNumber value="1"/>', "")),
    "CDA-H15",
)
header(
    "version-zero",
    "versionNumber 0",
    content(lambda g: swap(g.n1(), '<versionNumber value="1"/>', '<versionNumber value="0"/>')),
    "CDA-H15-POSITIVE",
)
header(
    "version-decimal",
    "versionNumber « 1.0 »",
    content(lambda g: swap(g.n1(), '<versionNumber value="1"/>', '<versionNumber value="1.0"/>')),
    "CDA-H15",
)
header("author-absent", "Aucun auteur", content(lambda g: g.n1(authors=())), "CDA-H20")
header("custodian-absent", "custodian absent", without("<custodian>", "</custodian>"), "CDA-H21")
header(
    "signer-absent",
    "legalAuthenticator absent",
    without("<legalAuthenticator>", "</legalAuthenticator>"),
    "CDA-H22",
)
header(
    "signer-not-signed",
    "signatureCode autre que S",
    n1_with('<signatureCode code="S"/>', '<signatureCode code="X"/>'),
    "CDA-H22-CONTENT",
)
header("act-absent", "documentationOf absent", without("<documentationOf>", "</documentationOf>"), "CDA-H23")
header(
    "act-without-date",
    "Acte sans date",
    content(
        lambda g: swap(
            g.n1(),
            '<serviceEvent><effectiveTime><low value="20260109080000+0100"/>',
            '<serviceEvent><effectiveTime><low nullFlavor="UNK"/>',
        )
    ),
    "CDA-H23-LOW",
)
header(
    "act-without-practice",
    "Acte sans cadre d'exercice",
    without("<standardIndustryClassCode", "/>"),
    "CDA-H23-PRACTICE",
)
header("encounter-absent", "componentOf absent", without("<componentOf>", "</componentOf>"), "CDA-H25")
bad(
    "en-tête",
    "id-not-an-oid",
    "id qui n'est ni un OID ni un UUID",
    content(lambda g: swap(g.n1(), f'<id root="{g.uid()}"/>', '<id root="DOC-42"/>')),
    f"CDA-H08-FORM {HERE} 207/906",
    "CDA-M01-ID TXA^1^12 207/906",
)
bad(
    "en-tête",
    "id-extension-dmp",
    "id avec extension vers le DMP",
    lambda g: g.send(g.n1(uid=f"{g.uid()}^42")),
    f"CDA-H08-EXTENSION-DMP {HERE} 207/906",
)

bad(
    "XML",
    "empty-base64",
    "Base64 qui ne contient rien",
    lambda g: with_data(g.mdm, b"   "),
    f"CDA-EMPTY {HERE} 101",
)
header(
    "template-model",
    "Niveau 3 sans templateId du modèle",
    lambda g: g.send(
        g.n3()
        .replace(b'<templateId root="1.3.6.1.4.1.19376.1.3.3"/>', b"")
        .replace(b'<templateId root="1.2.250.1.213.1.1.1.55" extension="2024.01"/>', b"")
    ),
    "CDA-H06",
)
header(
    "author-without-time",
    "Auteur sans date",
    content(
        lambda g: swap(
            g.n1(), '<author><time value="20260110093000+0100"/>', '<author><time nullFlavor="UNK"/>'
        )
    ),
    "CDA-H20-AUTHOR",
)
header(
    "author-without-specialty",
    "Auteur sans libellé de spécialité",
    n1_with(' displayName="Médecin - Biologie médicale (SM)"', ""),
    "CDA-H20-CODE",
)
header(
    "two-related-documents",
    "Deux relatedDocument",
    lambda g: g.send(
        swap(
            g.n1(2, 1),
            "</relatedDocument>",
            '</relatedDocument><relatedDocument typeCode="RPLC"><parentDocument><id root="1.2.3"/></parentDocument>'
            "</relatedDocument>",
        ),
        "T10",
    ),
    "CDA-H24",
)
