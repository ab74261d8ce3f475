"""What the simulators wrote, read as records."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from chaos.counterparts import Mss
from chaos.history import Mailed

MAIL = b"To: dr.un@test-hopital.mssante.fr\r\nMessage-ID: <%s@x>\r\n\r\nCompte rendu [M07]\r\n"


def _mail(folder: Path, number: int, name: bytes, at: float) -> None:
    path = folder / "mails" / f"{number:06d}.eml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MAIL % name)
    os.utime(path, (at, at))


def _event(folder: Path, name: str, at: float, result: str) -> None:
    time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    event = {"action": "mail", "kept": True, "message_id": f"<{name}@x>", "time": time, "result": result}
    with (folder / "events.jsonl").open("a") as file:
        file.write(json.dumps(event) + "\n")


def _answers(records: list[Mailed]) -> list[tuple[str, str, float]]:
    return [(r.message_id, r.answer, r.at) for r in records]


def test_the_copies_of_a_mail_are_told_apart_by_their_instant(tmp_path: Path) -> None:
    _mail(tmp_path, 1, b"a", 1000.0)
    _mail(tmp_path, 2, b"b", 1000.2)
    _mail(tmp_path, 3, b"a", 1001.0)
    _event(tmp_path, "b", 1000.201, "250")
    _event(tmp_path, "a", 1000.001, "cut")
    _event(tmp_path, "a", 1001.001, "250")
    found = Mss(tmp_path).records()
    assert _answers(found) == [("<a@x>", "cut", 1000.0), ("<b@x>", "250", 1000.2), ("<a@x>", "250", 1001.0)]
    assert {(r.key, r.recipient) for r in found} == {("M07", "dr.un@test-hopital.mssante.fr")}


def test_a_mail_without_an_event_was_taken_and_nobody_was_told(tmp_path: Path) -> None:
    """A gateway killed while the operator wrote the mail: it is the first copy, not the last."""
    _mail(tmp_path, 1, b"a", 1000.0)
    _mail(tmp_path, 2, b"a", 1003.0)
    _event(tmp_path, "a", 1003.001, "250")
    assert _answers(Mss(tmp_path).records()) == [("<a@x>", "cut", 1000.0), ("<a@x>", "250", 1003.0)]
