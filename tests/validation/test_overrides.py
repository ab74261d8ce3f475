"""What the options change in a message: the values that are there, nowhere else."""

from __future__ import annotations

import pytest

from fixtures import build
from gateway.hl7.message import Message
from gateway.hl7.profile import read_transmission
from gateway.hl7.transmission import Action, Transmission
from gateway.rules import load_rulebook
from gateway.validation.overrides import Options, apply
from tests.exchange.harness import cda, submit

MESSAGE = submit("M1")


def transmission(raw: bytes) -> Transmission:
    read = read_transmission(Message.parse(raw), load_rulebook())
    assert read.transmission is not None
    return read.transmission


def test_without_options_the_bytes_are_the_same() -> None:
    raw, notes = apply(Message.parse(MESSAGE), Options())
    assert raw is MESSAGE
    assert notes == ()


def test_an_option_that_says_what_the_message_says_changes_nothing() -> None:
    raw, notes = apply(Message.parse(MESSAGE), Options(Action.SUBMIT, frozenset({"dmp", "mss"}), "T"))
    assert raw is MESSAGE
    assert notes == ()


@pytest.mark.parametrize("processing", ["P", "D"])
def test_processing(processing: str) -> None:
    raw, notes = apply(Message.parse(MESSAGE), Options(processing=processing))
    assert Message.parse(raw).processing_id == processing
    assert len(notes) == 1 and "MSH-11" in notes[0]


@pytest.mark.parametrize("action", [Action.REPLACE, Action.DELETE])
@pytest.mark.parametrize("message", [MESSAGE, build.oru("submit", [cda()])], ids=["MDM", "ORU"])
def test_action(action: Action, message: bytes) -> None:
    raw, notes = apply(Message.parse(message), Options(action=action))
    read = read_transmission(Message.parse(raw), load_rulebook())
    assert read.transmission is not None and read.transmission.action is action
    assert "ACTION-DISAGREES" not in {f.rule for f in read.findings}
    assert len(notes) == 1


@pytest.mark.parametrize(
    "asked, expected",
    [
        ({"dmp"}, (True, False, False)),
        ({"mss"}, (False, True, False)),
        ({"dmp", "mss"}, (True, True, False)),
        (set(), (False, False, False)),
    ],
)
def test_destinations(asked: set[str], expected: tuple[bool, bool, bool]) -> None:
    raw, _ = apply(Message.parse(MESSAGE), Options(destinations=frozenset(asked)))
    flags = transmission(raw).flags
    assert (flags.dest_dmp, flags.dest_mssante_ps, flags.dest_mssante_pat) == expected


def test_mssante_goes_to_whom_the_message_says() -> None:
    message = submit("M1", recipients=(build.patient_recipient(),))
    raw, _ = apply(Message.parse(message), Options(destinations=frozenset({"mss"})))
    flags = transmission(raw).flags
    assert (flags.dest_mssante_ps, flags.dest_mssante_pat) == (False, True)


def test_what_is_missing_stays_missing() -> None:
    message = MESSAGE.replace(b"|T|2.6|", b"||2.6|", 1)
    raw, notes = apply(Message.parse(message), Options(processing="P"))
    assert raw == message
    assert notes == ()
