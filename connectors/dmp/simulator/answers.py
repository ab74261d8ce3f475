"""What the simulated DMP says: registry responses, query responses, SOAP faults.

Purpose: build answers as the DMP does (multipart on the repository, plain SOAP on the registry). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from connectors.dmp import mtom
from connectors.dmp.simulator.operations import BY_ACTION
from connectors.dmp.soap import ANONYMOUS, SOAP, WSA
from connectors.xds.ebrim import IHE, QUERY, RIM, RS, XOP

_STATUS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:"
_SEVERITY = "urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:"


class Refusal(Exception):
    """A RegistryError answer. `args`: code, words."""

    def __init__(self, code: str, words: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.words = words


class SoapFault(Exception):
    """A SOAP fault. `sender` False: Receiver."""

    def __init__(self, subcode: str, words: str, *, sender: bool = True) -> None:
        super().__init__(subcode or words)
        self.subcode = subcode
        self.words = words
        self.sender = sender


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, Content-Type and bytes of an HTTP answer."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Error:
    """One RegistryError."""

    code: str
    words: str
    severity: str = "Error"


def _status_and_errors(errors: Sequence[Error], status: str) -> tuple[str, str]:
    """The status' URN and the RegistryErrorList ("" without errors)."""
    status = status or ("Failure" if errors else "Success")
    name = "urn:ihe:iti:2007:ResponseStatusType:" if status == "PartialSuccess" else _STATUS
    if not errors:
        return name + status, ""
    listed = "".join(
        f"<rs:RegistryError errorCode={quoteattr(e.code)} codeContext={quoteattr(e.words)}"
        f' severity="{_SEVERITY}{e.severity}" location=""/>'
        for e in errors
    )
    highest = "Error" if any(e.severity == "Error" for e in errors) else "Warning"
    return name + status, (
        f'<rs:RegistryErrorList highestSeverity="{_SEVERITY}{highest}">{listed}</rs:RegistryErrorList>'
    )


def registry_response(
    errors: Sequence[tuple[str, str]] = (), *, status: str = "", severity: str = "Error"
) -> str:
    """`rs:RegistryResponse`: Success, or Failure with errors (code, words)."""
    return _registry_response([Error(code, words, severity) for code, words in errors], status)


def _registry_response(errors: Sequence[Error], status: str) -> str:
    urn, listed = _status_and_errors(errors, status)
    return f'<rs:RegistryResponse xmlns:rs="{RS}" status="{urn}">{listed}</rs:RegistryResponse>'


def query_response(references: Sequence[str]) -> str:
    """`query:AdhocQueryResponse` with ObjectRef."""
    return _query_response([etree.Element(f"{{{RIM}}}ObjectRef", id=r) for r in references], (), "")


def _query_response(objects: Sequence[etree._Element], errors: Sequence[Error], status: str) -> str:
    urn, listed = _status_and_errors(errors, status)
    inside = "".join(etree.tostring(o, encoding="unicode") for o in objects)
    return (
        f'<query:AdhocQueryResponse xmlns:query="{QUERY}" xmlns:rim="{RIM}" xmlns:rs="{RS}" status="{urn}"'
        f' totalResultCount="{len(objects)}">{listed}<rim:RegistryObjectList>{inside}</rim:RegistryObjectList>'
        "</query:AdhocQueryResponse>"
    )


@dataclass(frozen=True, slots=True)
class Attachment:
    """One document of an ITI-43 answer."""

    repository: str
    unique_id: str
    mime_type: str
    content: bytes


def _content_id(number: int) -> str:
    """As Apache CXF names its parts; in the reference the part after @ is URL-encoded (§1.4)."""
    return f"sim-{number}@urn:ihe:iti:xds-b:2007"


def _retrieve_response(attachments: Sequence[Attachment], errors: Sequence[Error], status: str) -> str:
    listed = "".join(
        f"<ihe:DocumentResponse><ihe:RepositoryUniqueId>{escape(a.repository)}</ihe:RepositoryUniqueId>"
        f"<ihe:DocumentUniqueId>{escape(a.unique_id)}</ihe:DocumentUniqueId>"
        f"<ihe:mimeType>{escape(a.mime_type)}</ihe:mimeType><ihe:Document>"
        f'<xop:Include xmlns:xop="{XOP}" href="cid:{_content_id(n).replace(":", "%3A")}"/></ihe:Document>'
        "</ihe:DocumentResponse>"
        for n, a in enumerate(attachments, 1)
    )
    head = _registry_response(errors, status)
    return (
        f'<ihe:RetrieveDocumentSetResponse xmlns:ihe="{IHE}">{head}{listed}</ihe:RetrieveDocumentSetResponse>'
    )


@dataclass(slots=True)
class Result:
    """What a call gives, before it is written: a fault of the plan may still change status and errors."""

    operation: str
    objects: Sequence[etree._Element] = ()
    attachments: Sequence[Attachment] = ()
    errors: Sequence[Error] = ()
    status: str = ""
    """`Success`, `Failure`, `PartialSuccess`; "": by the errors."""
    text: str = ""
    """The whole body, for an answer that is not ebRS."""

    def body(self) -> str:
        """The child of soap:Body."""
        if self.text:
            return self.text
        if self.operation == "query":
            return _query_response(self.objects, self.errors, self.status)
        if self.operation == "retrieve":
            return _retrieve_response(self.attachments, self.errors, self.status)
        return _registry_response(self.errors, self.status)

    def parts(self) -> list[mtom.Part]:
        """The MTOM parts, named as `body` names them."""
        return [mtom.Part(_content_id(n), a.mime_type, a.content) for n, a in enumerate(self.attachments, 1)]


def fault_body(fault: SoapFault) -> str:
    """`soap:Fault` with the DMP's subcode."""
    subcode = (
        f"<soap:Subcode><soap:Value>soap:{escape(fault.subcode)}</soap:Value></soap:Subcode>"
        if fault.subcode
        else ""
    )
    return (
        f"<soap:Fault><soap:Code><soap:Value>soap:{'Sender' if fault.sender else 'Receiver'}</soap:Value>"
        f'{subcode}</soap:Code><soap:Reason><soap:Text xml:lang="fr">{escape(fault.words)}</soap:Text>'
        "</soap:Reason></soap:Fault>"
    )


def answer(
    body: str,
    action: str,
    relates_to: str,
    *,
    multipart: bool,
    status: int = 200,
    parts: Sequence[mtom.Part] = (),
) -> Answer:
    """The whole HTTP answer to `action`."""
    operation = BY_ACTION.get(action)
    response = operation.response if operation is not None and status == 200 else f"{WSA}/fault"
    relates = f"<wsa:RelatesTo>{escape(relates_to)}</wsa:RelatesTo>" if relates_to else ""
    envelope = (
        f'<soap:Envelope xmlns:soap="{SOAP}" xmlns:wsa="{WSA}"><soap:Header>'
        f"<wsa:Action>{response}</wsa:Action><wsa:MessageID>urn:uuid:{uuid4()}</wsa:MessageID>"
        f"<wsa:To>{ANONYMOUS}</wsa:To>{relates}</soap:Header><soap:Body>{body}</soap:Body></soap:Envelope>"
    ).encode()
    if not multipart:
        return Answer(status, "application/soap+xml; charset=UTF-8", envelope)
    package = mtom.encode(response, envelope, parts, uuid4())
    return Answer(status, package.content_type, b"".join(package.chunks))
