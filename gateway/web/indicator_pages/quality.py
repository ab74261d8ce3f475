"""What a hospital should look at beside the figures, and what to do about each, in French.

Purpose: `Quality` and the reasons of the rows → a list of points with what to do: settings and documents are named as
they are named in docs/. Pure.
Guarantee: every reason that makes a figure absent or smaller than it should be has a point.
Fails: never.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.web.indicator_pages import words
from gateway.web.indicator_pages.addresses import ROOT
from indicators.catalogue import Catalogue
from indicators.facts import UNKNOWN_FINESS
from indicators.published import Establishment, Published

_OF_EVENTS = (
    " Le taux de patients (MSC-2) ne porte que sur les consultations que le DPI a dites par des événements."
)


@dataclass(frozen=True, slots=True)
class Point:
    """One thing to look at. `what` is the finding, `todo` what to do, `where` names of settings and documents."""

    id: str
    what: str
    todo: str
    where: tuple[str, ...] = ()
    items: tuple[tuple[str, str], ...] = ()
    """(what, how many)."""
    link: tuple[str, str] | None = None
    """(address, text)."""


def points(
    published: Published, establishments: Sequence[Establishment], catalogue: Catalogue
) -> list[Point]:
    """What is to be looked at for one establishment and month; empty when all is well."""
    quality = published.quality
    reasons = {row.reason for row in published.rows if row.reason}
    found = []
    if quality.unknown_establishment:
        found.append(
            Point(
                "finess-inconnu",
                "Ces faits ne sont rattachés à aucun établissement : leur émetteur ne donne pas de FINESS.",
                "Associez chaque établissement émetteur (MSH-4) à son FINESS, ou faites-le porter par le message "
                "(PV1-19.4.2 ou PRT-8.10). Les faits à venir iront à leur établissement.",
                ("[indicators] facilities", "docs/indicators.md"),
            )
        )
    elif any(e.finess == UNKNOWN_FINESS for e in establishments):
        found.append(
            Point(
                "finess-inconnu",
                "Des faits ne sont rattachés à aucun établissement : ils ne sont pas dans les chiffres ci-contre.",
                "Associez leur émetteur (MSH-4) à un FINESS dans les réglages.",
                ("[indicators] facilities",),
                link=(
                    f"{ROOT}?etablissement={UNKNOWN_FINESS}&mois={published.month}",
                    "Voir les chiffres sans établissement",
                ),
            )
        )
    if not quality.adt_feed:
        # the patients of the month are known as far as events told consultations
        part = "" if "no_consultation_feed" in reasons else _OF_EVENTS
        found.append(
            Point(
                "sans-adt",
                "Aucun mouvement (ADT) n’est connu à la fin du mois : les taux de séjours ne peuvent pas "
                f"être calculés.{part}",
                "Faites envoyer par le DPI ses messages ADT (PAM-FR : A01, A03, A11, Z99…) au port MLLP de la "
                "passerelle, ou importez les faits du passé.",
                ("[indicators] enabled", "docs/indicators.md, « From ADT to stays »"),
            )
        )
    found += _feeds(reasons)
    if quality.unknown_types:
        found.append(
            Point(
                "types-inconnus",
                "Des documents sont d’un type qui n’a pas de ligne à lui : ils sont comptés dans « Autres types ».",
                "Vérifiez le code que le DPI donne à ces documents. S’il est juste, activez le type dans le catalogue.",
                ("[indicators] catalogue", "indicators/catalogue.yaml, « types »"),
                tuple(
                    (_type(code, catalogue), words.plural(count, "envoi", "envois"))
                    for code, count in quality.unknown_types.items()
                ),
            )
        )
    found += _stays(published)
    return found


def _type(code: str, catalogue: Catalogue) -> str:
    title = catalogue.title_of_type(code)
    return f"{code} ({title})" if title != code else code


def _feeds(reasons: set[str]) -> list[Point]:
    found = []
    if "no_consultation_feed" in reasons:
        found.append(
            Point(
                "sans-consultations",
                "Aucune consultation externe n’est connue : leurs taux ne peuvent pas être calculés.",
                "Faites envoyer les ADT de classe O (PV1-2), ou les événements « consultation_visit » du DPI.",
                ("docs/indicators.md, « Facts »",),
            )
        )
    if "no_user_census" in reasons:
        found.append(
            Point(
                "sans-recensement",
                "Le nombre de comptes du DPI n’est pas connu pour toutes les professions : la part des utilisateurs "
                "(CON-3) ne peut pas être calculée.",
                "Faites envoyer par le DPI un recensement (« user_census ») de chaque profession avant la fin du mois.",
                ("docs/indicators.md, « Facts »",),
            )
        )
    if "census_too_small" in reasons:
        found.append(
            Point(
                "recensement-trop-petit",
                "Le recensement compte moins d’utilisateurs que ceux qui ont consulté le DMP.",
                "Faites refaire le recensement de la profession (« user_census ») par le DPI : comptes actifs le "
                "dernier jour du mois.",
                ("docs/indicators.md, « Facts »",),
            )
        )
    return found


def _stays(published: Published) -> list[Point]:
    quality, found = published.quality, []
    if quality.submissions_without_stay:
        n = words.plural(
            quality.submissions_without_stay, "document envoyé nomme", "documents envoyés nomment"
        )
        found.append(
            Point(
                "sans-sejour",
                f"{n} un séjour qu’aucun mouvement n’a dit (tous mois confondus) : ils ne comptent dans aucun taux de "
                "séjours.",
                "Comparez l’identifiant du séjour (PV1-19, sinon PID-18) et son autorité dans les ADT et dans les "
                "messages MDM ou ORU : ce doivent être les mêmes.",
                ("docs/indicators.md, « From ADT to stays »",),
            )
        )
    if quality.late_successes:
        n = words.plural(quality.late_successes, "envoi réussi est arrivé", "envois réussis sont arrivés")
        found.append(
            Point(
                "tardifs",
                f"{n} après l’arrêté ({words.instant(published.cutoff)}) pour des séjours clôturés dans le mois : "
                "ils ne comptent pas.",
                "Cherchez ce qui retarde la signature ou l’envoi des documents ; l’arrêté se règle dans le catalogue.",
                ("indicators/catalogue.yaml, « cutoff_days »",),
            )
        )
    if quality.closed_without_admission:
        n = words.plural(quality.closed_without_admission, "séjour clôturé n’a", "séjours clôturés n’ont")
        found.append(
            Point(
                "sans-admission",
                f"{n} pas d’admission connue (A01, A04).",
                "Des ADT ont manqué, ou le flux a commencé en cours de séjour : faites-les renvoyer par le DPI ou "
                "importez-les.",
                ("docs/indicators.md, « From ADT to stays »",),
            )
        )
    if quality.closed_without_class:
        n = words.plural(quality.closed_without_class, "séjour clôturé n’a", "séjours clôturés n’ont")
        found.append(
            Point(
                "sans-classe",
                f"{n} pas de classe (PV1-2) : on ne sait pas si c’est une hospitalisation, ils ne comptent pas.",
                "Faites renseigner PV1-2 dans les ADT d’admission.",
                ("docs/indicators.md, « From ADT to stays »",),
            )
        )
    return found
