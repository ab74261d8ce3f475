"""The three requests of the connector, built for one attempt: ITI-41, ITI-18, ITI-57.

Purpose: from a plan (and the document's bytes) to the chunks that go on the wire. Pure but for fresh
identifiers: each attempt has a new MessageID, a new lot uniqueId, a new VIHF and a new XAdES; the document's
uniqueId is constant.
Guarantee: hash, size and XAdES digest are of exactly the bytes sent.
Fails: `etree.XMLSyntaxError` when the document is not XML.
Source: spec/dmp.md §3.7, §3.8, §4.1, §4.4, §5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

from lxml import etree

from connectors.dmp import mtom, soap
from connectors.dmp.certificates import SigningIdentity
from connectors.dmp.plan import Plan
from connectors.dmp.settings import DmpSettings, Software
from connectors.dmp.vihf import VihfSubject, signed_vihf
from connectors.dmp.xades import sign_lot, signature_entry
from connectors.xds import ebrim
from connectors.xds.formats import utc_now
from connectors.xds.mapping import sha1_of
from connectors.xds.model import SubmissionSet
from connectors.xds.oid import new_oid
from gateway.errors import GatewayBug


@dataclass(frozen=True, slots=True)
class Request:
    """One request ready to be sent."""

    url: str
    message_id: str
    content_type: str
    chunks: tuple[bytes, ...]
    length: int
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
        lot = self._lot(plan, now)
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
        return Request(url, message_id, package.content_type, package.chunks, package.length, lot.unique_id)

    def find(self, plan: Plan, unique_id: str, now: datetime) -> Request:
        """TD3.1b: the references of one uniqueId."""
        body = ebrim.get_documents((unique_id,))
        return self._plain(soap.STORED_QUERY, plan.subject, body, now)

    def delete(self, plan: Plan, entry_uuid: str, now: datetime) -> Request:
        """TD3.3c: status Deleted for one entryUUID."""
        lot = self._lot(plan, now)
        body = ebrim.status_update(lot, entry_uuid)
        return self._plain(soap.UPDATE_DOCUMENT_SET, plan.subject, body, now, lot.unique_id)

    def _lot(self, plan: Plan, now: datetime) -> SubmissionSet:
        return replace(plan.lot, unique_id=new_oid(), submission_time=utc_now(now))

    def _plain(
        self, action: str, subject: VihfSubject, body: etree._Element, now: datetime, lot_uid: str = ""
    ) -> Request:
        url = self._settings.registry_url
        message_id, message = self._message(action, url, subject, body, now)
        return Request(url, message_id, soap.content_type(action), (message,), len(message), lot_uid)

    def _message(
        self, action: str, url: str, subject: VihfSubject, body: etree._Element, now: datetime
    ) -> tuple[str, bytes]:
        message_id = f"urn:uuid:{uuid4()}"
        assertion = signed_vihf(subject, self._settings.vihf, self._software, self._identity, now, uuid4())
        return message_id, soap.envelope(action, url, message_id, assertion, body)
