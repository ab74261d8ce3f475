"""Users of the DPI as a CSV file → `user_census` facts.

Purpose: the denominator of CON-3 for a DPI that does not tell its users by events: the number of active accounts of
each profession (`profession;users`), or one line for each account (`profession;rpps;local_id`). UTF-8, `;`, a header.
Pure.
Guarantee: the same file for the same day gives the same facts with the same ids.
Fails: `CensusFaults` with every faulty line, without values.
Source: spec/indicators.md §2.1 (users per profession); docs/indicators.md.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from datetime import datetime

from gateway.errors import BadInput
from indicators.facts import Fact, FactError, read

COLUMNS = ("profession", "users", "rpps", "local_id")
MAX_LINES = 100_000
_NUMBER = re.compile(r"[0-9]{1,8}")
_RPPS = re.compile(r"[0-9]{11}")


class CensusFaults(BadInput):
    """A file that is not a census: French sentences, each with its line."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(f"{len(faults)} faulty lines")
        self.faults = faults


def read_csv(content: bytes, finess: str, at: datetime) -> list[Fact]:
    """The facts of a file. `at`: the day whose accounts these are (an instant of it, aware)."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CensusFaults(["le fichier n'est pas en UTF-8"]) from None
    if "\0" in text:
        raise CensusFaults(["le fichier n'est pas un texte"])
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=";", strict=True)
    faults: list[str] = []
    found: list[Fact] = []
    seen: dict[tuple[str, str], int] = {}
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        if wrong := _header(header):
            raise CensusFaults(wrong)
        for row in rows:
            if len(found) + len(faults) >= MAX_LINES:
                raise CensusFaults([f"plus de {MAX_LINES} lignes"])
            if any(cell.strip() for cell in row):
                line = f"ligne {rows.line_num}"
                try:
                    found.append(_fact(header, row, finess, at, seen, rows.line_num))
                except CensusFaults as e:
                    faults += [f"{line} : {fault}" for fault in e.faults]
                except FactError as e:
                    faults.append(f"{line} : {e}")
    except csv.Error:
        faults.append(f"ligne {rows.line_num} : guillemets mal placés")
    if not faults and not found:
        faults.append("le fichier n'a aucune ligne")
    if faults:
        raise CensusFaults(faults)
    return found


def _header(header: list[str]) -> list[str]:
    wrong = []
    if unknown := len([name for name in header if name not in COLUMNS]):
        wrong.append(f"ligne 1 : {unknown} colonne(s) inconnue(s) ; attendu : {';'.join(COLUMNS)}")
    if len(set(header)) != len(header):
        wrong.append("ligne 1 : une colonne est donnée deux fois")
    if "profession" not in header or not {"users", "rpps", "local_id"} & {*header}:
        wrong.append("ligne 1 : il faut « profession », et « users » ou « rpps » ou « local_id »")
    return wrong


def _fact(
    header: list[str],
    row: list[str],
    finess: str,
    at: datetime,
    seen: dict[tuple[str, str], int],
    line: int,
) -> Fact:
    if len(row) > len(header):
        raise CensusFaults(["plus de cellules que de colonnes"])
    told = {name: cell.strip() for name, cell in zip(header, row, strict=False)}
    profession, users = told.get("profession", ""), told.get("users", "")
    rpps, local_id = told.get("rpps", ""), told.get("local_id", "")
    wrong = []
    if not profession:
        wrong.append("profession : obligatoire et absent")
    if bool(users) == bool(rpps or local_id):
        wrong.append("un nombre (users), ou un compte (rpps, local_id)")
    if users and not _NUMBER.fullmatch(users):
        wrong.append("users : nombre entier attendu")
    if rpps and not _RPPS.fullmatch(rpps):
        wrong.append("rpps : 11 chiffres attendus")
    key = (profession, rpps or local_id)
    if not wrong and seen.setdefault(key, line) != line:
        wrong.append(f"déjà donné ligne {seen[key]}")
    if wrong:
        raise CensusFaults(wrong)
    name = hashlib.sha256("\n".join((*key, at.isoformat())).encode()).hexdigest()[:24]
    fact = {
        "fact": "user_census",
        "fact_id": f"census-{finess}-{name}",
        "at": at.isoformat(),
        "finess": finess,
        "profession": profession,
        "users": int(users) if users else None,
        "user": None if users else {"rpps": rpps or None, "local_id": local_id or None},
    }
    return read(json.dumps(fact))
