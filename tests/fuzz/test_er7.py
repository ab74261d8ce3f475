"""Whatever stands in a frame: it is read whole or refused, twice the same way, and its ACK can be read back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.rules import Preset
from tests.fuzz.er7 import changed, grammar
from tests.fuzz.promises import message_promises
from tests.fuzz.support import CHECKERS, MESSAGES, check, examples

presets = st.sampled_from(["production", "interop"])


@examples(250, 1000)
@given(changed(), presets)
def test_a_changed_message_is_read_whole_or_refused(raw: bytes, preset: Preset) -> None:
    message_promises(raw, preset)


@examples(120, 1000)
@given(grammar(), presets)
def test_nothing_but_syntax(raw: bytes, preset: Preset) -> None:
    message_promises(raw, preset)


@examples(150, 1000)
@given(changed(most=1), presets)
def test_one_change(raw: bytes, preset: Preset) -> None:
    message_promises(raw, preset)


@examples(60, 500)
@given(st.binary(max_size=300), presets)
def test_any_bytes(raw: bytes, preset: Preset) -> None:
    message_promises(raw, preset)
    message_promises(b"MSH|^~\\&|" + raw, preset)


@pytest.mark.parametrize("raw", MESSAGES)
@pytest.mark.parametrize("preset", CHECKERS)
def test_the_good_messages_are_good(raw: bytes, preset: Preset) -> None:
    assert not [f.rule for f in check(raw, preset).findings if f.rejects]
    message_promises(raw, preset)


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
    message_promises(raw, "production")
    assert time.process_time() - started < 8
