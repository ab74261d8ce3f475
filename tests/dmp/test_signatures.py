"""VIHF (spec dmp §2) and XAdES (§3.9): structure, verification by others' code, tampering."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography import x509
from lxml import etree
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from connectors.dmp import soap
from connectors.dmp.certificates import Credentials, load_credentials
from connectors.dmp.settings import Role, Software, Vihf, read_settings
from connectors.dmp.simulator import DmpSimulator, checks
from connectors.dmp.simulator.answers import Refusal, SoapFault
from connectors.dmp.simulator.pki import Pki
from connectors.dmp.vihf import CONFIDENTIALITY, SAML, VihfSubject, attributes, signed_vihf
from connectors.dmp.xades import canonical_document, sign_lot

NOW = datetime.now(UTC)
SUBJECT = VihfSubject("1990000010", "810100000016", "MARTIN Éric", "1841275123987^^^&1.2&ISO^NH")
DOC = b"<?xml version='1.0'?>\r\n<?pi x?><!-- a --><d xmlns='urn:x'>\xc3\xa9<!-- b -->\r\n</d>\r\n<!-- c -->"


@pytest.fixture(scope="module")
def credentials(pki: Pki) -> Credentials:
    settings = DmpSimulator(pki.directory.parent).connector_settings()
    return load_credentials(read_settings(settings, Path()), NOW)


def vihf(credentials: Credentials, **changes: object) -> bytes:
    return signed_vihf(
        SUBJECT,
        Vihf(**changes),
        Software(version="1"),
        credentials.signing,
        NOW,
        uuid4(),
    )


def verify(assertion: etree._Element, pki: Pki) -> etree._Element:
    result = XMLVerifier().verify(
        assertion,
        ca_pem_file=str(pki.ca),
        id_attribute="ID",
        expect_config=SignatureConfiguration(location="./"),
    )
    assert not isinstance(result, list)
    assert result.signed_xml is not None
    return result.signed_xml


def in_envelope(assertion: bytes) -> etree._Element:
    body = etree.fromstring("<b xmlns='urn:b' xmlns:saml='urn:other'/>")
    made = soap.envelope(soap.STORED_QUERY, "https://x/?a&b", "urn:uuid:1", assertion, body)
    return etree.fromstring(made)


def test_vihf_verifies_inside_the_envelope(credentials: Credentials, pki: Pki) -> None:
    """§2.5: verified by signxml after embedding and re-parsing, chain included."""
    envelope = in_envelope(vihf(credentials))
    assertion = envelope.find(f".//{{{SAML}}}Assertion")
    assert assertion is not None
    signed = verify(assertion, pki)
    assert signed.findtext(f".//{{{SAML}}}NameID") == "810100000016"


def test_vihf_order_and_values(credentials: Credentials) -> None:
    """§2.1, §2.2: order of the children, Issuer in RFC 4514 order, attributes of the indirect mode."""
    root = etree.fromstring(vihf(credentials))
    assert [etree.QName(c).localname for c in root] == [
        "Issuer",
        "Signature",
        "Subject",
        "AuthnStatement",
        "AttributeStatement",
    ]
    issuer = root.findtext(f"{{{SAML}}}Issuer") or ""
    assert issuer.startswith("CN=test.sign,OU=1990000010,O=HOPITAL DE TEST,ST=Paris (75),C=FR")
    values = {
        a.get("Name"): a.findtext(f"{{{SAML}}}AttributeValue") for a in root.iter(f"{{{SAML}}}Attribute")
    }
    assert values["VIHF_Version"] == "3.0"
    assert values["Authentification_Mode"] == "INDIRECTE"
    assert values["Identifiant_Structure"] == "1990000010"
    assert values["Secteur_Activite"] == "SA01^1.2.250.1.71.4.2.4"
    assert values["Ressource_URN"] == "urn:dmp"
    role = root.find(".//{urn:hl7-org:v3}Role")
    assert role is not None
    assert (role.get("code"), role.get("codeSystem")) == ("AUTOMATE", "1.2.250.1.213.1.1.4.6")
    assert CONFIDENTIALITY not in values


def test_vihf_disputed_values_are_settings(credentials: Credentials) -> None:
    """§2.6: version, attribute name, two roles, secret connection."""
    given = Vihf(
        version="4.0",
        mode_attribute="Authentification_mode",
        secret_connection="X",
        sectors={"1990000010": "SA25"},
        roles=(Role(code="10", system="1", label="M"), Role(code="SM26", system="2", label="S")),
    )
    secret = VihfSubject("1990000010", "n", "d", "p", secret=True)
    values = attributes(secret, given, Software())
    assert values["Authentification_mode"] == "INDIRECTE"
    assert (values["VIHF_Version"], values[CONFIDENTIALITY]) == ("4.0", "X")
    assert values["Secteur_Activite"].startswith("SA25^")
    root = etree.fromstring(signed_vihf(secret, given, Software(), credentials.signing, NOW, uuid4()))
    assert [r.get("code") for r in root.iter("{urn:hl7-org:v3}Role")] == ["10", "SM26"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b">INDIRECTE<", b">DIRECTE<"),
        (b"1841275123987", b"1841275123988"),
        (b"1990000010</", b"1990000028</"),
    ],
)
def test_tampered_vihf_fails(credentials: Credentials, pki: Pki, old: bytes, new: bytes) -> None:
    made = vihf(credentials)
    assert old in made
    with pytest.raises(SignXMLException):
        verify(etree.fromstring(made.replace(old, new)), pki)


def check_as_the_simulator(
    made: bytes, pki: Pki, *, now: datetime = NOW, structures: frozenset[str] = frozenset({"1990000010"})
) -> checks.Caller:
    peer = x509.load_pem_x509_certificate(pki.certificate("auth").read_bytes())
    return checks.vihf(
        in_envelope(made), str(pki.ca), peer, {"1990000010": structures}, now, timedelta(minutes=5)
    )


def test_simulator_reads_who_speaks(credentials: Credentials, pki: Pki) -> None:
    caller = check_as_the_simulator(vihf(credentials), pki)
    assert (caller.structure, caller.patient) == (SUBJECT.structure, SUBJECT.patient)


def test_simulator_refuses_old_foreign_tampered_and_absent_vihf(credentials: Credentials, pki: Pki) -> None:
    """§8.2 step 3."""
    good = vihf(credentials)
    with pytest.raises(SoapFault, match="InvalidSecurity"):
        check_as_the_simulator(good, pki, now=NOW + timedelta(minutes=6))
    with pytest.raises(SoapFault) as unknown:
        check_as_the_simulator(good, pki, structures=frozenset({"1990000028"}))
    assert unknown.value.words == "Structure introuvable ou Inactive"
    with pytest.raises(SoapFault, match="FailedCheck"):
        check_as_the_simulator(good.replace(b">INDIRECTE<", b">DIRECTE<"), pki)
    with pytest.raises(SoapFault, match="InvalidSecurity"):
        check_as_the_simulator(b"", pki)


def test_canonical_document_is_the_whole_document() -> None:
    """Comments and instructions outside the root are part of an external document's digest."""
    made = canonical_document(DOC)
    assert made.startswith(b"<?pi x?>\n<!-- a -->\n<d")
    assert made.endswith(b"</d>\n<!-- c -->")


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
def test_xades_verifies_and_detects_every_change(credentials: Credentials, pki: Pki, kind: str) -> None:
    """§3.9, both digests: the signature, the manifest, the properties and the document itself."""
    made = sign_lot(
        "2.25.7",
        [("1.2.3", DOC)],
        credentials.signing,
        kind="sha1" if kind == "sha1" else "sha256",
        now=NOW,
        identifier=UUID(int=7),
    )
    authority = x509.load_pem_x509_certificate(pki.ca.read_bytes())
    checks.xades(made, {"1.2.3": DOC}, "2.25.7", authority)
    # line ends and quotes are not content once canonical
    checks.xades(made, {"1.2.3": DOC.replace(b"'", b'"')}, "2.25.7", authority)
    for document in (
        DOC.replace(b" b ", b" B "),
        DOC.replace(b"\xc3\xa9", b"e"),
        DOC.replace(b" c ", b" C "),
    ):
        with pytest.raises(Refusal):
            checks.xades(made, {"1.2.3": document}, "2.25.7", authority)
    value = made.split(b"<SignatureValue>")[1][:8]
    broken = base64.b64encode(bytes(b ^ 1 for b in base64.b64decode(value)))
    for tampered in (
        made.replace(value, broken),
        made.replace(b"urn:oid:1.2.3", b"urn:oid:1.2.4"),
        made.replace(b"SigningTime>20", b"SigningTime>21"),
        made.replace(b"AA==", b"AB=="),
    ):
        assert tampered != made
        with pytest.raises(Refusal):
            checks.xades(tampered, {"1.2.3": DOC}, "2.25.7", authority)


def test_xades_of_another_authority_is_refused(credentials: Credentials, tmp_path: Path) -> None:
    from connectors.dmp.simulator.pki import Authority

    made = sign_lot("2.25.7", [], credentials.signing, kind="sha256", now=NOW, identifier=uuid4())
    with pytest.raises(Refusal):
        checks.xades(made, {}, "2.25.7", Authority(tmp_path, NOW, "AUTRE").certificate)
