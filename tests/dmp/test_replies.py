"""Whatever the network brings, a reply is believed or it is a failure with a class: never an exception."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from connectors.dmp import existence
from connectors.dmp.existence import Existence
from connectors.dmp.responses import QUERIED, REGISTERED, Answer, Failure, load_codes, read_reply
from connectors.dmp.simulator.answers import answer, registry_response
from connectors.dmp.soap import PROVIDE_AND_REGISTER
from connectors.dmp.transport import HttpReply
from connectors.port import OutcomeClass
from connectors.xds import registry
from connectors.xds.ebrim import IHE, QUERY, RIM, RS

CODES = load_codes()
ID = "urn:uuid:0b0e0000-0000-4000-8000-000000000001"
GOOD = answer(registry_response(), PROVIDE_AND_REGISTER, ID, multipart=True)
TAGS = st.sampled_from(
    [f"{{{RS}}}RegistryResponse", f"{{{QUERY}}}AdhocQueryResponse", f"{{{IHE}}}RetrieveDocumentSetResponse"]
)


def believed(reply: HttpReply, *, writes: bool) -> Answer | Failure:
    made = read_reply(reply, ID, CODES, writes=writes)
    if isinstance(made, Failure):
        assert made.code and made.label
        assert writes or made.outcome is not OutcomeClass.UNCERTAIN
    return made


@given(
    at=st.integers(0, len(GOOD.body) - 1), byte=st.integers(0, 255), cut=st.booleans(), writes=st.booleans()
)
def test_a_damaged_reply(at: int, byte: int, cut: bool, writes: bool) -> None:
    """One byte changed, or the rest lost: success only when what matters is intact."""
    body = GOOD.body[:at] if cut else GOOD.body[:at] + bytes([byte]) + GOOD.body[at + 1 :]
    believed(HttpReply(200, GOOD.content_type, body), writes=writes)
    if cut and at < len(GOOD.body) - len(b"--\r\n"):
        lost = read_reply(HttpReply(200, GOOD.content_type, body), ID, CODES, writes=True)
        assert isinstance(lost, Failure) and lost.outcome is OutcomeClass.UNCERTAIN


@given(
    status=st.integers(100, 599),
    content_type=st.one_of(st.text(max_size=60), st.just('multipart/related; boundary="\u20ac"')),
    body=st.binary(max_size=300),
    writes=st.booleans(),
)
def test_anything_at_all(status: int, content_type: str, body: bytes, writes: bool) -> None:
    assert isinstance(believed(HttpReply(status, content_type, body), writes=writes), Failure)


NAMES = ("Slot", "Name", "Classification", "ExternalIdentifier", "VersionInfo", "ObjectRef", "Association")


@given(
    tag=TAGS,
    status=st.sampled_from(["Success", "Failure", "PartialSuccess", "", "x"]),
    objects=st.lists(
        st.tuples(
            st.sampled_from(["ExtrinsicObject", "RegistryPackage", "Association", "ObjectRef"]),
            st.lists(st.sampled_from(NAMES), max_size=5),
            st.sampled_from(["", "12", "-1", "x", "9" * 30]),
        ),
        max_size=4,
    ),
)
def test_odd_objects_of_a_registry(tag: str, status: str, objects: list[tuple[str, list[str], str]]) -> None:
    """Missing attributes, empty slots, sizes that are none."""
    root = etree.Element(tag, status=f"urn:x:{status}")
    listed = etree.SubElement(root, f"{{{RIM}}}RegistryObjectList")
    for kind, children, value in objects:
        made = etree.SubElement(listed, f"{{{RIM}}}{kind}")
        for name in children:
            child = etree.SubElement(made, f"{{{RIM}}}{name}", name="size")
            values = etree.SubElement(child, f"{{{RIM}}}ValueList")
            etree.SubElement(values, f"{{{RIM}}}Value").text = value
    found = registry.read_objects(root)
    assert len(found.documents) == sum(kind == "ExtrinsicObject" for kind, _, _ in objects)
    body = answer(etree.tostring(root).decode(), PROVIDE_AND_REGISTER, ID, multipart=False)
    believed(HttpReply(200, body.content_type, body.body), writes=False)


V3 = existence.V3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", Failure(OutcomeClass.TRANSIENT, "UNKNOWN_BODY", "Réponse du DMP de forme inconnue.")),
        (
            '<controlActProcess><queryAck><queryResponseCode code="NF"/></queryAck></controlActProcess>',
            Existence(False),
        ),
        (
            '<acknowledgement><typeCode code="AE"/><acknowledgementDetail><code code="DMPX"/><text> a  b </text>'
            "</acknowledgementDetail></acknowledgement>",
            Failure(OutcomeClass.PERMANENT, "DMPX", "a b"),
        ),
        (
            '<controlActProcess><subject><patient><statusCode code="active"/></patient></subject>'
            '<queryAck><queryResponseCode code="OK"/></queryAck></controlActProcess>'
            '<attentionLine><keyWordText code="AUTORISATION"/><value code="VALIDE"/></attentionLine>',
            Existence(True, "active", {"AUTORISATION": "VALIDE"}),
        ),
        # OK without a patient is no DMP
        (
            '<controlActProcess><queryAck><queryResponseCode code="OK"/></queryAck></controlActProcess>',
            Existence(False),
        ),
    ],
)
def test_existence_answers(body: str, expected: Existence | Failure) -> None:
    """TD0.2 (§1.6)."""
    root = etree.fromstring(f'<PRPA_IN201308UV02 xmlns="{V3}">{body}</PRPA_IN201308UV02>')
    assert existence.read(root) == expected


# --- a reply that does not say what the request asked ---------------------------------------------------------------

_SUCCESS = "urn:oasis:names:tc:ebxml-regrep:ResponseStatusType:Success"
_BUSY = (
    '<rs:RegistryErrorList><rs:RegistryError errorCode="XDSRegistryBusy" codeContext="" '
    'severity="urn:oasis:names:tc:ebxml-regrep:ErrorSeverityType:Error"/></rs:RegistryErrorList>'
)
_NO_DMP = (
    f'<PRPA_IN201308UV02 xmlns="{V3}"><acknowledgement><typeCode code="AE"/></acknowledgement>'
    "</PRPA_IN201308UV02>"
)


def _query(inside: str = "", **attributes: str) -> str:
    said = "".join(f' {name}="{value}"' for name, value in attributes.items())
    return (
        f'<query:AdhocQueryResponse xmlns:query="{QUERY}" xmlns:rim="{RIM}" xmlns:rs="{RS}" status="{_SUCCESS}"{said}>'
        f"{inside}</query:AdhocQueryResponse>"
    )


def _listed(objects: str) -> str:
    return f"<rim:RegistryObjectList>{objects}</rim:RegistryObjectList>"


def _believed_as(body: str, expected: str, *, writes: bool) -> Answer | Failure:
    made = answer(body, PROVIDE_AND_REGISTER, ID, multipart=False)
    reply = HttpReply(made.status, made.content_type, made.body)
    return read_reply(reply, ID, CODES, writes=writes, expected=expected)


@pytest.mark.parametrize("body", [_query(_listed("")), _NO_DMP])
def test_a_success_of_another_kind_is_no_publication(body: str) -> None:
    """ITI-41 and ITI-57 are answered by a RegistryResponse (§4.2): anything else leaves the outcome unknown."""
    made = _believed_as(body, REGISTERED, writes=True)
    assert isinstance(made, Failure)
    assert (made.outcome, made.code) == (OutcomeClass.UNCERTAIN, "UNKNOWN_BODY")


@pytest.mark.parametrize(
    "body",
    [
        registry_response(),
        _NO_DMP,
        _query(_listed("<rim:ObjectRef/>")),
        _query(_listed(""), totalResultCount="1"),
        _query(totalResultCount="2"),
    ],
)
def test_nothing_found_is_not_concluded_from_an_answer_that_does_not_say_it(body: str) -> None:
    """TD3.1b decides that a document is not in the DMP: a deletion told done, a document sent again."""
    made = _believed_as(body, QUERIED, writes=False)
    assert isinstance(made, Failure)
    assert made.outcome is OutcomeClass.TRANSIENT


def test_a_look_up_with_errors_beside_its_success_is_incomplete() -> None:
    made = _believed_as(_query(_BUSY + _listed("")), QUERIED, writes=False)
    assert isinstance(made, Answer)
    assert (made.partial, made.warnings) == (True, ("XDSRegistryBusy",))


def test_documents_given_whole_are_references_too_and_each_counts_once() -> None:
    """An entry given twice is no ambiguity; LeafClass in place of ObjectRef is no absence."""
    twice = '<rim:ObjectRef id="urn:uuid:1"/><rim:ObjectRef id="urn:uuid:1"/>'
    assert _believed_as(_query(_listed(twice)), QUERIED, writes=False) == Answer(("urn:uuid:1",))
    whole = _query(_listed('<rim:ExtrinsicObject id="urn:uuid:2"/>'), totalResultCount="1")
    assert _believed_as(whole, QUERIED, writes=False) == Answer(("urn:uuid:2",))


def test_a_refusal_may_come_without_the_query_s_own_envelope() -> None:
    made = _believed_as(registry_response([("DMPClosed", "DMP fermé")]), QUERIED, writes=False)
    assert isinstance(made, Failure)
    assert (made.outcome, made.code) == (OutcomeClass.PERMANENT, "DMPClosed")


@pytest.mark.parametrize(
    "body",
    [
        registry_response([("XDSRegistryMetadataError", "")], status="Success"),
        f'<rs:RegistryResponse xmlns:rs="{RS}"/>',
        f'<rs:RegistryResponse xmlns:rs="{RS}" status="{_SUCCESS.replace("Success", "Unavailable")}"/>',
    ],
)
def test_a_status_that_says_neither_yes_nor_no_is_read_back(body: str) -> None:
    """Success with errors, no status, a status of another protocol (§4.2)."""
    made = _believed_as(body, REGISTERED, writes=True)
    assert isinstance(made, Failure)
    assert made.outcome is OutcomeClass.UNCERTAIN
