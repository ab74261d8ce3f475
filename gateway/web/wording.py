"""French words of the page for states, destinations and answers."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

PARIS = ZoneInfo("Europe/Paris")

STATES = {
    "received": "reçu",
    "answered": "répondu",
    "held": "en attente de la version précédente",
    "ready": "à envoyer",
    "sending": "en cours",
    "uncertain": "à vérifier",
    "suspended": "suspendu (configuration)",
    "succeeded": "réussi",
    "refused": "refusé",
    "expired": "abandonné (délai dépassé)",
    "cancelled": "annulé",
    "on_hold": "retenu par l’exploitant",
}
DESTINATIONS = {"dmp": "DMP", "mss": "MSSanté", "dpi": "Retour au DPI (ZAM)", "errors": "Boîte d’erreurs"}
EVENTS = {"Z01": "DMP", "Z02": "MSSanté", "Z03": "lecture MSSanté"}
FLOWS = {
    "outbound": "Envoi non abouti",
    "inbound": "Courriel reçu non intégré",
    "receipt": "Accusé d’échec",
    "refused": "Message refusé",
    "alarm": "Alarme",
}
ACKS = {"AA": "accepté", "AE": "refusé (erreur)", "AR": "à renvoyer plus tard"}


def state(code: str) -> str:
    """A state in French."""
    return STATES.get(code, code)


def destination(code: str, event: str | None = None) -> str:
    """A destination in French; of a ZAM, which one: `Retour au DPI (ZAM Z01, DMP)`."""
    if event in EVENTS:
        return f"Retour au DPI (ZAM {event}, {EVENTS[event]})"
    return DESTINATIONS.get(code, code)


def flow(code: str) -> str:
    """The flow of an incident in French."""
    return FLOWS.get(code, code)


def ack(code: str | None) -> str:
    """`AA — accepté`."""
    return f"{code} — {ACKS.get(code, '')}" if code else "pas encore répondu"


def time(iso: str | None) -> str:
    """`20/11/2026 14:03:09`, Paris time."""
    return datetime.fromisoformat(iso).astimezone(PARIS).strftime("%d/%m/%Y %H:%M:%S") if iso else "—"
