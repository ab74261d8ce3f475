"""What the simulated DMP checks of a request before it keeps anything.

Purpose: addressing, VIHF, XAdES: who speaks, and is it intact. Independent of the connector's builders:
signatures are verified by signxml and by this module's own reading.
Guarantee: everything read afterwards comes from the element whose signature was verified.
Fails: `SoapFault` as the DMP words it where the words are known, else `sim:` words of our own.
Source: spec/dmp.md §8.2 steps 1 to 3 and 7.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree
from signxml.exceptions import InvalidCertificate, SignXMLException
from signxml.verifier import SignatureConfiguration, XMLVerifier

from connectors.dmp.simulator.answers import Refusal, SoapFault
from connectors.dmp.simulator.rights import AIR, INDIRECT, Profile, profile
from connectors.dmp.soap import SOAP, WSA, WSSE
from gateway.safexml import safe_parser

SAML = "urn:oasis:names:tc:SAML:2.0:assertion"
DS = "http://www.w3.org/2000/09/xmldsig#"
XADES = "http://uri.etsi.org/01903/v1.1.1#"
WRONG_CERTIFICATE = "Le certificat ayant signé le VIHF est invalide : Not a valid signature certificate"
_MISSING_HEADER = "A required header representing a Message Addressing Property is not present"


@dataclass(frozen=True, slots=True)
class Addressing:
    """WS-Addressing of a request."""

    message_id: str
    action: str


@dataclass(frozen=True, slots=True)
class Caller:
    """What a verified VIHF says."""

    structure: str
    patient: str
    certificate: x509.Certificate
    profile: Profile = "indirect"
    name_id: str = ""
    """NameID: PS_IdNat, or an identifier internal to the structure."""


def addressing(envelope: etree._Element) -> Addressing:
    """MessageID, Action, To and ReplyTo are compulsory."""
    header = envelope.find(f"{{{SOAP}}}Header")
    found = {
        name: header.find(f"{{{WSA}}}{name}") if header is not None else None
        for name in ("MessageID", "Action", "To", "ReplyTo")
    }
    if any(e is None for e in found.values()):
        raise SoapFault("MessageAddressingHeaderRequired", _MISSING_HEADER)
    texts = {name: (e.text or "").strip() for name, e in found.items() if e is not None}
    if not texts["MessageID"] or not texts["Action"]:
        raise SoapFault("MessageAddressingHeaderRequired", _MISSING_HEADER)
    return Addressing(texts["MessageID"], texts["Action"])


def structure_of(certificate: x509.Certificate) -> str:
    """OU of a certificate."""
    units = certificate.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATIONAL_UNIT_NAME)
    return str(units[0].value) if units else ""


def _signs(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.content_commitment
    except x509.ExtensionNotFound:
        return False


_ROLE = "urn:oasis:names:tc:xacml:2.0:subject:role"
_RESOURCE = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
_REQUIRED = (
    "VIHF_Version",
    "Identifiant_Structure",
    "Secteur_Activite",
    "urn:oasis:names:tc:xspa:1.0:subject:subject-id",
    _ROLE,
    _RESOURCE,
    "Ressource_URN",
    "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse",
    "LPS_Nom",
)
_CHILDREN = ["Issuer", "Signature", "Subject", "AuthnStatement", "AttributeStatement"]
_SECTOR = re.compile(r"[A-Z0-9_]+\^1\.2\.250\.1\.71\.4\.2\.4\Z")
_WITH_SPECIALTY = ("10", "21")
_PROFESSIONS = ("1.2.250.1.71.1.2.7", "1.2.250.1.71.1.2.8")
_NO_SPECIALTY = "Aucune spécialité dans le vihf. Spécialité obligatoire pour les Médecins..."


def _attributes(assertion: etree._Element) -> dict[str, str]:
    """Text of each attribute's first value."""
    return {
        (a.get("Name") or ""): (a.findtext(f"{{{SAML}}}AttributeValue") or "").strip()
        for a in assertion.iterfind(f".//{{{SAML}}}Attribute")
    }


def _roles(assertion: etree._Element) -> list[tuple[str, str]]:
    """(code, codeSystem) of each role, in order."""
    return [
        (e.get("code") or "", e.get("codeSystem") or "")
        for e in assertion.iterfind(
            f".//{{{SAML}}}Attribute[@Name='{_ROLE}']/{{{SAML}}}AttributeValue/{{*}}Role"
        )
    ]


def resource_id(envelope: etree._Element) -> str:
    """The patient that a VIHF names, before anything is verified; "" without one."""
    found = envelope.find(f".//{{{SAML}}}Attribute[@Name='{_RESOURCE}']/{{{SAML}}}AttributeValue")
    return (found.text or "").strip() if found is not None else ""


def _structure(assertion: etree._Element) -> None:
    """Order of the children, compulsory attributes, their form (§2.1, §2.2).

    Not by XSD: the published ones were drawn from one sample and accept nothing else.
    """
    children = [etree.QName(c).localname for c in assertion.iterchildren(tag=etree.Element)]
    values = _attributes(assertion)
    problem = ""
    if children != _CHILDREN:
        problem = "ordre " + ", ".join(_CHILDREN)
    elif not (assertion.findtext(f"{{{SAML}}}Subject/{{{SAML}}}NameID") or "").strip():
        problem = "NameID"
    elif assertion.find(f".//{{{SAML}}}AudienceRestriction") is not None:
        problem = "AudienceRestriction interdit"
    elif any(name not in values for name in _REQUIRED):
        problem = ", ".join(name for name in _REQUIRED if name not in values)
    elif values["VIHF_Version"] not in ("3.0", "4.0"):
        problem = "VIHF_Version"
    elif not _SECTOR.match(values["Secteur_Activite"]):
        problem = "Secteur_Activite"
    elif not 1 <= len(_roles(assertion)) <= 2:
        problem = "une ou deux valeurs de rôle"
    air = AIR in (values.get("Authentification_Mode"), values.get("Authentification_mode"))
    context = f"{{{SAML}}}AuthnStatement/{{{SAML}}}AuthnContext/{{{SAML}}}AuthnContextDecl"
    if not problem and air and not (assertion.findtext(context) or "").strip():
        problem = "AuthnContextDecl (AIR, EX_AIR-050)"
    if problem:
        raise SoapFault("InvalidSecurity", f"sim: structure du VIHF : {problem}")


def vihf(
    envelope: etree._Element,
    authority_file: str,
    peer: x509.Certificate,
    allowed: Mapping[str, frozenset[str]] | None,
    now: datetime,
    skew: timedelta,
    *,
    strict: bool = True,
) -> Caller:
    """Structure, signature, chain, key usage, date, issuer, organisation, mode, roles: the first that is wrong answers.

    `allowed`: certificate's OU to structures (EJ to EG); None: any structure.
    """
    assertion = envelope.find(f"{{{SOAP}}}Header/{{{WSSE}}}Security/{{{SAML}}}Assertion")
    if assertion is None:
        raise SoapFault("InvalidSecurity", "sim: VIHF absent")
    if strict:
        _structure(assertion)
    signed, certificate = _verified(assertion, authority_file)
    if not _signs(certificate):
        raise SoapFault("DMPInvalidCertificate", WRONG_CERTIFICATE)
    _fresh(signed.get("IssueInstant") or "", now, skew)
    _issuer(signed, certificate)
    values = _attributes(signed)
    structure = values.get("Identifiant_Structure", "")
    if allowed is not None and structure not in allowed.get(structure_of(certificate), frozenset()):
        raise SoapFault("InvalidSecurity", "Structure introuvable ou Inactive")
    if structure_of(peer) != structure_of(certificate):
        raise SoapFault("InvalidSecurity", "sim: certificats TLS et VIHF de structures différentes")
    mode = values.get("Authentification_Mode") or values.get("Authentification_mode") or ""
    if mode not in (INDIRECT, AIR):
        raise SoapFault("InvalidSecurity", "sim: mode d'authentification du VIHF")
    roles = _roles(signed)
    if roles and roles[0][1] in _PROFESSIONS and roles[0][0] in _WITH_SPECIALTY and len(roles) < 2:
        raise SoapFault("InvalidSecurity", _NO_SPECIALTY)
    if values.get("Ressource_URN") != "urn:dmp":
        raise SoapFault("InvalidSecurity", "sim: Ressource_URN du VIHF")
    return Caller(
        structure=structure,
        patient=values.get(_RESOURCE, ""),
        certificate=certificate,
        profile=profile(mode, tuple(system for _, system in roles)),
        name_id=(signed.findtext(f"{{{SAML}}}Subject/{{{SAML}}}NameID") or "").strip(),
    )


_UNVERIFIABLE = (
    SignXMLException,
    InvalidSignature,
    UnsupportedAlgorithm,
    etree.LxmlError,
    ValueError,
    TypeError,
    KeyError,
)
"""What signxml and cryptography raise on a signature made to confuse them."""


@lru_cache(maxsize=8)
def _authority(file: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(file).read_bytes())


def _verified(assertion: etree._Element, authority_file: str) -> tuple[etree._Element, x509.Certificate]:
    """What the signature covers, and the certificate that made it: the signature first, then the chain."""
    try:
        pem = assertion.findtext(f".//{{{DS}}}X509Certificate") or ""
        certificate = x509.load_der_x509_certificate(base64.b64decode(pem))
        verified = XMLVerifier().verify(
            assertion,
            x509_cert=certificate,
            id_attribute="ID",
            expect_config=SignatureConfiguration(location="./"),
        )
    except InvalidCertificate as e:
        raise SoapFault("DMPInvalidCertificate", "sim: certificat du VIHF hors validité") from e
    except _UNVERIFIABLE as e:
        raise SoapFault("FailedCheck", f"sim: signature du VIHF invalide ({type(e).__name__})") from e
    signed = None if isinstance(verified, list) else verified.signed_xml
    if signed is None or signed.tag != f"{{{SAML}}}Assertion":
        raise SoapFault("FailedCheck", "sim: la signature ne porte pas sur le VIHF")
    try:
        certificate.verify_directly_issued_by(_authority(authority_file))
    except (InvalidSignature, ValueError, TypeError) as e:
        raise SoapFault("DMPInvalidCertificate", "sim: certificat du VIHF d'une autre AC") from e
    return signed, certificate


def _issuer(signed: etree._Element, certificate: x509.Certificate) -> None:
    """Issuer is the certificate's subject, in either order (§2.6)."""
    told = (signed.findtext(f"{{{SAML}}}Issuer") or "").strip()
    straight = certificate.subject.rfc4514_string()
    reverse = x509.Name(reversed(list(certificate.subject))).rfc4514_string()
    if told.replace(", ", ",") not in (straight, reverse):
        raise SoapFault("InvalidSecurity", "sim: Issuer différent du sujet du certificat")


def _fresh(instant: str, now: datetime, skew: timedelta) -> None:
    try:
        issued = datetime.fromisoformat(instant)
    except ValueError:
        issued = datetime.min.replace(tzinfo=UTC)
    if issued.tzinfo is None or abs(issued - now) > skew:
        raise SoapFault("InvalidSecurity", "sim: IssueInstant du VIHF hors tolérance")


_HASHES: dict[str, hashes.HashAlgorithm] = {
    DS + "rsa-sha1": hashes.SHA1(),  # noqa: S303  # XAdES of the DMP (spec §3.9)
    "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256": hashes.SHA256(),
}
_DIGESTS = {DS + "sha1": "sha1", "http://www.w3.org/2001/04/xmlenc#sha256": "sha256"}


def _canonical(node: etree._Element | etree._ElementTree) -> bytes:
    if isinstance(node, etree._Element):
        # libxml2 writes xmlns="" on grandchildren when it canonicalises a part of a document (decision 0016)
        node = etree.fromstring(etree.tostring(node, with_tail=False), safe_parser()).getroottree()
    return etree.tostring(node, method="c14n", with_comments=True)


def _digest_matches(reference: etree._Element, data: bytes) -> bool:
    method = reference.find(f"{{{DS}}}DigestMethod")
    name = _DIGESTS.get(method.get("Algorithm") or "" if method is not None else "")
    if name is None:
        return False
    made = base64.b64encode(hashlib.new(name, data, usedforsecurity=False).digest()).decode()
    return made == (reference.findtext(f"{{{DS}}}DigestValue") or "").strip()


def xades(content: bytes, documents: Mapping[str, bytes], lot_uid: str, authority: x509.Certificate) -> None:
    """The lot's signature: value, certificate, manifest, properties, and the digest of every document."""
    try:
        root = etree.fromstring(content, safe_parser(len(content)))
        info = root.find(f"{{{DS}}}SignedInfo")
        method = info.find(f"{{{DS}}}SignatureMethod") if info is not None else None
        if info is None or method is None:
            raise ValueError("SignedInfo")
        encoded = root.findtext(f"{{{DS}}}KeyInfo/{{{DS}}}X509Data/{{{DS}}}X509Certificate") or ""
        certificate = x509.load_der_x509_certificate(base64.b64decode(encoded))
        certificate.verify_directly_issued_by(authority)
        key = certificate.public_key()
        if not isinstance(key, rsa.RSAPublicKey) or not _signs(certificate):
            raise ValueError("certificate")
        value = base64.b64decode(root.findtext(f"{{{DS}}}SignatureValue") or "")
        key.verify(value, _canonical(info), padding.PKCS1v15(), _HASHES[method.get("Algorithm") or ""])
        _manifest(root, info, documents, lot_uid)
    except (etree.LxmlError, ValueError, TypeError, KeyError, InvalidSignature, UnsupportedAlgorithm) as e:
        raise Refusal(
            "XDSRepositoryMetadataError", f"sim: signature XAdES du lot invalide ({type(e).__name__})"
        ) from e


def _manifest(
    root: etree._Element, info: etree._Element, documents: Mapping[str, bytes], lot_uid: str
) -> None:
    """Raises `ValueError` or `KeyError` for what does not match."""
    targets = {
        "#IHEManifest": root.find(f"{{{DS}}}Object/{{{DS}}}Manifest[@Id='IHEManifest']"),
        "#S0-SignedProperties": root.find(f".//{{{XADES}}}SignedProperties[@Id='S0-SignedProperties']"),
    }
    references = {r.get("URI"): r for r in info.findall(f"{{{DS}}}Reference")}
    for uri, target in targets.items():
        if target is None or not _digest_matches(references[uri], _canonical(target)):
            raise ValueError(uri)
    manifest = targets["#IHEManifest"]
    if manifest is None:
        raise ValueError("manifest")
    listed = {r.get("URI"): r for r in manifest.findall(f"{{{DS}}}Reference")}
    if f"urn:oid:{lot_uid}" not in listed:
        raise ValueError("lot")
    for uid, document in documents.items():
        tree = etree.fromstring(document, safe_parser(len(document))).getroottree()
        if not _digest_matches(listed[f"urn:oid:{uid}"], _canonical(tree)):
            raise ValueError("digest")
