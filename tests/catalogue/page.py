"""Writes docs/errors.md from the catalogue: `python -m tests.catalogue.page`. A test fails when the page is stale."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from tests.catalogue.entries import CATALOGUE
from tests.catalogue.entry import Entry, Family

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "errors.md"
WORLDS = {
    "interop": "préréglage interop",
    "small": "limites courtes",
    "basic-err": "extended_err = false",
    "unknown-refused": 'unknown_predecessor = "refuse"',
    "tls": "TLS mutuel",
    "tls-plain": "TLS mutuel",
    "tls-no-certificate": "TLS mutuel",
    "network": "allowed_networks",
}
HEAD = """# Que répond la passerelle ?

Page pour les éditeurs de DPI, faite du catalogue des messages erronés (`python -m tests.catalogue.page` ; ne pas
modifier à la main). Chaque ligne est un test : le message est envoyé sur une vraie connexion MLLP et la réponse entière
est comparée. Sauf mention contraire, préréglage `production`. Le document est en `OBX^1`, les dix métadonnées en
`OBX^2` à `OBX^11`, le corps du courriel en `OBX^12`.

Un message accepté reçoit `AA` sans segment ERR ; les tolérances sont visibles dans le journal et l'API. `AE` : le
message est à corriger. `AR` : il peut être renvoyé tel quel.

**Envoyer, corriger, renvoyer.** Un message corrigé doit porter un nouvel MSH-10 : le même MSH-10 avec un autre contenu
est refusé (`EXC-SAME-CONTROL-ID`). Les mêmes octets renvoyés reçoivent la même réponse, et rien n'est fait deux fois.
Après `AR`, le même message peut être renvoyé avec le même MSH-10. `segur-gateway validate` juge un message sans
l'envoyer ([validate.md](validate.md)) ; il ne compare pas son MSH-10 à ceux déjà reçus.

Erreur : ERR-2 · ERR-3 (ou ERR-3/ERR-5) · règle (ERR-7). La phrase de chaque règle (ERR-8) est dans
[rules.md](rules.md).
"""


def row(entry: Entry) -> str:
    """One line of the table."""
    parts = []
    for answer in entry.answers:
        parts.append(f"**{answer.code}**")
        for error in answer.errors:
            rule, place, code = error.split()[:3]
            parts.append(" · ".join(part for part in (place, code, f"`{rule}`") if part not in ("-", "`-`")))
    for finding in entry.findings or ():
        rule, place = finding.split()[:2]
        parts.append(f"toléré : {place} · `{rule}`")
    if entry.closes:
        parts.append("connexion fermée")
    setting = f" ({WORLDS[entry.world]})" if entry.world in WORLDS else ""
    return f"| {entry.what}{setting} | {'<br>'.join(parts)} |".replace("\n", " ")


def text() -> str:
    """The whole page."""
    lines = [HEAD]
    for family in get_args(Family):
        lines += [f"\n## {family[0].upper()}{family[1:]}\n", "| ce qui ne va pas | réponse |", "|---|---|"]
        lines += [row(e) for e in CATALOGUE if e.family == family]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
