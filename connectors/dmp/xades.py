"""XAdES 1.1.1 signature of a submission set: a manifest of the documents' digests, signed with the cachet.

Purpose: the second "document" of every DMP lot. Pure: time and identifier come in.
Guarantee: the manifest holds the digest of each document's canonical form (inclusive, with comments, whole
document), and the lot's uniqueId with the constant digest of the samples.
Fails: `etree.LxmlError` when a document is not XML, or not `signable` (the preparation has looked before).
Source: CNAM TD2.1 sample, IHE DSG, spec/dmp.md §3.9. signxml knows XAdES 1.4.1 only, so this one is built
here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from uuid import UUID

from lxml import etree

from connectors.dmp.certificates import SigningIdentity, sha1_base64
from connectors.dmp.xmldsig import (
    C14N_WITH_COMMENTS,
    DIGEST_METHOD,
    DS,
    SIGNATURE_METHOD,
    Digest,
    canonical,
    default_namespace,
    digest,
    rsa_sign,
)
from connectors.xds.model import DocumentEntry, XdsCode
from gateway.safexml import safe_parser

XADES: Final = "http://uri.etsi.org/01903/v1.1.1#"
SOURCE_SIGNATURE: Final = "1.2.840.10065.1.12.1.14"
"""Purpose of the signature: source (ASTM E1762)."""
_ANY_DIGEST = "AA=="


def canonical_document(content: bytes) -> bytes:
    """The canonical form of a document's bytes (inclusive, with comments, prolog and epilog included)."""
    return canonical(etree.fromstring(content, safe_parser(len(content))).getroottree())


_NAMESPACE = re.compile(rb"""xmlns(?::[^\s=]+)?\s*=\s*("[^"]*"|'[^']*')""")


@lru_cache(maxsize=512)
def _absolute(quoted: bytes) -> bool:
    """True when libxml2 canonicalises this namespace name (with its quotes): Canonical XML refuses relative URIs."""
    try:
        canonical(etree.fromstring(b"<a xmlns=" + quoted + b"/>", safe_parser()).getroottree())
    except etree.LxmlError:
        return False
    return True


def signable(content: bytes) -> bool:
    """True when the document has a canonical form. Cheap for an ordinary one: only its namespace names are looked at,
    the whole is canonicalised when one of them is odd (it may stand in a text) or when the encoding hides them."""
    if b"\0" not in content[:64] and all(_absolute(m[1]) for m in _NAMESPACE.finditer(content)):
        return True
    try:
        canonical_document(content)
    except etree.LxmlError:
        return False
    return True


def _reference(parent: etree._Element, kind: Digest, value: str, **attributes: str) -> None:
    made = etree.SubElement(parent, f"{{{DS}}}Reference", attributes)
    etree.SubElement(made, f"{{{DS}}}DigestMethod", Algorithm=DIGEST_METHOD[kind])
    etree.SubElement(made, f"{{{DS}}}DigestValue").text = value


def _manifest(
    root: etree._Element, lot_uid: str, documents: Sequence[tuple[str, bytes]], kind: Digest
) -> etree._Element:
    holder = etree.SubElement(root, f"{{{DS}}}Object")
    made = etree.SubElement(holder, f"{{{DS}}}Manifest", Id="IHEManifest")
    _reference(made, kind, _ANY_DIGEST, URI=f"urn:oid:{lot_uid}")
    for uid, content in documents:
        one = etree.SubElement(made, f"{{{DS}}}Reference", URI=f"urn:oid:{uid}")
        transforms = etree.SubElement(one, f"{{{DS}}}Transforms")
        etree.SubElement(transforms, f"{{{DS}}}Transform", Algorithm=C14N_WITH_COMMENTS)
        etree.SubElement(one, f"{{{DS}}}DigestMethod", Algorithm=DIGEST_METHOD[kind])
        etree.SubElement(one, f"{{{DS}}}DigestValue").text = digest(canonical_document(content), kind)
    return made


def _properties(
    root: etree._Element, signature_id: str, identity: SigningIdentity, now: datetime
) -> etree._Element:
    """SignedProperties: signing time, certificates, implied policy."""

    def x(parent: etree._Element, tag: str, text: str | None = None, **attributes: str) -> etree._Element:
        made = etree.SubElement(parent, f"{{{XADES}}}{tag}", attributes)
        made.text = text
        return made

    holder = etree.SubElement(root, f"{{{DS}}}Object")
    qualifying = etree.SubElement(
        holder, f"{{{XADES}}}QualifyingProperties", Target=f"#{signature_id}", nsmap=default_namespace(XADES)
    )
    signed = x(qualifying, "SignedProperties", Id="S0-SignedProperties")
    inner = x(signed, "SignedSignatureProperties")
    instant = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    x(inner, "SigningTime", instant)
    certificates = x(inner, "SigningCertificate")
    for certificate in identity.chain:
        one = x(certificates, "Cert")
        sum_ = x(one, "CertDigest")
        x(sum_, "DigestMethod", Algorithm=DIGEST_METHOD["sha1"])
        x(sum_, "DigestValue", sha1_base64(certificate))
        serial = x(one, "IssuerSerial")
        for tag, text in (
            ("X509IssuerName", certificate.issuer.rfc4514_string()),
            ("X509SerialNumber", str(certificate.serial_number)),
        ):
            etree.SubElement(serial, f"{{{DS}}}{tag}", nsmap={"ds": DS}).text = text
    x(x(inner, "SignaturePolicyIdentifier"), "SignaturePolicyImplied")
    return signed


def sign_lot(
    lot_uid: str,
    documents: Sequence[tuple[str, bytes]],
    identity: SigningIdentity,
    *,
    kind: Digest,
    now: datetime,
    identifier: UUID,
) -> bytes:
    """The signature document of a lot.

    `documents`: (uniqueId, exact bytes sent). `kind`: digest and signature algorithm. Result: XML bytes,
    UTF-8.
    """
    signature_id = f"S{identifier}"
    root = etree.Element(f"{{{DS}}}Signature", Id=signature_id, nsmap=default_namespace(DS))
    info = etree.SubElement(root, f"{{{DS}}}SignedInfo")
    etree.SubElement(info, f"{{{DS}}}CanonicalizationMethod", Algorithm=C14N_WITH_COMMENTS)
    etree.SubElement(info, f"{{{DS}}}SignatureMethod", Algorithm=SIGNATURE_METHOD[kind])
    value = etree.SubElement(root, f"{{{DS}}}SignatureValue")
    data = etree.SubElement(etree.SubElement(root, f"{{{DS}}}KeyInfo"), f"{{{DS}}}X509Data")
    etree.SubElement(data, f"{{{DS}}}X509Certificate").text = identity.leaf_base64
    manifest = _manifest(root, lot_uid, documents, kind)
    holder = etree.SubElement(root, f"{{{DS}}}Object")
    properties = etree.SubElement(holder, f"{{{DS}}}SignatureProperties")
    etree.SubElement(
        properties, f"{{{DS}}}SignatureProperty", Id="purposeOfSignature", Target=f"#{signature_id}"
    ).text = SOURCE_SIGNATURE
    signed = _properties(root, signature_id, identity, now)
    _reference(info, kind, digest(canonical(manifest), kind), Type=DS + "Manifest", URI="#IHEManifest")
    _reference(
        info,
        kind,
        digest(canonical(signed), kind),
        Type=XADES + "SignedProperties",
        URI="#S0-SignedProperties",
    )
    value.text = rsa_sign(identity.key, canonical(info), kind)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=False)


def signature_entry(
    document: DocumentEntry, unique_id: str, size: int, sha1: str, now_utc: str
) -> DocumentEntry:
    """The DocumentEntry of the signature (spec/dmp.md §3.9): same patient, authors and places as the
    document.

    Hidden from everyone (MASQUE_PS, INVISIBLE_PATIENT): it is technical.
    """
    scheme = "1.2.250.1.213.1.1.4.13"
    return DocumentEntry(
        unique_id=unique_id,
        mime_type="text/xml",
        creation_time=now_utc,
        title="Source",
        language="art",
        class_code=XdsCode("urn:oid:1.3.6.1.4.1.19376.1.2.1.1.1", "URN", "Digital Signature"),
        type_code=XdsCode("E1762", "ASTM", "Full Document"),
        format_code=XdsCode("http://www.w3.org/2000/09/xmldsig#", "URN", "Default Signature Style"),
        facility=document.facility,
        practice=document.practice,
        confidentiality=(
            XdsCode("N", "2.16.840.1.113883.5.25", "Normal"),
            XdsCode("MASQUE_PS", scheme, "Masqué aux professionnels de santé"),
            XdsCode("INVISIBLE_PATIENT", scheme, "Non visible par le patient"),
        ),
        patient_id=document.patient_id,
        source_patient_id=document.source_patient_id,
        source_patient_info=(),
        authors=document.authors,
        legal_authenticator=document.legal_authenticator,
        service_start=document.service_start,
        service_stop=document.service_stop,
        event_codes=(XdsCode(SOURCE_SIGNATURE, "1.2.840.10065.1.12", "Source"),),
        size=size,
        sha1=sha1,
    )
