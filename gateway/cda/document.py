"""Document: a CDA R2 document as the gateway sees it, bytes and header.

Purpose: the one shape that version rules, coherence checks, XDS mapping and mails read; nobody else reads
the XML header. Pure data. Built by `gateway.cda.header.read_header`.
Source: CI-SIS volet Structuration minimale (spec/cda.md §4), mapping tables of spec/dmp.md §3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.hl7.transmission import Code, InstanceId


@dataclass(frozen=True, slots=True)
class PersonName:
    """A CDA person name: the first family and given by qualifier (BR birth, CL/SP used)."""

    family: str = ""
    given: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class CdaOrganisation:
    """representedOrganization, custodian… `ids` in document order."""

    ids: tuple[InstanceId, ...] = ()
    name: str = ""
    industry: Code | None = None
    """standardIndustryClassCode."""


@dataclass(frozen=True, slots=True)
class CdaPatient:
    """recordTarget/patientRole."""

    ids: tuple[InstanceId, ...]
    birth_family: str = ""
    birth_given: str = ""
    """given[@qualifier='BR'], else the first given."""
    given_all: str = ""
    """All given names without qualifier, as one string."""
    used_family: str = ""
    used_given: str = ""
    birth_time: str = ""
    gender: str = ""
    birthplace_code: str = ""
    """birthplace/place/addr/county: the INSEE code."""

    @property
    def ins(self) -> InstanceId | None:
        """The national identity, or None."""
        from gateway.hl7.transmission import INS_OIDS

        return next((i for i in self.ids if i.root in INS_OIDS), None)


@dataclass(frozen=True, slots=True)
class CdaAuthor:
    """One author."""

    ids: tuple[InstanceId, ...]
    time: str = ""
    code: Code | None = None
    """assignedAuthor/code (JDV_J01): authorSpecialty."""
    function: Code | None = None
    """author/functionCode (JDV_J47): authorRole."""
    person: PersonName | None = None
    device_name: str = ""
    """assignedAuthoringDevice/softwareName."""
    device_model: str = ""
    """assignedAuthoringDevice/manufacturerModelName."""
    organisation: CdaOrganisation | None = None


@dataclass(frozen=True, slots=True)
class CdaSigner:
    """legalAuthenticator/assignedEntity."""

    ids: tuple[InstanceId, ...]
    time: str = ""
    person: PersonName | None = None
    organisation: CdaOrganisation | None = None


@dataclass(frozen=True, slots=True)
class ServiceEvent:
    """documentationOf/serviceEvent. The *principal* one is the first with a performer."""

    code: Code | None = None
    translations: tuple[Code, ...] = ()
    """code/translation: for imaging the CCAM act, the modality, the anatomical region."""
    low: str = ""
    high: str = ""
    has_performer: bool = False
    performer_organisation: CdaOrganisation | None = None


@dataclass(frozen=True, slots=True)
class RelatedDocument:
    """relatedDocument: typeCode and the parent's identifiers."""

    type_code: str
    parent_id: InstanceId | None
    parent_set_id: InstanceId | None = None
    parent_version: int | None = None


@dataclass(frozen=True, slots=True)
class CdaBody:
    """What the body is: `nonXML` (N1) or `structured` (N3), or `none`."""

    kind: str
    media_type: str = ""
    representation: str = ""
    text_length: int = 0
    """Length of nonXMLBody/text in characters."""
    has_pdf_copy: bool = False
    """N3: section "Copie du document" with a PDF observationMedia."""


@dataclass(frozen=True, slots=True)
class CdaHeader:
    """The header of a CDA. Missing parts are None or empty: `rules.py` says what is required."""

    id: InstanceId | None
    set_id: InstanceId | None
    version: int | None
    """versionNumber when it is an integer."""
    code: Code | None
    """`system` is the OID of codeSystem."""
    title: str
    effective_time: str
    confidentiality: Code | None
    language: str
    template_ids: tuple[InstanceId, ...]
    patient: CdaPatient | None
    authors: tuple[CdaAuthor, ...]
    custodian: CdaOrganisation | None
    legal_authenticator: CdaSigner | None
    related: tuple[RelatedDocument, ...]
    events: tuple[ServiceEvent, ...]
    facility: Code | None
    """componentOf/encompassingEncounter/location/healthCareFacility/code."""
    order_ids: tuple[InstanceId, ...]
    """inFulfillmentOf/order/id."""
    accession_ids: tuple[InstanceId, ...]
    """inFulfillmentOf/order/ps3-20:accessionNumber."""
    body: CdaBody
    self_presenting: bool = False
    """The ClinicalDocument stands inside an xsl:stylesheet."""
    has_stylesheet_pi: bool = False
    """An xml-stylesheet processing instruction stands before the root (a separate style sheet)."""

    @property
    def replaced_id(self) -> InstanceId | None:
        """Parent of the relatedDocument of type RPLC, or None."""
        return next((r.parent_id for r in self.related if r.type_code == "RPLC"), None)

    @property
    def principal_event(self) -> ServiceEvent | None:
        """The first serviceEvent with a performer (spec/dmp.md §3.3)."""
        return next((e for e in self.events if e.has_performer), None)

    @property
    def author_organisations(self) -> frozenset[str]:
        """Extensions of every author's representedOrganization/id (FINESS, SIRET…)."""
        return frozenset(
            i.extension
            for a in self.authors
            if a.organisation is not None
            for i in a.organisation.ids
            if i.extension
        )


@dataclass(frozen=True, slots=True)
class Document:
    """A document of a transmission: header and the exact bytes that were sent. Immutable, named by its
    SHA-256.
    """

    header: CdaHeader
    content: bytes
    sha256: str
    """Lower-case hex of `content`."""
    part: int = 0
    """Index of its DocumentPart in the transmission."""

    @property
    def uid(self) -> str:
        """`root` or `root^extension` of the CDA id; empty when there is none."""
        return str(self.header.id) if self.header.id else ""
