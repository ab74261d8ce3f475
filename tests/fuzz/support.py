"""What the fuzz tests share: how long they run, the checks as the gateway runs them, and the messages they start from.

`make check` runs each property on a few dozen examples, the same ones every time. `make fuzz SECONDS=…` sets
SEGUR_FUZZ=long: thousands of examples, drawn anew.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

import connectors.dmp.connector
import connectors.mss.connector
from fixtures import build
from gateway.exchange.checking import Checked, Checker
from gateway.hl7.message import Message
from gateway.rules import Preset, load_rulebook

LONG = os.environ.get("SEGUR_FUZZ") == "long"
CORPUS = Path(__file__).parent / "corpus"


def examples(few: int, many: int = 5000, **more: object) -> settings:
    """Hypothesis settings of one property: `few` examples by default, `many` in a long run."""
    return settings(
        max_examples=many if LONG else few,
        deadline=None,
        derandomize=not LONG,
        database=None,
        suppress_health_check=list(HealthCheck),
        **more,  # type: ignore[arg-type]
    )


_TABLES = tuple(
    Path(m.__file__).parent / "rules.toml" for m in (connectors.dmp.connector, connectors.mss.connector)
)
BOOKS = {preset: load_rulebook(_TABLES, preset) for preset in ("production", "interop")}
CHECKERS = {preset: Checker(book) for preset, book in BOOKS.items()}

PDF = b"%PDF-1.4\n1 0 obj essai\n%%EOF\n"
N1 = build.cda_n1(payload=PDF)
N1_V2 = build.cda_n1(
    uid=f"{build.DOCUMENT_ROOT}.1.2", version=2, replaces=f"{build.DOCUMENT_ROOT}.1.1", payload=PDF
)
N3 = build.cda_n3()
N3_COPY = build.cda_n3(pdf_copy=PDF)
TO_PATIENT = (build.DR_MARTIN, build.patient_recipient())

MESSAGES = (
    build.mdm("T02", N1),
    build.mdm("T10", N1_V2),
    build.mdm("T04", N1),
    build.mdm("T02", N1, recipients=TO_PATIENT, body_patient="Bonjour.", patient_may_not_answer=True),
    build.mdm("T02", N3, charset="8859/15", reply_to=build.SECRETARIAT),
    build.oru("submit", [N1]),
    build.oru("submit", [N1, N3]),
    build.oru("delete", [N3], recipients=()),
)
"""Good messages of every kind: MDM of the three events, ORU with one and two documents, both charsets."""


def check(raw: bytes, preset: Preset = "production") -> Checked:
    """Everything that can be said of `raw` without the journal. Raises `MessageUnreadable` as `Message.parse` does."""
    return CHECKERS[preset].check_now(raw, Message.parse(raw))
