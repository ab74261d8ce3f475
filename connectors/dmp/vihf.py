"""VIHF: the SAML 2.0 assertion that says who speaks to the DMP, in INDIRECTE or INDIRECTE_RENFORCEE (AIR) mode.

Purpose: build and sign one assertion per call. Pure: time and identifier come in.
Guarantee: the bytes returned go into the envelope untouched, and the exclusive canonical form makes the
signature hold whatever the envelope's prefixes are. Order: Issuer, Signature, Subject, AuthnStatement,
AttributeStatement; RSA-SHA256; `purposeofuse` normal; AudienceRestriction absent.
Fails: `ValueError` from lxml for characters that XML cannot carry.
Source: volet Transmission (VIHF), CNAM samples, spec/dmp.md §2. Signed by signxml: docs/decisions/0003.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from lxml import etree
from signxml.algorithms import (
    CanonicalizationMethod,
    DigestAlgorithm,
    SignatureConstructionMethod,
    SignatureMethod,
)
from signxml.signer import XMLSigner

from connectors.dmp.certificates import SigningIdentity
from connectors.dmp.settings import Role, Software, Vihf
from connectors.dmp.xmldsig import DS, default_namespace

SAML: Final = "urn:oasis:names:tc:SAML:2.0:assertion"
HL7: Final = "urn:hl7-org:v3"
XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
SECTOR_SYSTEM: Final = "1.2.250.1.71.4.2.4"
ROLE: Final = "urn:oasis:names:tc:xacml:2.0:subject:role"
SUBJECT_ID: Final = "urn:oasis:names:tc:xspa:1.0:subject:subject-id"
RESOURCE_ID: Final = "urn:oasis:names:tc:xacml:2.0:resource:resource-id"
PURPOSE: Final = "urn:oasis:names:tc:xspa:1.0:subject:purposeofuse"
CONFIDENTIALITY: Final = "urn:oasis:names:tc:xspa:1.0:resource:patient:hl7:confidentiality-code"
_X509_NAME = "urn:oasis:names:tc:SAML:1.1:nameid-format:X509SubjectName"


INDIRECT: Final = "INDIRECTE"
AIR: Final = "INDIRECTE_RENFORCEE"


@dataclass(frozen=True, slots=True)
class StrongAuthentication:
    """How a professional proved who they are to the software that calls us (EX_AIR-050)."""

    context: str
    """AuthnContextClassRef: the means of the primary authentication."""
    instant: datetime
    """When (aware)."""
    purpose: str = "normal"
    """Key of `vihf.purposes`."""


@dataclass(frozen=True, slots=True)
class VihfSubject:
    """Who speaks: decided by the message (it travels in the delivery's plan), or by the caller of the API."""

    structure: str
    """Identifiant_Structure (Struct_IdNat)."""
    name_id: str
    """PS_IdNat of the person responsible, or `<Struct_IdNat>/<id>` of the gateway."""
    display: str
    """subject-id: "NOM, Prénom", or "logiciel, modèle, service"."""
    patient: str
    """resource-id: `matricule^^^&OID&ISO^NH`."""
    secret: bool = False
    roles: tuple[Role, ...] = ()
    """Profession, then specialty (JDV_J65); empty: those of the settings."""
    strong: StrongAuthentication | None = None
    """Given: AIR mode, in the name of a strongly authenticated person. None: INDIRECTE."""


def attributes(subject: VihfSubject, vihf: Vihf, software: Software) -> dict[str, str]:
    """The attributes with one text value, in the order of the samples."""
    sector = vihf.sectors.get(subject.structure, vihf.sector)
    made = {
        "VIHF_Version": vihf.version,
        vihf.mode_attribute: AIR if subject.strong else INDIRECT,
        "Identifiant_Structure": subject.structure,
        "Secteur_Activite": f"{sector}^{SECTOR_SYSTEM}",
        SUBJECT_ID: subject.display,
        RESOURCE_ID: subject.patient,
        "Ressource_URN": "urn:dmp",
        "LPS_ID": software.id,
        "LPS_Nom": software.name,
        "LPS_Version": software.version,
        "LPS_ID_HOMOLOGATION_DMP": software.homologation,
    }
    if subject.secret:
        made[CONFIDENTIALITY] = vihf.secret_connection
    return {name: value for name, value in made.items() if value}


def _saml(parent: etree._Element, tag: str, text: str | None = None, **values: str) -> etree._Element:
    made = etree.SubElement(parent, f"{{{SAML}}}{tag}", values)
    made.text = text
    return made


def _coded(parent: etree._Element, tag: str, values: Mapping[str, str]) -> None:
    """One AttributeValue that holds an HL7 v3 coded element."""
    made = etree.SubElement(
        _saml(parent, "AttributeValue"), f"{{{HL7}}}{tag}", dict(values), nsmap=default_namespace(HL7)
    )
    made.set(f"{{{XSI}}}type", "CE")


def _instant(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def build(
    subject: VihfSubject, vihf: Vihf, software: Software, issuer: str, now: datetime, identifier: UUID
) -> etree._Element:
    """The assertion without its signature."""
    instant = _instant(now)
    root = etree.Element(
        f"{{{SAML}}}Assertion",
        {"ID": f"_{identifier}", "IssueInstant": instant, "Version": "2.0"},
        nsmap={"saml": SAML, "xsi": XSI},
    )
    _saml(root, "Issuer", issuer, Format=_X509_NAME)
    _saml(_saml(root, "Subject"), "NameID", subject.name_id)
    strong = subject.strong
    statement = _saml(root, "AuthnStatement", AuthnInstant=_instant(strong.instant) if strong else instant)
    context = _saml(statement, "AuthnContext")
    _saml(context, "AuthnContextClassRef", strong.context if strong else vihf.authn_context)
    if strong:
        _saml(context, "AuthnContextDecl", vihf.air_context_decl)
    listed = _saml(root, "AttributeStatement")
    for name, value in attributes(subject, vihf, software).items():
        _saml(_saml(listed, "Attribute", Name=name), "AttributeValue", value)
    roles = _saml(listed, "Attribute", Name=ROLE)
    for role in subject.roles or vihf.roles:
        values = {"code": role.code, "codeSystem": role.system, "displayName": role.label}
        if role.system_name:
            values["codeSystemName"] = role.system_name
        _coded(roles, "Role", values)
    purpose = vihf.purposes[strong.purpose if strong else "normal"]
    _coded(
        _saml(listed, "Attribute", Name=PURPOSE),
        "PurposeOfUse",
        {
            "code": purpose.code,
            "codeSystem": "1.2.250.1.213.1.1.4.248",
            "codeSystemName": vihf.purpose_system_name,
            "displayName": purpose.label,
        },
    )
    return root


def sign(assertion: etree._Element, identity: SigningIdentity) -> bytes:
    """Enveloped signature (RSA-SHA256, exclusive c14n) placed after Issuer; the signed assertion's bytes.

    The key is given loaded: parsing a PEM key costs forty times the signature (docs/decisions/0003).
    """
    assertion.insert(1, etree.Element(f"{{{DS}}}Signature", Id="placeholder", nsmap={"ds": DS}))
    signer = XMLSigner(
        method=SignatureConstructionMethod.enveloped,
        signature_algorithm=SignatureMethod.RSA_SHA256,
        digest_algorithm=DigestAlgorithm.SHA256,
        c14n_algorithm=CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    )
    signed = signer.sign(
        assertion,
        key=identity.key,
        cert=[identity.chain[0]],
        reference_uri=assertion.get("ID"),
        id_attribute="ID",
    )
    return etree.tostring(signed, encoding="UTF-8", xml_declaration=False)


def signed_vihf(
    subject: VihfSubject,
    vihf: Vihf,
    software: Software,
    identity: SigningIdentity,
    now: datetime,
    identifier: UUID,
) -> bytes:
    """A signed assertion for one call, ready to stand in `wsse:Security`."""
    return sign(build(subject, vihf, software, identity.issuer_name, now, identifier), identity)
