"""What the simulated DMP says: registry responses, query responses, SOAP faults.

Purpose: build answers as the DMP does (multipart on the repository, plain SOAP on the registry). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4
from xml.sax.saxutils import escape, quoteattr

from connectors.dmp import mtom
from connectors.dmp.soap import ANONYMOUS, RESPONSE_ACTION, SOAP, WSA
from connectors.xds.ebrim import QUERY, RIM, RS

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


def registry_response(
    errors: Sequence[tuple[str, str]] = (), *, status: str = "", severity: str = "Error"
) -> str:
    """`rs:RegistryResponse`: Success, or Failure with errors (code, words)."""
    status = status or ("Failure" if errors else "Success")
    name = "urn:ihe:iti:2007:ResponseStatusType:" if status == "PartialSuccess" else _STATUS
    listed = "".join(
        f"<rs:RegistryError errorCode={quoteattr(code)} codeContext={quoteattr(words)}"
        f' severity="{_SEVERITY}{severity}" location=""/>'
        for code, words in errors
    )
    inside = f'<rs:RegistryErrorList highestSeverity="{_SEVERITY}{severity}">{listed}</rs:RegistryErrorList>'
    content = inside if errors else ""
    return f'<rs:RegistryResponse xmlns:rs="{RS}" status="{name}{status}">{content}</rs:RegistryResponse>'


def query_response(references: Sequence[str]) -> str:
    """`query:AdhocQueryResponse` with ObjectRef."""
    listed = "".join(f"<rim:ObjectRef id={quoteattr(r)}/>" for r in references)
    return (
        f'<query:AdhocQueryResponse xmlns:query="{QUERY}" xmlns:rim="{RIM}" status="{_STATUS}Success"'
        f' totalResultCount="{len(references)}"><rim:RegistryObjectList>{listed}</rim:RegistryObjectList>'
        "</query:AdhocQueryResponse>"
    )


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


def answer(body: str, action: str, relates_to: str, *, multipart: bool, status: int = 200) -> Answer:
    """The whole HTTP answer to `action`."""
    response = RESPONSE_ACTION.get(action, f"{WSA}/fault")
    relates = f"<wsa:RelatesTo>{escape(relates_to)}</wsa:RelatesTo>" if relates_to else ""
    envelope = (
        f'<soap:Envelope xmlns:soap="{SOAP}" xmlns:wsa="{WSA}"><soap:Header>'
        f"<wsa:Action>{response}</wsa:Action><wsa:MessageID>urn:uuid:{uuid4()}</wsa:MessageID>"
        f"<wsa:To>{ANONYMOUS}</wsa:To>{relates}</soap:Header><soap:Body>{body}</soap:Body></soap:Envelope>"
    ).encode()
    if not multipart:
        return Answer(status, "application/soap+xml; charset=UTF-8", envelope)
    package = mtom.encode(response, envelope, (), uuid4())
    return Answer(status, package.content_type, b"".join(package.chunks))
