"""French words and numbers of the indicator pages.

Purpose: families, labels of rows, numbers as French readers write them (comma, narrow no-break space), months,
instants. Pure.
Guarantee: what is not known is « — », never 0.
Fails: never; a code without a word is shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from indicators.catalogue import Catalogue
from indicators.engine import Row
from indicators.wording import CHANNELS

NONE = "—"
_THIN = "\u202f"
_MONTHS = (
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
)
_SHORT = (
    "janv.",
    "févr.",
    "mars",
    "avr.",
    "mai",
    "juin",
    "juil.",
    "août",
    "sept.",
    "oct.",
    "nov.",
    "déc.",
)
FAMILIES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("information", "Information du patient", ("INF-1", "INF-2")),
    ("alimentation", "Alimentation du DMP", ("ALI-1", "ALI-2", "ALI-3", "ALI-4", "HIS-1")),
    (
        "consultation",
        "Consultation du DMP",
        ("CON-1", "CON-1b", "CON-2", "CON-3", "CON-4", "CON-5", "BDG-0"),
    ),
    ("professionnels", "MSSanté entre professionnels", ("MSP-1", "MSP-2")),
    ("citoyenne", "MSSanté citoyenne", ("MSC-1", "MSC-2")),
    ("recus", "Documents reçus par MSSanté", ("MSI-1", "MSI-2", "MSI-3", "MSI-4")),
    ("vague-1", "Tableau de la vague 1", ("TBB-1", "TBB-3", "TBB-5")),
)
"""Anchor, title, indicators in order."""
PARTS = {
    "document_type": "Par type de document",
    "stay_kind": "Par nature de séjour",
    "profession": "Par profession",
    "channel": "Par canal",
}
OUTCOMES = {
    "success": "réussi",
    "failure": "échec",
    "pending": "en attente",
    "deleted": "supprimé",
    "taken_back": "accepté, puis avis d’échec",
}
FIELDS = {
    "stay": "Séjour",
    "authority": "Identifié par",
    "class": "Classe (PV1-2)",
    "kind": "Nature (PV1-21)",
    "opened": "Début",
    "closed": "Clôture",
    "feeding": "Alimentation (ZFA-9)",
    "consulting": "Consultation (ZFA-11)",
    "told_by": "Dit par",
    "set_id": "Document (setId)",
    "type_code": "Type",
    "versions": "Versions",
    "deleted": "Supprimé le",
    "control_id": "Message (MSH-10)",
    "unique_id": "Identifiant du document",
    "version": "Version",
    "channel": "Canal",
    "recipient": "Destinataire",
    "attempted": "Tenté le",
    "outcome": "Résultat",
    "success": "Réussi le",
    "code": "Code",
    "why": "Jugement",
    "fact_id": "Fait",
    "what": "Transaction",
    "at": "Le",
    "user": "Utilisateur",
    "profession": "Profession",
    "message_id": "Courriel (Message-ID)",
    "prefetch": "Fait d’avance",
    "name": "Nom",
}
"""Of the subjects and evidence of an explanation (indicators.explain)."""
_INSTANTS = frozenset({"opened", "closed", "attempted", "success", "at", "deleted"})
_PATIENTS = "@patient.mssante.fr"


def percent(rate: float | None) -> str:
    """`66,67 %`."""
    if rate is None:
        return NONE
    exact = (Decimal(str(rate)) * 100).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return f"{exact}".replace(".", ",") + f"{_THIN}%"


def number(value: float | None) -> str:
    """`12 345`, with narrow no-break spaces."""
    return NONE if value is None else f"{value:,.0f}".replace(",", _THIN)


def tick(value: float, *, whole: bool) -> str:
    """A number of an axis: `1 000`, `25 %`, `2,5 %`."""
    if whole:
        return number(value)
    return f"{round(value * 100, 2):g}".replace(".", ",") + f"{_THIN}%"


def month(label: str) -> str:
    """`2025-02` → `février 2025`; `2025` stays."""
    return f"{_MONTHS[int(label[5:]) - 1]} {label[:4]}" if len(label) == 7 else label


def short_month(label: str) -> str:
    """`2025-02` → `févr.`"""
    return _SHORT[int(label[5:]) - 1]


def instant(iso: str | None) -> str:
    """An ISO instant with its own offset: `11/03/2025 à 00:00`."""
    return datetime.fromisoformat(iso).strftime("%d/%m/%Y à %H:%M") if iso else NONE


def moment(at: float, zone: str) -> str:
    """Seconds since 1970 there: `11/03/2025 à 00:05`."""
    return datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%d/%m/%Y à %H:%M")


def plural(count: int, one: str, many: str) -> str:
    """`1 séjour`, `3 séjours`, `0 séjour`."""
    return f"{number(count)} {one if count < 2 else many}"


def of(word: str) -> str:
    """`de février`, `d’avril`."""
    return f"d’{word}" if word[:1] in "aeiouyéèâîoh" else f"de {word}"


def type_title(code: str, catalogue: Catalogue) -> str:
    """The title of a document type, with its code when it has no title."""
    return catalogue.title_of_type(code)


def reason(row: Row, catalogue: Catalogue) -> str:
    """Why there is no rate, in words; "" when there is one."""
    return catalogue.reasons.get(row.reason, row.reason) if row.reason else ""


def field(name: str) -> str:
    """The label of a member of an explanation."""
    return FIELDS.get(name, name)


def told(name: str, value: Any) -> str:
    """The value of a member of an explanation. The address of a patient is a national identifier: it is not shown."""
    if isinstance(value, list):
        return ", ".join(told(name, v) for v in value)
    if name in _INSTANTS and isinstance(value, str):
        return instant(value)
    text = str(value)
    if name in ("recipient", "name") and text.lower().endswith(_PATIENTS):
        return f"…{_PATIENTS}"
    if name == "outcome":
        return OUTCOMES.get(text, text)
    if name == "channel":
        return CHANNELS.get(text, text)
    if isinstance(value, bool):
        return "oui" if value else "non"
    return text


def masked(told_of: Mapping[str, Any]) -> dict[str, Any]:
    """The same without a patient's address, for a download."""
    return {
        name: told(name, value) if name in ("recipient", "name") else value for name, value in told_of.items()
    }
