"""Whatever stands in a frame: it is read whole or refused, twice the same way, and its ACK can be read back."""

from __future__ import annotations

import base64
import re
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MessageUnreadable
from gateway.exchange.checking import Checked
from gateway.hl7.acknowledgement import build, read
from gateway.hl7.message import Message
from gateway.hl7.profile.structure import STRUCTURES
from gateway.rules import Preset
from tests.fuzz.er7 import changed, grammar
from tests.fuzz.support import CHECKERS, MESSAGES, check, examples

NOW = datetime(2026, 1, 10, 9, 30, tzinfo=UTC)
presets = st.sampled_from(["production", "interop"])
WIRE_NAMES = {"MASQUE_PS": "masque_ps", "INVISIBLE_PATIENT": "invisible_patient", "DESTDMP": "dest_dmp"} | {
    "INVISIBLE_REP_LEGAUX": "invisible_rep_legaux", "CONNEXION_SECRETE": "connexion_secrete",
    "MODIF_CONF_CODE": "modif_conf_code", "DESTMSSANTEPS": "dest_mssante_ps", "DESTMSSANTEPAT": "dest_mssante_pat",
    "ACK_RECEPTION": "ack_reception", "ACK_LECTURE_MSS": "ack_lecture_mss",
}  # fmt: skip


def wire(raw: bytes) -> list[bytes]:
    """The oracle's segments: lines that are not blank, read without the gateway's code."""
    raw = raw.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n \t")
    return [line for line in re.split(rb"\r\n|\r|\n", raw) if line.strip()]


def message_of(raw: bytes) -> Message | None:
    try:
        return Message.parse(raw)
    except MessageUnreadable:
        return None


@examples(250, 3000)
@given(changed(), presets)
def test_a_changed_message_is_read_whole_or_refused(raw: bytes, preset: Preset) -> None:
    every_promise(raw, preset)


@examples(120, 3000)
@given(grammar(), presets)
def test_nothing_but_syntax(raw: bytes, preset: Preset) -> None:
    every_promise(raw, preset)


@examples(150, 3000)
@given(changed(most=1), presets)
def test_one_change(raw: bytes, preset: Preset) -> None:
    every_promise(raw, preset)


@examples(60, 5000)
@given(st.binary(max_size=300), presets)
def test_any_bytes(raw: bytes, preset: Preset) -> None:
    every_promise(raw, preset)
    every_promise(b"MSH|^~\\&|" + raw, preset)


@pytest.mark.parametrize("raw", MESSAGES)
@pytest.mark.parametrize("preset", CHECKERS)
def test_the_good_messages_are_good(raw: bytes, preset: Preset) -> None:
    assert not [f.rule for f in check(raw, preset).findings if f.rejects]
    every_promise(raw, preset)


def every_promise(raw: bytes, preset: Preset) -> None:
    """All properties of one frame's payload."""
    message = message_of(raw)
    if message is None:
        return
    lines = wire(raw)
    assert [s.raw for s in message.segments] == lines
    checked = check(raw, preset)
    again = check(raw, preset)
    assert checked.findings == again.findings
    if checked.transmission is None:
        assert any(f.rejects for f in checked.findings)
    the_ack_reads_back(message, checked)
    if not any(f.rejects for f in checked.findings):
        nothing_unread(message, lines, checked)


def the_ack_reads_back(message: Message, checked: Checked) -> None:
    rejects = [f for f in checked.findings if f.rejects]
    code = "AE" if rejects else "AA"
    raw = build(message, code, checked.findings, "ACK1", NOW)
    assert not re.search(rb"[\x00-\x0c\x0e-\x1f]", raw), "a control character in an ACK could end its frame"
    ack = read(raw)
    assert ack.code == code
    assert len(ack.errors) == len(rejects)
    for error, finding in zip(ack.errors, rejects, strict=True):
        place = finding.place.erl() if finding.place else ""
        component = message.separators.component.decode("latin-1")
        assert (error.location, error.err3, error.err5) == (
            place.replace("^", component), finding.err3, finding.err5 or "",
        )  # fmt: skip
        assert error.diagnostic == finding.rule
        assert error.severity == "E"
        assert error.text


def nothing_unread(message: Message, lines: list[bytes], checked: Checked) -> None:
    """What would be answered AA: every segment was read or is named by a finding, and what matters was read as sent."""
    transmission, cda = checked.transmission, checked.cda
    assert transmission is not None and cda is not None
    told = {f.place.segment + f"^{f.place.occurrence}" for f in checked.findings if f.place}
    known = set(STRUCTURES[message.type].after) | {"NTE"}
    for segment in message.segments:
        assert segment.name in known or f"{segment.name}^{segment.occurrence}" in told, segment
    # from here on the oracle reads the bytes itself, with the separators that the message declares
    field, component, repetition, _, sub = (lines[0][i : i + 1] or b"\0" for i in range(3, 8))
    if (field, component, repetition, sub) != (b"|", b"^", b"~", b"&"):
        assert "MSH2-SEPARATORS" in {f.rule for f in checked.findings}
        return
    documents, flags, addresses = [], {}, []
    occurrences: dict[bytes, int] = {}
    for line in lines:
        fields = line.split(b"|") + [b""] * 16
        name = fields[0]
        occurrences[name] = occurrences.get(name, 0) + 1
        place = f"{name.decode()}^{occurrences[name]}"
        if name == b"OBX":
            code = fields[3].split(b"^")[0].strip().decode("latin-1")
            if code in WIRE_NAMES:
                flags[WIRE_NAMES[code]] = fields[5].split(b"^")[0].strip()
            elif (
                fields[2].strip().upper() == b"ED" and not code.startswith("CORPSMAIL") and place not in told
            ):
                documents.append(fields[5])
        elif name == b"PRT" and b"RCT" in fields[4] and place not in told:
            addresses += [a.lower() for a in re.findall(rb"[^\s^~&|]+@[^\s^~&|]+", line)]
        elif name == b"PID":
            ids = [r.split(b"^")[0].strip() for r in fields[3].split(b"~")]
            found = [i.value for i in transmission.patient.identifiers]
            if place not in told:
                assert [i for i in ids if i] == [f.encode(message.encoding, "surrogateescape") for f in found]
    for document, sent in zip(cda.documents, documents, strict=bool(documents)):
        data = sent.split(b"^")
        assert len(data) == 5, "a component after the document was dropped"
        text = re.sub(rb"\\(?:\.br|[Xx](?:0[DdAa9]|20)+)\\|[ \t]", b"", data[4])
        assert base64.b64decode(text + b"==") == document.content
    for name, value in flags.items():
        if any(f.place and f.place.segment == "OBX" and f.rule.startswith("META-") for f in checked.findings):
            continue
        assert value == (b"Y" if getattr(transmission.flags, name) else b"N"), name
    assert set(addresses) <= {(r.address or "").lower().encode("utf-8") for r in transmission.recipients}


SIZE = 2_000_000


def shapes() -> dict[str, bytes]:
    """Two megabytes of each thing that a careless reader walks again and again."""
    good = MESSAGES[0]
    pid, obx = good.index(b"\rPID|"), good.index(b"|^TEXT^XML^Base64^") + len(b"|^TEXT^XML^Base64^")

    def in_pid(text: bytes) -> bytes:
        return good[:pid] + b"\rPID|||" + text + good[pid:]

    return {
        "fields": in_pid(b"|" * SIZE),
        "repetitions": in_pid(b"~" * SIZE),
        "components": in_pid(b"^" * SIZE),
        "sub-components": in_pid(b"&" * SIZE),
        "escapes": in_pid(b"\\" * SIZE),
        "hexadecimal escapes": in_pid(b"\\X41\\" * (SIZE // 5)),
        "open hexadecimal escape": in_pid(b"\\X" + b"41" * (SIZE // 2)),
        "bad bytes": in_pid(b"\xff" * SIZE),
        "blanks": in_pid(b" " * SIZE),
        "blank lines": good + b"\r" * SIZE,
        "lines of blanks": good + b" \r\n" * (SIZE // 3),
        "short segments": good + b"ZZZ\r" * 4900,
        "stray lines": good + b"x\r" * 4900,
        "NTE": good + b"NTE|1||x\r" * 4900,
        "PRT": good[: good.index(b"PRT|")]
        + b"PRT||UC||RCT|||||||||||^^X.400^a@b.fr\r" * 4900
        + good[good.index(b"PRT|") :],
        "OBX": good + b"OBX|1|ED|11502-2^^LN||^TEXT^XML^Base64^QQ==||||||F\r" * 4900,
        "components of a document": good[:obx] + b"^" * SIZE + good[obx:],
        "repetitions of a document": good[:obx] + b"~" * SIZE + good[obx:],
        "sub-components of a document": good[:obx] + b"&" * SIZE + good[obx:],
        "escapes in a document": good[:obx] + b"\\X0D\\" * (SIZE // 5) + good[obx:],
        "escape characters in a document": good[:obx] + b"\\" * SIZE + good[obx:],
        "padding": good[:obx] + b"=" * SIZE + good[obx:],
        "blanks in a document": good[:obx] + b" " * SIZE + good[obx:],
        "MSH": good[:9] + b"^" * SIZE + good[9:],
    }


@pytest.mark.parametrize("shape", shapes())
def test_no_shape_costs_more_than_its_length(shape: str) -> None:
    """A quadratic reader would need minutes for two megabytes; a linear one a fraction of a second."""
    raw = shapes()[shape]
    started = time.process_time()
    every_promise(raw, "production")
    assert time.process_time() - started < 8
