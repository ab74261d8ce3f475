"""Addresses of the indicator pages: what is asked for, and links that ask for something near.

Purpose: `/indicateurs?etablissement=750000001&mois=2025-02` ↔ values; the address of the list behind a row. Pure.
Guarantee: an address names an establishment, a month and a row; never a stay nor a patient.
Fails: never; what is no month is for the page to refuse.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from indicators.engine import Row
from indicators.sheet import Cell

ROOT = "/indicateurs"
_MONTH = re.compile(r"(19|20)[0-9]{2}-(0[1-9]|1[0-2])")
CELL_NAMES = {
    "indicator": "indicateur",
    "period": "periode",
    "breakdown": "ventilation",
    "code": "type",
    "profession": "profession",
    "channel": "canal",
    "kind": "nature",
    "result": "resultat",
}
"""Field of a cell → name in an address."""


def is_month(label: str) -> bool:
    """`AAAA-MM`."""
    return bool(_MONTH.fullmatch(label))


def shifted(month: str, count: int) -> str:
    """The month so many months later."""
    months = int(month[:4]) * 12 + int(month[5:]) - 1 + count
    return f"{months // 12:04d}-{months % 12 + 1:02d}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page shows. `revision` None: the newest. `curve`: key of the figure whose trend is drawn."""

    finess: str
    month: str
    revision: int | None = None
    view: str = ""
    curve: str = ""
    every: bool = False
    """Lines of zero too, in the table."""

    def url(self, path: str = "", fragment: str = "", /, **more: str | int | None) -> str:
        """The address of a page about the same establishment, month and revision."""
        named: dict[str, str | int | None] = {
            "etablissement": self.finess,
            "mois": self.month,
            "revision": self.revision,
        }
        if not path:
            named |= {"vue": self.view, "courbe": self.curve, "lignes": "toutes" if self.every else ""}
        query = urlencode({k: v for k, v in (named | more).items() if v not in (None, "")})
        return f"{ROOT}{path}?{query}" + (f"#{fragment}" if fragment else "")

    def at(self, month: str) -> str:
        """The same page, another month."""
        return replace(self, month=month, revision=None).url()

    def trend_of(self, key: str) -> str:
        """The same page with the trend of another figure."""
        return replace(self, curve=key, view="").url("", "evolution")

    def explanation(self, row: Row, **more: str | int | None) -> str:
        """The list behind a row."""
        return self.url("/explication", **cell_query(row.cell), **more)


def cell_query(cell: Cell) -> dict[str, str]:
    """A cell as query parameters."""
    return {CELL_NAMES[name]: value for name, value in cell._asdict().items()}


def cell_of(query: Mapping[str, str]) -> Cell:
    """The other way round; texts are cut at what a cell may hold."""
    return Cell(*(query.get(CELL_NAMES[name], "")[:256] for name in Cell._fields))


def key_of(row: Row) -> str:
    """What tells a figure of a month in an address: `ALI-1`, `ALI-1:11490-0`, `CON-3:medecin`; "" for the attempts of
    the wave 1 (three things tell them apart, and they have no trend)."""
    if row.breakdown_type == "attempt":
        return ""
    what = row.document_code or row.profession or row.stay_kind or row.channel or ""
    return row.indicator if what in ("", "ALL") else f"{row.indicator}:{what}"
