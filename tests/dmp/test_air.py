"""VIHF in AIR mode (spec dmp §2), and both signatures verified by code that shares nothing with ours.

The VIHF is signed by signxml: it is verified here with lxml and cryptography alone. The XAdES manifest is built by our
own code: it is verified here by signxml.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from xml.etree.ElementTree import canonicalize

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from connectors.dmp.certificates import Credentials, load_credentials
from connectors.dmp.settings import Purpose, Software, Vihf, read_settings
from connectors.dmp.simulator import DmpSimulator
from connectors.dmp.simulator.pki import Pki
from connectors.dmp.soap import WSSE
from connectors.dmp.vihf import SAML, StrongAuthentication, VihfSubject, signed_vihf
from connectors.dmp.xades import sign_lot
from connectors.dmp.xmldsig import canonical
from gateway.safexml import safe_parser
from tests.dmp.test_api import VIHF_SUBJECT
from tests.official import official

NOW = datetime.now(UTC)
LOGIN = NOW - timedelta(hours=2)
DS = "{http://www.w3.org/2000/09/xmldsig#}"
CLASS = "urn:oasis:names:tc:SAML:2.0:ac:classes:MobileTwoFactorUnregistered"
DOC = b"<?pi x?><!-- a --><d xmlns='urn:x'>\xc3\xa9<!-- b --></d>"


@pytest.fixture(scope="module")
def credentials(pki: Pki) -> Credentials:
    settings = DmpSimulator(pki.directory.parent).connector_settings()
    return load_credentials(read_settings(settings, Path()), NOW)


def air(credentials: Credentials, purpose: str = "normal", **vihf: object) -> bytes:
    subject = VihfSubject(
        **{
            **{f: getattr(VIHF_SUBJECT, f) for f in ("structure", "name_id", "display", "patient", "roles")},
            "strong": StrongAuthentication(CLASS, LOGIN, purpose),
        }
    )
    return signed_vihf(subject, Vihf(**vihf), Software(version="1"), credentials.signing, NOW, uuid4())


def attributes(root: etree._Element) -> dict[str | None, str | None]:
    return {a.get("Name"): a.findtext(f"{{{SAML}}}AttributeValue") for a in root.iter(f"{{{SAML}}}Attribute")}


def test_air_names_the_person_and_their_authentication(credentials: Credentials) -> None:
    """INDIRECTE_RENFORCEE, the user's login time and means, « CONF_EXI_PGSSIS », profession and specialty."""
    root = etree.fromstring(air(credentials))
    assert attributes(root)["Authentification_Mode"] == "INDIRECTE_RENFORCEE"
    assert root.findtext(f".//{{{SAML}}}NameID") == "810100000016"
    statement = root.find(f"{{{SAML}}}AuthnStatement")
    assert statement is not None
    assert statement.get("AuthnInstant") == LOGIN.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    assert statement.findtext(f".//{{{SAML}}}AuthnContextClassRef") == CLASS
    assert statement.findtext(f".//{{{SAML}}}AuthnContextDecl") == "CONF_EXI_PGSSIS"
    assert [r.get("code") for r in root.iter("{urn:hl7-org:v3}Role")] == ["10", "SM26"]


def test_access_modes_are_settings(credentials: Credentials) -> None:
    """Régulation and bris de glace: their codes are not published; whoever has them gives them."""
    purposes = {
        "normal": Purpose(code="normal", label="n"),
        "urgence": Purpose(code="x-urgence", label="Urgence"),
    }
    root = etree.fromstring(air(credentials, "urgence", purposes=purposes, air_context_decl="AUTRE"))
    purpose = root.find(".//{urn:hl7-org:v3}PurposeOfUse")
    assert purpose is not None
    assert (purpose.get("code"), purpose.get("displayName")) == ("x-urgence", "Urgence")
    assert root.findtext(f".//{{{SAML}}}AuthnContextDecl") == "AUTRE"


def loosened(name: str) -> bytes:
    """One of the schemas without its enumerations and number types."""
    tree = etree.parse(official("schemas", "vihf", name))
    xs = "{http://www.w3.org/2001/XMLSchema}"
    for one in list(tree.iter(f"{xs}enumeration")):
        parent = one.getparent()
        assert parent is not None
        parent.remove(one)
    for restriction in tree.iter(f"{xs}restriction"):
        restriction.set("base", "xs:string")
    return etree.tostring(tree)


class Loosened(etree.Resolver):
    """Imports are loosened too."""

    # the published stubs forget the third argument
    def resolve(self, system_url: str, public_id: str, context: Any) -> Any:  # type: ignore[override]
        return self.resolve_string(loosened(system_url.rpartition("/")[2]), context, base_url=system_url)


@pytest.mark.official
def test_assertion_has_the_structure_of_the_published_schema(credentials: Credentials) -> None:
    """generate-VIHF's assertion.xsd was made from one sample: its enumerations and its numbers are taken out, the
    order and the required parts stay."""
    parser = etree.XMLParser()
    parser.resolvers.add(Loosened())
    schema = etree.XMLSchema(etree.fromstring(loosened("vihf.xsd"), parser, base_url="vihf.xsd"))
    made = signed_vihf(VIHF_SUBJECT, Vihf(), Software(version="1"), credentials.signing, NOW, uuid4())
    security = etree.Element(f"{{{WSSE}}}Security")
    security.append(etree.fromstring(made))
    schema.assertValid(security)


def independent(element: etree._Element) -> bytes:
    """Canonical XML by the standard library: 2.0, whose bytes are those of exclusive 1.0, and of inclusive 1.0 where
    every declaration in scope is used."""
    return canonicalize(
        etree.tostring(element, encoding="unicode", with_tail=False), with_comments=True
    ).encode()


def verify_vihf(made: bytes, key: rsa.RSAPublicKey) -> None:
    """XML-DSig by hand: canonical forms by the standard library, SHA-256, RSA. Raises when it does not hold."""
    root = etree.fromstring(made)
    signature = root.find(f"{DS}Signature")
    if signature is None:
        raise ValueError("no signature")
    info = signature.find(f"{DS}SignedInfo")
    assert info is not None
    value = base64.b64decode(signature.findtext(f"{DS}SignatureValue") or "")
    key.verify(value, independent(info), padding.PKCS1v15(), hashes.SHA256())
    reference = info.find(f"{DS}Reference")
    assert reference is not None
    if reference.get("URI") != f"#{root.get('ID')}":
        raise ValueError("reference")
    root.remove(signature)
    digest = hashlib.sha256(independent(root)).digest()
    if base64.b64encode(digest).decode() != (reference.findtext(f"{DS}DigestValue") or ""):
        raise ValueError("digest")


def public_key(credentials: Credentials) -> rsa.RSAPublicKey:
    key = credentials.signing.chain[0].public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def test_vihf_verifies_without_signxml_and_one_flipped_byte_fails(credentials: Credentials) -> None:
    made = air(credentials)
    key = public_key(credentials)
    verify_vihf(made, key)
    flipped = 0
    for at in range(0, len(made), 37):
        broken = made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :]
        inside = made.find(b"<ds:X509Certificate>") < at < made.find(b"</ds:X509Certificate>")
        if inside or broken == made:
            continue  # the certificate is checked by its chain, not by this key
        with pytest.raises((InvalidSignature, ValueError, etree.XMLSyntaxError, AssertionError)):
            verify_vihf(broken, key)
        flipped += 1
    assert flipped > 80


def test_vihf_carries_the_signing_certificate(credentials: Credentials) -> None:
    found = etree.fromstring(air(credentials)).findtext(f".//{DS}X509Certificate") or ""
    assert "".join(found.split()) == credentials.signing.leaf_base64


def test_canonical_parts_are_those_of_the_recommendation(credentials: Credentials) -> None:
    """libxml2 writes `xmlns=""` on the grandchildren of a part: our XAdES were signed on bytes that nobody else
    would find. Every signed part against the standard library."""
    root = etree.fromstring(
        sign_lot(
            "2.25.7", [("1.2.3", DOC)], credentials.signing, kind="sha256", now=NOW, identifier=UUID(int=7)
        )
    )
    parts = [
        root.find(f"{DS}SignedInfo"),
        root.find(f".//{DS}Manifest"),
        root.find(".//{http://uri.etsi.org/01903/v1.1.1#}SignedProperties"),
    ]
    for part in parts:
        assert part is not None
        assert canonical(part) == independent(part)
        assert b'xmlns=""' not in canonical(part)
    info = parts[0]
    assert info is not None
    value = base64.b64decode(root.findtext(f"{DS}SignatureValue") or "")
    public_key(credentials).verify(value, independent(info), padding.PKCS1v15(), hashes.SHA256())
    for part, reference in zip(parts[1:], info.findall(f"{DS}Reference"), strict=True):
        assert part is not None
        digest = base64.b64encode(hashlib.sha256(independent(part)).digest()).decode()
        assert digest == reference.findtext(f"{DS}DigestValue")


def verify_xades(made: bytes, pki: Pki) -> None:
    """Both references of SignedInfo and its value, by signxml.

    Not against the schema of XML-DSig: the purpose of signature of IHE DSG is a text, where it wants an element.
    """
    verifier = XMLVerifier()
    verifier.excise_empty_xmlns_declarations = (
        True  # what libxml2 adds to parts of a document (decision 0016)
    )
    verifier.verify(
        etree.fromstring(made, safe_parser()),
        ca_pem_file=str(pki.ca),
        validate_schema=False,
        expect_config=SignatureConfiguration(
            expect_references=2,
            signature_methods=frozenset({SignatureMethod.RSA_SHA256}),
            digest_algorithms=frozenset({DigestAlgorithm.SHA256}),
            location="./",
        ),
    )


def test_xades_verifies_with_signxml_and_one_flipped_byte_fails(credentials: Credentials, pki: Pki) -> None:
    made = sign_lot(
        "2.25.7", [("1.2.3", DOC)], credentials.signing, kind="sha256", now=NOW, identifier=UUID(int=7)
    )
    verify_xades(made, pki)
    start, end = made.index(b"<Manifest"), made.index(b"</Manifest>")
    properties = made.index(b"SigningTime>")
    for at in (*range(start + 20, end, 41), properties + 14, made.index(b"<SignatureValue>") + 20):
        broken = made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :]
        with pytest.raises((SignXMLException, etree.XMLSyntaxError, ValueError)):
            verify_xades(broken, pki)
