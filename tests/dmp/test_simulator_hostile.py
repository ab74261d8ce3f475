"""What no client should send: the simulated DMP answers it all, in SOAP, and keeps nothing that is not whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from uuid import uuid4

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from connectors.dmp import mtom, soap
from connectors.dmp.simulator import DmpSimulator
from connectors.dmp.simulator.operations import OPERATIONS
from connectors.dmp.simulator.pki import Pki
from connectors.dmp.simulator.queries import literals
from connectors.dmp.simulator.receiving import receive
from connectors.xds import ebrim
from tests.dmp.simulator_client import Client, document, stored_query

ACTIONS = {o.name: (o.action, o.routes[0]) for o in OPERATIONS}
V1 = "2.25.401"
WORDS = (
    "",
    "x",
    "\u0663",
    "-1",
    "9" * 400,
    "urn:uuid:1",
    "('a'",
    "1.2.3",
    V1,
    "Document01",
    "SubmissionSet01",
)


class Pieces:
    """Requests and the service, without sockets."""

    def __init__(self, pki: Pki) -> None:
        self.simulator = DmpSimulator(pki.directory.parent)
        self.client = Client(self.simulator)
        self.peer = x509.load_pem_x509_certificate(pki.certificate("auth").read_bytes())

    def call(self, name: str, body: etree._Element, parts: list[mtom.Part], assertion: bytes) -> str:
        """Status of the answer; it must be SOAP."""
        action, route = ACTIONS[name]
        raw = soap.envelope(action, "", uuid4().urn, assertion, body)
        content_type = soap.content_type(action)
        if parts:
            package = mtom.encode(action, raw, parts, uuid4())
            raw, content_type = b"".join(package.chunks), package.content_type
        return self.raw(route, content_type, raw)

    def raw(self, route: str, content_type: str, raw: bytes) -> str:
        made, result = self.simulator._service.run(receive(route, content_type, raw), self.peer, None)
        envelope = etree.fromstring(mtom.decode(made.content_type, made.body)[0])
        assert envelope.tag == f"{{{soap.SOAP}}}Envelope"
        return result

    def publish(self) -> None:
        body, parts = self.client.submission(V1, document(V1))
        assert self.call("submit", body, parts, self.client.vihf()) == "Success"


def mutate(root: etree._Element, dice: random.Random) -> None:
    """One to three changes somewhere in a tree: lost, doubled, renamed or rewritten."""
    for _ in range(dice.randint(1, 3)):
        elements = [e for e in root.iter(tag=etree.Element) if e is not root]
        if not elements:
            return
        found = dice.choice(elements)
        parent = found.getparent()
        assert parent is not None
        match dice.randrange(6):
            case 0:
                parent.remove(found)
            case 1:
                parent.append(etree.fromstring(etree.tostring(found)))
            case 2:
                found.text = dice.choice(WORDS)
            case 3 if found.attrib:
                found.set(dice.choice(sorted(found.attrib)), dice.choice(WORDS))
            case 4 if found.attrib:
                del found.attrib[dice.choice(sorted(found.attrib))]
            case _:
                found.tag = dice.choice([e.tag for e in elements])


@pytest.mark.parametrize("name", ["submit", "update-status", "update-metadata", "query", "retrieve", "exist"])
def test_mutated_requests_are_answered(pki: Pki, name: str) -> None:
    """The body is not signed: whatever it says must be read, checked and answered. Fixed seeds."""
    pieces = Pieces(pki)
    pieces.publish()
    kept = pieces.simulator.documents[V1]
    content, client = kept.content, pieces.client
    indirect, air = client.vihf(), client.air()
    make: dict[str, Callable[[], tuple[str, etree._Element, list[mtom.Part], bytes]]] = {
        "submit": lambda: ("submit", *client.submission("2.25.402", document("2.25.402")), indirect),
        "update-status": lambda: ("update", ebrim.status_update(client.lot(), kept.entry_uuid), [], indirect),
        "update-metadata": lambda: ("update", metadata_update(), [], air),
        "query": lambda: (
            "query",
            stored_query(
                "bab9529a-4a10-40b3-a01f-f68a615d247a",
                ("$XDSDocumentEntryUniqueId", f"('{V1}')"),
                kind="LeafClass",
            ),
            [],
            air,
        ),
        "retrieve": lambda: ("retrieve", retrieval(), [], air),
        "exist": lambda: ("exist", etree.fromstring("<a xmlns='urn:hl7-org:v3'><b/></a>"), [], indirect),
    }

    def metadata_update() -> etree._Element:
        body = ebrim.status_update(client.lot(), kept.entry_uuid)
        leaf = kept.leaf()
        leaf.set("id", "Document01")
        body[0].append(leaf)
        body[0].remove(body[0][1])
        return body

    def retrieval() -> etree._Element:
        return etree.fromstring(
            f'<i:RetrieveDocumentSetRequest xmlns:i="{ebrim.IHE}"><i:DocumentRequest><i:RepositoryUniqueId>'
            f"1.2.250.1.213.4.1.1.1.2</i:RepositoryUniqueId><i:DocumentUniqueId>{V1}</i:DocumentUniqueId>"
            "</i:DocumentRequest></i:RetrieveDocumentSetRequest>"
        )

    results = set()
    for seed in range(120):
        operation, body, parts, assertion = make[name]()
        mutate(body, random.Random(seed))
        results.add(pieces.call(operation, body, parts, assertion))
    assert len(results) > 1 or name == "exist", results
    assert kept.content == content
    for entry in pieces.simulator.documents.values():
        assert entry.content == document(entry.unique_id)


@pytest.mark.parametrize("part", ["assertion", "envelope", "signature"])
def test_mutated_headers_and_signatures_are_answered(pki: Pki, part: str) -> None:
    """VIHF, addressing, XAdES: signed or not, they are read before they are believed. Fixed seeds."""
    pieces = Pieces(pki)
    assertion = pieces.client.vihf()
    results = set()
    for seed in range(150):
        dice = random.Random(seed)
        body, parts = pieces.client.submission(f"2.25.5{seed}", document(f"2.25.5{seed}"))
        action, route = ACTIONS["submit"]
        vihf = etree.fromstring(assertion)
        if part == "assertion":
            mutate(vihf, dice)
        if part == "signature":
            xades = etree.fromstring(parts[1].content)
            mutate(xades, dice)
            parts[1] = mtom.Part("s1@t", "text/xml", etree.tostring(xades))
            for name in ("hash", "size"):
                for slot in body.findall(f".//{{{ebrim.RIM}}}Slot[@name='{name}']"):
                    slot.getparent().remove(slot)  # type: ignore[union-attr]
        envelope = etree.fromstring(soap.envelope(action, "", uuid4().urn, etree.tostring(vihf), body))
        if part == "envelope":
            mutate(envelope, dice)
        package = mtom.encode(action, etree.tostring(envelope), parts, uuid4())
        results.add(pieces.raw(route, package.content_type, b"".join(package.chunks)))
    assert len(results) > 1, results


@given(
    st.binary(max_size=300),
    st.sampled_from(["", "text/xml", "multipart/related; boundary=x", "multipart/;="]),
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_received(body: bytes, content_type: str) -> None:
    assert receive("registry", content_type, body).problem is not None


@given(st.lists(st.text(), min_size=1))
def test_literals_are_read_as_they_were_written(values: list[str]) -> None:
    """§5: quotes doubled."""
    quoted = ",".join("'" + v.replace("'", "''") + "'" for v in values)
    assert literals(f"({quoted})") == tuple(values)


@given(st.text(max_size=40))
def test_any_text_is_a_literal_or_a_value_error(text: str) -> None:
    try:
        literals(text)
    except ValueError:
        pass


def test_a_signed_copy_beside_another_assertion_is_not_believed(pki: Pki) -> None:
    """Signature wrapping: what is read is what was signed."""
    pieces = Pieces(pki)
    good = etree.fromstring(pieces.client.vihf())
    fake = etree.fromstring(etree.tostring(good))
    fake.set("ID", "_other")
    name = fake.find(".//{*}Attribute[@Name='Identifiant_Structure']/{*}AttributeValue")
    assert name is not None
    name.text = "1750000999"
    signature = fake.find("{http://www.w3.org/2000/09/xmldsig#}Signature")
    assert signature is not None
    etree.SubElement(signature, "{http://www.w3.org/2000/09/xmldsig#}Object").append(good)
    body, parts = pieces.client.submission(V1, document(V1))
    assert pieces.call("submit", body, parts, etree.tostring(fake)) in ("FailedCheck", "InvalidSecurity")
    assert not pieces.simulator.documents


def test_one_message_at_a_time_or_many_one_document(pki: Pki) -> None:
    """The same uniqueId from many threads at once: one is kept, the others are told."""
    from concurrent.futures import ThreadPoolExecutor

    pieces = Pieces(pki)
    calls = [(*pieces.client.submission(V1, document(V1)), pieces.client.vihf()) for _ in range(12)]
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda c: pieces.call("submit", c[0], c[1], c[2]), calls))
    assert sorted(results) == ["Success", *["XDSDuplicateUniqueIdInRegistry"] * 11]


def _slots(body: etree._Element, *names: str) -> list[etree._Element]:
    return [s for s in body.iter(f"{{{ebrim.RIM}}}Slot") if s.get("name") in names]


def test_a_size_that_no_integer_holds(pki: Pki) -> None:
    """More digits than Python converts."""
    pieces = Pieces(pki)
    body, parts = pieces.client.submission(V1, document(V1))
    for slot in _slots(body, "size"):
        slot[0][0].text = "9" * 5000
    assert pieces.call("submit", body, parts, pieces.client.vihf()) == "XDSRepositoryMetadataError"


def test_a_signature_without_canonical_form(pki: Pki) -> None:
    """Canonical XML refuses relative namespace names."""
    pieces = Pieces(pki)
    body, parts = pieces.client.submission(V1, document(V1))
    for slot in _slots(body, "size", "hash"):
        slot.getparent().remove(slot)  # type: ignore[union-attr]
    odd = [
        mtom.Part(p.content_id, p.media_type, p.content.replace(b"<Manifest", b'<Manifest xmlns:x="foo"', 1))
        for p in parts
    ]
    assert pieces.call("submit", body, odd, pieces.client.vihf()) == "XDSRepositoryMetadataError"
    assert not pieces.simulator.documents
