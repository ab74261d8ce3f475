"""The requests of the connector, built for one attempt: ITI-41, ITI-18, ITI-43, ITI-57, and TD0.2.

Purpose: from a plan (and the document's bytes) to the chunks that go on the wire. Pure but for fresh
identifiers: each attempt has a new MessageID, a new lot uniqueId, a new VIHF and a new XAdES; the document's
uniqueId is constant.
Guarantee: hash, size and XAdES digest are of exactly the bytes sent.
Fails: `etree.XMLSyntaxError` when the document is not XML.
Source: spec/dmp.md §1.6, §3.7, §3.8, §4.1, §4.4, §5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import uuid4

from lxml import etree

from connectors.dmp import existence, mtom, soap
from connectors.dmp.certificates import SigningIdentity
from connectors.dmp.plan import Plan
from connectors.dmp.responses import EXISTENCE, QUERIED, REGISTERED, RETRIEVED
from connectors.dmp.settings import DmpSettings, Software
from connectors.dmp.vihf import VihfSubject, signed_vihf
from connectors.dmp.xades import sign_lot, signature_entry
from connectors.xds import ebrim, queries
from connectors.xds.formats import utc_now
from connectors.xds.mapping import sha1_of
from connectors.xds.model import SubmissionSet, XdsCode
from connectors.xds.oid import new_oid
from connectors.xds.queries import StoredQuery
from connectors.xds.updates import metadata_update
from gateway.errors import GatewayBug

_REPLIES: Final = {
    soap.PROVIDE_AND_REGISTER: REGISTERED,
    soap.UPDATE_DOCUMENT_SET: REGISTERED,
    soap.STORED_QUERY: QUERIED,
    soap.RETRIEVE: RETRIEVED,
    soap.FIND_CANDIDATES: EXISTENCE,
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request ready to be sent."""

    url: str
    message_id: str
    content_type: str
    chunks: tuple[bytes, ...]
    length: int
    limit: int
    """Bytes of the reply that may be read."""
    reply: str
    """Tag of the body that accepts the request."""
    lot_uid: str = ""


class RequestBuilder:
    """Builds requests for one establishment. Safe to use from several threads (holds nothing that
    changes).
    """

    def __init__(self, settings: DmpSettings, identity: SigningIdentity, version: str) -> None:
        self._settings = settings
        self._identity = identity
        own = settings.software
        self._software: Software = own if own.version else own.model_copy(update={"version": version})

    def submit(self, plan: Plan, content: bytes, replaced: str | None, now: datetime) -> Request:
        """TD2.1a, or TD2.1b when `replaced` is the entryUUID of the version replaced."""
        if plan.entry is None:
            raise GatewayBug("a submission without its DocumentEntry")
        kind = self._settings.xades_digest
        lot = self._lot(plan.lot, now)
        documents = ((plan.unique_id, content),)
        signature = sign_lot(lot.unique_id, documents, self._identity, kind=kind, now=now, identifier=uuid4())
        entry = replace(plan.entry, size=len(content), sha1=sha1_of(content))
        signed = signature_entry(entry, new_oid(), len(signature), sha1_of(signature), utc_now(now))
        body = ebrim.provide_and_register(
            ebrim.submit_objects(lot, [ebrim.Member(entry, replaces=replaced)], signature=signed),
            (("Document01", "document01@segur-gateway"), ("Signature01", "signature01@segur-gateway")),
        )
        url, action = self._settings.repository_url, soap.PROVIDE_AND_REGISTER
        message_id, message = self._message(action, url, plan.subject, body, now)
        package = mtom.encode(
            action,
            message,
            (
                mtom.Part("document01@segur-gateway", entry.mime_type, content),
                mtom.Part("signature01@segur-gateway", "text/xml", signature),
            ),
            uuid4(),
        )
        limit = self._settings.max_reply_size
        return Request(
            url,
            message_id,
            package.content_type,
            package.chunks,
            package.length,
            limit,
            _REPLIES[action],
            lot.unique_id,
        )

    def find(self, subject: VihfSubject, unique_id: str, now: datetime) -> Request:
        """TD3.1b: the references of one uniqueId."""
        return self.query(subject, queries.get_documents((unique_id,), leaf=False), now)

    def query(self, subject: VihfSubject, wanted: StoredQuery, now: datetime) -> Request:
        """ITI-18: one stored query."""
        body = ebrim.stored_query(wanted.id, wanted.parameters, return_type=wanted.return_type)
        return self._plain(soap.STORED_QUERY, self._settings.registry_url, subject, body, now)

    def retrieve(self, subject: VihfSubject, repository: str, unique_id: str, now: datetime) -> Request:
        """TD3.2: one document."""
        body = ebrim.retrieve(repository, (unique_id,))
        made = self._plain(soap.RETRIEVE, self._settings.repository_url, subject, body, now)
        return replace(made, limit=self._settings.max_retrieved_size)

    def exists(
        self, subject: VihfSubject, patient: tuple[str, str], processing: str, now: datetime
    ) -> Request:
        """TD0.2: `patient` is (INS OID, matricule); `processing` P, T or D."""
        own = self._settings
        body = existence.question(patient, own.instance_oid, own.software.name, processing, now, uuid4())
        return self._plain(soap.FIND_CANDIDATES, own.patients_url, subject, body, now)

    def status(
        self,
        subject: VihfSubject,
        lot: SubmissionSet,
        entry_uuid: str,
        original: str,
        new: str,
        now: datetime,
    ) -> Request:
        """TD3.3c (Deleted), TD3.3d (Archived, Approved): the status of one entryUUID."""
        fresh = self._lot(lot, now)
        body = ebrim.status_update(fresh, entry_uuid, original=original, new=new)
        return self._update(subject, body, fresh.unique_id, now)

    def confidentiality(
        self,
        subject: VihfSubject,
        lot: SubmissionSet,
        stored: etree._Element,
        codes: tuple[XdsCode, ...],
        now: datetime,
    ) -> Request:
        """TD3.3a, TD3.3b: all the confidentiality codes of one stored document."""
        fresh = self._lot(lot, now)
        return self._update(subject, metadata_update(fresh, stored, codes), fresh.unique_id, now)

    def _update(self, subject: VihfSubject, body: etree._Element, lot_uid: str, now: datetime) -> Request:
        made = self._plain(soap.UPDATE_DOCUMENT_SET, self._settings.registry_url, subject, body, now)
        return replace(made, lot_uid=lot_uid)

    def _lot(self, lot: SubmissionSet, now: datetime) -> SubmissionSet:
        """The lot of this attempt."""
        return replace(lot, unique_id=new_oid(), submission_time=utc_now(now))

    def _plain(
        self, action: str, url: str, subject: VihfSubject, body: etree._Element, now: datetime
    ) -> Request:
        message_id, message = self._message(action, url, subject, body, now)
        limit = self._settings.max_reply_size
        return Request(
            url, message_id, soap.content_type(action), (message,), len(message), limit, _REPLIES[action]
        )

    def _message(
        self, action: str, url: str, subject: VihfSubject, body: etree._Element, now: datetime
    ) -> tuple[str, bytes]:
        message_id = f"urn:uuid:{uuid4()}"
        assertion = signed_vihf(subject, self._settings.vihf, self._software, self._identity, now, uuid4())
        return message_id, soap.envelope(action, url, message_id, assertion, body)
