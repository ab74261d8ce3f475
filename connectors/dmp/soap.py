"""SOAP 1.2 envelopes with WS-Addressing, as the DMP wants them.

Purpose: wrap a body and a signed VIHF. Pure.
Guarantee: the VIHF's bytes are copied untouched (its signature holds); header order and `mustUnderstand` of
the samples.
Fails: never.
Source: CNAM samples, wsdl, spec/dmp.md §1.3.
"""

from __future__ import annotations

from typing import Final
from xml.sax.saxutils import escape

from lxml import etree

SOAP: Final = "http://www.w3.org/2003/05/soap-envelope"
WSA: Final = "http://www.w3.org/2005/08/addressing"
WSSE: Final = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd"
ANONYMOUS: Final = "http://www.w3.org/2005/08/addressing/anonymous"

PROVIDE_AND_REGISTER: Final = "urn:ihe:iti:2007:ProvideAndRegisterDocumentSet-b"
STORED_QUERY: Final = "urn:ihe:iti:2007:RegistryStoredQuery"
UPDATE_DOCUMENT_SET: Final = "urn:ihe:iti:2010:UpdateDocumentSet"
RETRIEVE: Final = "urn:ihe:iti:2007:RetrieveDocumentSet"
FIND_CANDIDATES: Final = "urn:hl7-org:v3:PRPA_IN201307UV02"
RESPONSE_ACTION: Final = {
    PROVIDE_AND_REGISTER: PROVIDE_AND_REGISTER + "Response",
    STORED_QUERY: STORED_QUERY + "Response",
    UPDATE_DOCUMENT_SET: UPDATE_DOCUMENT_SET + "-Response",
    RETRIEVE: RETRIEVE + "Response",
    FIND_CANDIDATES: "urn:hl7-org:v3:PRPA_IN201308UV02",
}


def envelope(action: str, to: str, message_id: str, assertion: bytes, body: etree._Element) -> bytes:
    """The request's bytes. `message_id`: `urn:uuid:…`; `assertion`: the signed VIHF."""
    head = (
        f'<soap:Envelope xmlns:soap="{SOAP}" xmlns:wsa="{WSA}"><soap:Header>'
        f"<wsa:MessageID>{escape(message_id)}</wsa:MessageID><wsa:To>{escape(to)}</wsa:To>"
        f'<wsa:ReplyTo soap:mustUnderstand="true"><wsa:Address>{ANONYMOUS}</wsa:Address></wsa:ReplyTo>'
        f'<wsa:Action soap:mustUnderstand="true">{escape(action)}</wsa:Action>'
        f'<wsse:Security xmlns:wsse="{WSSE}">'
    )
    tail = b"</soap:Body></soap:Envelope>"
    return b"".join(
        (
            head.encode(),
            assertion,
            b"</wsse:Security></soap:Header><soap:Body>",
            etree.tostring(body, encoding="UTF-8", xml_declaration=False),
            tail,
        )
    )


def content_type(action: str) -> str:
    """Content-Type of a request without attachment."""
    return f'application/soap+xml; charset=UTF-8; action="{action}"'
