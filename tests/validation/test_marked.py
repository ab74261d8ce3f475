"""What the page shows beside what: every finding exactly once, at its place."""

from __future__ import annotations

import asyncio

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures import build
from gateway.exchange.checking import Checker
from gateway.hl7.transmission import Action
from gateway.rules import load_rulebook
from gateway.validation.marked import ALL_LINES, Block, Gap, Line, blocks, folded
from gateway.validation.overrides import Options
from gateway.validation.report import Unit
from gateway.validation.validator import Validator
from gateway.validation.words import as_text
from tests.exchange.harness import cda, submit
from tests.validation.test_report import MESSAGES, SCHEMA

BOOK = load_rulebook()


async def unit_of(content: bytes, options: Options | None = None) -> Unit:
    report = await Validator(Checker(BOOK), 10**8).validate(content, options or Options())
    return report.units[0]


def indexes(shown: list[Block]) -> list[int]:
    return [
        i
        for b in shown
        for i in (*b.findings, *(i for line in b.lines if isinstance(line, Line) for i in line.findings))
    ]


def lines_of(block: Block) -> list[Line]:
    return [line for line in block.lines if isinstance(line, Line)]


@pytest.mark.parametrize("name", MESSAGES)
async def test_every_finding_of_a_message_stands_exactly_once(name: str) -> None:
    unit = await unit_of(MESSAGES[name])
    assert sorted(indexes(blocks(unit))) == list(range(len(unit.findings)))


@pytest.mark.parametrize(
    "content", [b"", b"<a/>", b"<a", cda().replace(b"realmCode", b"realmCodf"), b"PID|1\r"]
)
async def test_every_finding_of_a_document_stands_exactly_once(content: bytes) -> None:
    unit = await unit_of(content)
    assert unit.findings
    assert sorted(indexes(blocks(unit))) == list(range(len(unit.findings)))


async def test_a_finding_stands_beside_its_segment_and_its_field_is_marked() -> None:
    unit = await unit_of(submit("M1").replace(b"|T|2.6|", b"|X|2.6|"))
    (block,) = blocks(unit)
    (line,) = [line for line in lines_of(block) if line.findings]
    assert line.label == "MSH"
    assert [text for text, marked in line.pieces if marked] == ["X"]
    assert "".join(text for text, _ in line.pieces).startswith("MSH|^~\\&|")


async def test_a_finding_inside_the_document_stands_at_its_line() -> None:
    unit = await unit_of(
        build.mdm("T02", cda().replace(b'<realmCode code="FR"/>', b'<realmCode code="BE"/>', 1))
    )
    inside = [f for f in unit.findings if f.line is not None]
    shown = blocks(unit)
    if inside:
        assert shown[1].title == "Document transmis en OBX^1^5"
        assert [line.label for line in lines_of(shown[1]) if line.findings] == [f"ligne {inside[0].line}"]
        assert any(isinstance(line, Gap) for line in shown[1].lines)


async def test_long_texts_show_what_is_around_findings() -> None:
    many = b"".join(b"ZZ%d|1\r" % (i % 10) for i in range(2000))
    unit = await unit_of(MESSAGES["type"] + many)
    (block,) = blocks(unit)
    assert len(block.lines) < ALL_LINES
    total = sum(line.lines if isinstance(line, Gap) else 1 for line in block.lines)
    assert total == 2000 + MESSAGES["type"].count(b"\r")


def test_base64_is_folded_and_controls_are_visible() -> None:
    text = folded("OBX|1|ED|" + "QUJD" * 100 + "|F\x00")
    assert "400 caractères" in text and len(text) < 120
    assert "\x00" not in text and "\ufffd" in text
    assert "1000 caractères de plus" in folded("é " * 1500)


# --- anything ------------------------------------------------------------------------------------------------


PIECES = st.sampled_from(
    [
        b"\r", b"\n", b"\x0b", b"\x1c\r", b"MSH|^~\\&|", b"|", b"^", b"~", b"&", b"\\X", b"OBX|1|ED|", b"PID|", b"<",
        b">", b'<?xml version="1.0" encoding="utf-16"?>', b"<ClinicalDocument xmlns='urn:hl7-org:v3'>", b"\xff",
        b"\0", b"", b"\xef\xbb\xbf", b"\xff\xfe", b"MDM^T02^MDM_T02", b"DESTDMP", b"A" * 130, "é".encode("latin-1"),
    ]
)  # fmt: skip
STREAMS = st.lists(PIECES | st.binary(max_size=8), max_size=30).map(b"".join)


async def assert_told(content: bytes, options: Options) -> None:
    report = await Validator(Checker(BOOK), 10**8).validate(content, options, "x")
    jsonschema.Draft202012Validator(SCHEMA).validate(report.as_json())
    assert as_text(report)
    for unit in report.units:
        assert sorted(indexes(blocks(unit))) == list(range(len(unit.findings)))
        assert unit.code == "AA" or any(f.rejects for f in unit.findings)


OPTIONS = st.builds(
    Options,
    st.none() | st.sampled_from(list(Action)),
    st.none() | st.frozensets(st.sampled_from(["dmp", "mss"])),
    st.none() | st.sampled_from(["P", "T", "D"]),
)


@given(STREAMS, OPTIONS)
@settings(max_examples=100, deadline=None)
def test_any_bytes_have_a_report(content: bytes, options: Options) -> None:
    asyncio.run(assert_told(content, options))


@given(st.data(), OPTIONS)
@settings(max_examples=60, deadline=None)
def test_any_damage_has_a_report(data: st.DataObject, options: Options) -> None:
    content = bytearray(data.draw(st.sampled_from([submit("M1"), cda(), MESSAGES["ORU pair"]])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 5))] = data.draw(PIECES)
    asyncio.run(assert_told(bytes(content), options))


async def test_of_a_large_document_only_the_ends_are_shown() -> None:
    unit = await unit_of(submit("M1").replace(b"BIOCHIMIE", b"x " * 50_000))
    (block,) = blocks(unit)
    (line,) = [line for line in lines_of(block) if line.label == "PV1"]
    text = "".join(piece for piece, _ in line.pieces)
    assert "octets]…" in text and len(text) < 3000
    assert text.endswith("VN")
    assert "caractères]…" in folded("<a>" + "x " * 50_000 + "</a>")
