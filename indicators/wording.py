"""French words of the rows: which row it is, what its details say.

Purpose: labels of channels, kinds of stays, professions and results; the label of a row; its details in words. One
wording for the pages, the differences between revisions and the command line. Pure.
Fails: never; a code without a word is shown as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from indicators.catalogue import ALL, Catalogue
from indicators.engine import Row

CHANNELS = {"DMP": "DMP", "MSS_PRO": "MSSanté professionnels", "MSS_CITOYENNE": "MSSanté citoyenne"}
KINDS = {
    ALL: "Ensemble des séjours",
    "complet": "Séjours complets",
    "ambulatoire": "Séjours ambulatoires",
    "consultation": "Consultations",
    "had": "Hospitalisation à domicile",
    "urgences": "Urgences",
    "seances": "Séances",
    "inconnu": "Nature non renseignée",
}
RESULTS = {"reussite": "réussites", "echec": "échecs"}
PROFESSIONS = {ALL: "Toutes professions"}
DETAILS = {
    "documents": "documents",
    "retained_version": "versions retenues",
    "deleted_after_success": "documents supprimés après un envoi réussi",
    "prefetch": "téléchargements faits d'avance",
    "distinct_documents": "documents distincts",
    "ins_qualified": "documents avec INS qualifiée",
    "ins_not_qualified": "documents sans INS qualifiée",
}


def label(row: Row, catalogue: Catalogue) -> str:
    """What tells a row from the others of its indicator and period; "" for a single figure."""
    parts = []
    if row.channel:
        parts.append(CHANNELS.get(row.channel, row.channel))
    if row.document_code:
        parts.append(catalogue.title_of_type(row.document_code))
    if row.profession:
        parts.append(PROFESSIONS.get(row.profession, row.profession))
    if row.stay_kind:
        parts.append(KINDS.get(row.stay_kind, row.stay_kind))
    if row.result:
        parts.append(RESULTS.get(row.result, row.result))
    return ", ".join(parts)


def label_of_period(row: Row, catalogue: Catalogue) -> str:
    """The same, with the year where a row is that of a year (TBB-1)."""
    year = row.period if len(row.period) == 4 else ""
    return ", ".join(part for part in (year and f"année {year}", label(row, catalogue)) if part)


def detail(name: str) -> str:
    """The label of a member of the details."""
    return DETAILS.get(name, name)


def value_of_detail(value: Any) -> str:
    """`12`; of versions: `version 2 (1 document), version 4 (3 documents)`. What is not there is none."""
    if value is None or value == {}:
        return "0"
    if isinstance(value, Mapping):
        told = sorted(value.items(), key=lambda pair: (len(pair[0]), pair[0]))
        return ", ".join(f"version {v} ({n} document{'s' if n > 1 else ''})" for v, n in told)
    return str(value)
