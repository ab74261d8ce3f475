"""The verdict of every official sample, as one reviewed table: verdicts.toml beside this module.

    python -m tests.acceptance.verdicts      says what differs between the table and the gateway
    python -m tests.acceptance.verdicts -w   writes the gateway's verdicts into the table, the reasons (`why`) kept

Reviewed means: after `-w` a person reads every change and writes why it is deserved. A sample is a message or a
document under SEGUR_OFFICIAL_DATA; a document inside an IHE_XDM.ZIP is named `…/IHE_XDM.ZIP!name`.
"""

from __future__ import annotations

import asyncio
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Finding
from gateway.exchange.checking import Checker
from gateway.validation.overrides import Options
from gateway.validation.validator import Validator
from tests.fuzz.support import BOOKS
from tests.official import OFFICIAL

TABLE = Path(__file__).parent / "verdicts.toml"
JUDGEMENTS = ("production", "interop", "destinations")
"""The two judgements; for a bare document also: production, as a test message to the DMP and MSSanté would carry it."""
FOLDERS = ("hl7", "cda", "xdm")


@dataclass(frozen=True)
class Verdict:
    """What the gateway says: `reject`, `warn` or `accept`, and each finding as `RULE ERR-2 ERR-3[/ERR-5]`."""

    verdict: str
    rejects: tuple[str, ...]
    tolerances: tuple[str, ...]


def samples() -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every official message and document, in the order of their names."""
    for folder in FOLDERS:
        for path in sorted(p for p in (OFFICIAL / folder).rglob("*") if p.is_file()):
            name = path.relative_to(OFFICIAL).as_posix()
            if path.suffix.lower() == ".zip":
                with zipfile.ZipFile(path) as archive:
                    for inside in sorted(archive.namelist()):
                        if inside.upper().endswith(".XML") and "METADATA" not in inside.upper():
                            yield f"{name}!{inside}", archive.read(inside)
            elif path.suffix.lower() in (".xml", ".er7", ".hl7"):
                yield name, path.read_bytes()


def judgements(name: str) -> tuple[str, ...]:
    """Those that apply to a sample."""
    return JUDGEMENTS[:2] if name.startswith("hl7/") else JUDGEMENTS


def judge(content: bytes, judgement: str) -> Verdict:
    """The verdict of one sample, without connectors nor register: what is in the bytes, and nothing else."""
    options = Options()
    if judgement == "destinations":
        options = Options(destinations=frozenset({"dmp", "mss"}), processing="T")
    book = BOOKS["interop" if judgement == "interop" else "production"]
    report = asyncio.run(Validator(Checker(book), 100_000_000).validate(content, options))
    findings = [f for unit in report.units for f in unit.findings]
    rejects, tolerances = (
        _written(f for f in findings if f.rejects),
        _written(f for f in findings if not f.rejects),
    )
    return Verdict("reject" if rejects else "warn" if tolerances else "accept", rejects, tolerances)


def _written(findings: Iterator[Finding]) -> tuple[str, ...]:
    return tuple(
        f"{f.rule} {f.place.erl() if f.place else '-'} {f.err3}{f'/{f.err5}' if f.err5 else ''}"
        for f in findings
    )


def table() -> dict[str, dict[str, object]]:
    """Sample → its row: `why`, and for each judgement `verdict`, `rejects`, `tolerances`."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}


def row(known: dict[str, object], judgement: str) -> Verdict:
    """The verdict that the table gives for a judgement."""
    told = known[judgement]
    assert isinstance(told, dict)
    return Verdict(told["verdict"], tuple(told.get("rejects", ())), tuple(told.get("tolerances", ())))


def _strings(values: tuple[str, ...]) -> str:
    return "[\n" + "".join(f'    "{v}",\n' for v in values) + "]"


HEAD = """# The verdict that each official sample deserves, in both presets; `why` is written by a person, the rest by
# `python -m tests.acceptance.verdicts -w` and read by one. Without connectors and register: what is in the bytes alone.
# A file's line feeds are how files are kept, and are no tolerance here. Nothing of a sample is copied: names and rule
# ids only.
"""


def text() -> str:
    """The table as the gateway would have it today."""
    known = table()
    out = [HEAD]
    for name, content in samples():
        why = known.get(name, {}).get("why", "TO REVIEW")
        out.append(f'\n["{name}"]\nwhy = """{why}"""\n')
        for judgement in judgements(name):
            verdict = judge(content, judgement)
            out.append(f'\n["{name}".{judgement}]\nverdict = "{verdict.verdict}"\n')
            if verdict.rejects:
                out.append(f"rejects = {_strings(verdict.rejects)}\n")
            if verdict.tolerances:
                out.append(f"tolerances = {_strings(verdict.tolerances)}\n")
    return "".join(out)


def main() -> int:
    """Exit status: 1 when table and gateway differ."""
    if "-w" in sys.argv:
        TABLE.write_text(text(), encoding="utf-8")
        return 0
    known, status = table(), 0
    for name, content in samples():
        for judgement in judgements(name):
            found = judge(content, judgement)
            if name not in known or row(known[name], judgement) != found:
                print(name, judgement, found)
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
