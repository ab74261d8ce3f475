"""Every bad input of the catalogue over a real MLLP connection, its whole answer compared."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest

from gateway.hl7.acknowledgement import Acknowledgement, read
from gateway.hl7.framing import END, encode
from tests.catalogue import entries, page
from tests.catalogue.entry import Answer, Entry, Good
from tests.catalogue.worlds import World

PATIENCE = 20
NUMBERS = {entry.id: n for n, entry in enumerate(entries.CATALOGUE, 1)}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    made: dict[str, World] = {}

    class Lazy(dict[str, World]):
        def __missing__(self, name: str) -> World:
            made[name] = self[name] = World(name, tmp_path_factory.mktemp(name))
            return made[name]

    yield Lazy()
    for world in made.values():
        world.stop()


def acks(data: bytes) -> list[Acknowledgement]:
    """The ACKs of what came back."""
    frames = data.split(END)
    assert not frames.pop(), "something after the last end block"
    assert all(f.startswith(b"\x0b") for f in frames)
    return [read(f[1:]) for f in frames]


def converse(world: World, stream: bytes, answers: int, closes: bool) -> tuple[bytes, bool]:
    """Write, read `answers` frames (until the end when it must close); (bytes, closed by the gateway)."""
    data = b""
    with world.connect() as sock:
        sock.settimeout(PATIENCE)
        with contextlib.suppress(ConnectionError):
            sock.sendall(stream)
            while closes or data.count(END) < answers:
                piece = sock.recv(65536)
                if not piece:
                    return data, True
                data += piece
            return data, False
    return data, True


def errors_of(ack: Acknowledgement) -> list[str]:
    """As the catalogue writes them."""
    found = []
    for e in ack.errors:
        code = f"{e.err3}/{e.err5}" if e.err5 else e.err3
        text = f"{e.diagnostic or '-'} {e.location or '-'} {code}"
        if e.diagnostic == "META-MISSING":
            # ten of them may stand at one place: the sentence tells which
            text += " " + (re.search(r"[A-Z_]{6,}", e.text) or [""])[0]
        found.append(text)
    return sorted(found)


def acknowledged(answer: Answer, good: Good) -> str:
    """MSA-2 that is expected: the entry's MSH-10, that of its second message (`B`), or what the answer says."""
    if answer.acknowledged is None or answer.acknowledged == "B":
        return good.control_id + (answer.acknowledged or "")
    return answer.acknowledged


@pytest.mark.parametrize("entry", entries.CATALOGUE, ids=lambda e: e.id)
def test_entry(entry: Entry, worlds: dict[str, World]) -> None:
    world = worlds[entry.world]
    good = Good(NUMBERS[entry.id])
    for message in entry.before(good) if entry.before else ():
        (ack,) = acks(converse(world, encode(message), 1, False)[0])
        assert ack.code == "AA", errors_of(ack)
    made = entry.make(good)
    data, closed = converse(world, made if entry.raw else encode(made), len(entry.answers), entry.closes)
    got = acks(data)
    assert [(a.code, errors_of(a), a.acknowledged) for a in got] == [
        (a.code, sorted(a.errors), acknowledged(a, good)) for a in entry.answers
    ]
    assert closed == entry.closes
    for ack in got:
        assert all(e.text for e in ack.errors) or entry.world == "basic-err"
        assert all(e.severity == "E" for e in ack.errors)
    if entry.findings is not None:
        kept = [f"{f['rule']} {f['err2'] or '-'}" for f in world.findings(good.control_id)]
        assert sorted(kept) == sorted(entry.findings)


def test_the_catalogue_is_large_and_its_ids_are_one_each() -> None:
    assert len(NUMBERS) == len(entries.CATALOGUE) >= 150


def test_an_answer_without_errors_is_an_acceptance() -> None:
    for entry in entries.CATALOGUE:
        for answer in entry.answers:
            assert (answer.code == "AA") == (not answer.errors), entry.id
            assert isinstance(answer, Answer)


def test_the_page_for_editors_is_fresh() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.text(), "run: python -m tests.catalogue.page"
