"""French texts of the error mails. Pure.

Purpose: subject and text part: what failed, for which message, why, what the gateway did, what to do.
Guarantee: the subject begins as the profile's « courriel standard » does, so that a mail that comes back is known for
an error and its archive is never taken for a new document (`connectors.mss.receipts.classify`).
Source: spec/mssante.md §2.6; volet Transmission au LPS v1.1.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from connectors.errors.plan import ReportPlan, Told
from connectors.mss.inbound.reports import KO
from connectors.mss.wording import one_line

PARIS = ZoneInfo("Europe/Paris")
DESTINATIONS = {"dmp": "DMP", "mss": "MSSanté", "dpi": "accusé métier (ZAM) vers le DPI"}
ACTIONS = {"submit": "envoi initial", "replace": "remplacement", "delete": "suppression"}
_LINES = 200
"""Errors in the table of a group; those beyond are counted."""


def when(at: datetime) -> str:
    """`20/11/2026 14:03`, Paris time."""
    return at.astimezone(PARIS).strftime("%d/%m/%Y %H:%M")


def what(told: Told) -> str:
    """The failure in a few words."""
    target = DESTINATIONS.get(told.destination, told.destination)
    if told.flow == "refused":
        return "Message du DPI refusé"
    if told.flow == "alarm":
        return "Alarme de la passerelle"
    if told.flow == "inbound":
        return "Courriel reçu non intégré"
    if told.flow == "receipt":
        ending = "non intégré par le destinataire" if told.event == "Z03" else "non remis au destinataire"
        return f"Courriel MSSanté {ending}"
    if told.destination == "dpi":
        return "Accusé métier (ZAM) non remis au DPI"
    return f"Envoi {target} non abouti"


def subject(plan: ReportPlan, original: str) -> str:
    """`[KO Intégration système !][code] …`; `original` (it names the patient) only where the plan allows it."""
    first = plan.told[0]
    code = one_line(first.code) or "906"
    if plan.count > 1:
        return f"{KO}[{code}] {plan.count} erreurs - {what(first)}"
    if not plan.patient_in_subject:
        reference = f"message {one_line(first.control_id)}" if first.control_id else f"incident {first.id}"
        return f"{KO}[{code}] {what(first)} - {reference}"
    if first.flow == "inbound":
        return f"{KO}[{code}] {original}".strip()
    return f"{KO}[{code}] {what(first)} - {original}".removesuffix(" - ")


def text(plan: ReportPlan, attached: Sequence[str], missing: Sequence[str]) -> str:
    """The text part. `attached`: names of the files; `missing`: of those that do not fit."""
    lines = _one(plan.told[0]) if plan.count == 1 else _several(plan)
    lines.append("")
    if attached:
        lines += ["Pièces jointes :", *(f"- {name}" for name in attached)]
    else:
        lines.append("Aucune pièce n'est jointe.")
    if missing:
        lines += [
            "",
            f"Pièces qui ne tiennent pas dans ce courriel ({_megabytes(plan.max_bytes)} au plus) :",
            *(f"- {name}" for name in missing[:_LINES]),
            *([f"- et {len(missing) - _LINES} autres"] if len(missing) > _LINES else []),
            "Elles restent dans le journal de la passerelle : votre service informatique les retrouve avec "
            "l'identifiant (MSH-10) du message ou le numéro de l'incident ci-dessus.",
        ]
    lines += ["", "Courriel automatique de la passerelle Ségur : merci de ne pas y répondre."]
    return "\n".join(lines)


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:g} Mo".replace(".", ",")


def _one(told: Told) -> list[str]:
    return [
        f"{what(told)}.",
        "",
        *_why(told),
        "",
        f"Incident : n° {told.id}, {when(told.at)} (heure de Paris)",
        *_which(told),
        "",
        f"Ce que la passerelle a fait : {_done(told)}",
        f"Que faire : {_advice(told)}",
    ]


def _why(told: Told) -> list[str]:
    label = told.label or "sans libellé"
    return [f"Raison : {label} (code {told.code or 'absent'}).", *(f"- {reason}" for reason in told.reasons)]


def _which(told: Told) -> list[str]:
    rows = (
        ("Message du DPI (MSH-10)", told.control_id),
        ("Émetteur", told.route.replace("|", " / ") if told.flow != "inbound" else ""),
        ("Opération", ACTIONS.get(told.action, told.action) if told.destination != "dpi" else ""),
        ("Destination", DESTINATIONS.get(told.destination, told.destination)),
        ("Destinataire", told.recipient if told.destination == "mss" else ""),
        ("Boîte de réception", told.mailbox),
        ("Documents", ", ".join(told.uids)),
    )
    return [f"{name} : {value}" for name, value in rows if value]


def _done(told: Told) -> str:
    if told.flow == "refused":
        return "elle a refusé le message (réponse AE avec toutes les erreurs) ; rien n'a été transmis."
    if told.flow == "alarm":
        return "rien n'est perdu : elle continue ce qu'elle peut, et dit dans son journal la fin de l'alarme."
    if told.flow == "inbound":
        return "elle n'a rien transmis au DPI qui n'ait pas été accepté, et garde le courriel d'origine."
    if told.flow == "receipt":
        return (
            "elle avait remis le courriel à l'opérateur ; l'accusé reçu ensuite, ou attendu et jamais venu, n'en "
            "confirme pas l'arrivée. Elle n'envoie rien de nouveau ; le DPI en est informé s'il l'a demandé."
        )
    if told.destination == "dpi":
        return "elle a essayé de remettre l'accusé, puis a arrêté. Le document lui-même n'est pas concerné."
    ending = (
        "elle a essayé pendant toute la durée prévue, puis a abandonné l'envoi"
        if told.state == "expired"
        else "elle a arrêté l'envoi, que la destination a refusé"
    )
    return f"{ending} ; le DPI en est informé s'il l'a demandé."


def _advice(told: Told) -> str:
    if told.flow == "refused":
        return "corrigez le message ou le document dans le DPI, puis envoyez-le de nouveau."
    if told.flow == "alarm":
        return "prévenez l'équipe qui exploite la passerelle (docs/operations.md, « alarms »)."
    if told.flow == "inbound":
        return (
            "vérifiez l'identité du patient, puis intégrez le document à la main, ou demandez à l'expéditeur de le "
            "corriger et de l'envoyer de nouveau."
        )
    if told.destination == "dpi":
        return (
            "vérifiez la liaison avec le DPI ; l'état de la remise est lisible sur la page de la passerelle."
        )
    if told.destination == "dmp":
        return (
            "vérifiez dans le DMP si le document y est, corrigez la cause, puis envoyez-le de nouveau depuis le DPI "
            "ou déposez à la main l'archive jointe."
        )
    return (
        "vérifiez l'adresse et l'identité du patient, puis envoyez le document de nouveau depuis le DPI, ou à la main "
        "avec les pièces jointes."
    )


def _several(plan: ReportPlan) -> list[str]:
    first, last = plan.told[0], plan.told[-1]
    lines = [
        f"{plan.count} erreurs de même nature : {what(first)}.",
        "",
        f"Raison de la première : {first.label or 'sans libellé'} (code {first.code or 'absent'}).",
        f"De {when(first.at)} à {when(last.at)} (heure de Paris). Les premières ont eu chacune leur courriel ; "
        "celles-ci sont regroupées pour ne pas encombrer votre boîte.",
        "",
        f"Ce que la passerelle a fait : {_done(first)}",
        f"Que faire : {_advice(first)}",
        "",
        "incident ; heure ; message (MSH-10) ou boîte ; destinataire ; documents",
    ]
    for told in plan.told[:_LINES]:
        row = (
            f"n° {told.id}",
            when(told.at),
            told.control_id or told.mailbox,
            told.recipient if told.destination == "mss" else DESTINATIONS.get(told.destination, ""),
            ", ".join(told.uids),
        )
        lines.append(" ; ".join(one_line(cell) or "-" for cell in row))
    if plan.count > min(_LINES, len(plan.told)):
        lines.append(
            f"et {plan.count - min(_LINES, len(plan.told))} autres : liste complète sur la page « erreurs » de la "
            "passerelle."
        )
    return lines
