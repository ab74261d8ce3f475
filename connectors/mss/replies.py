"""SMTP replies and faults as outcomes. Pure.

Purpose: one place that says what an SMTP code, a broken connection or a certificate fault means for a
delivery.
Guarantee: the code of every outcome is in the table SMTPERRORCODE of the volet (ZAM^Z02, ERR-5); the server's
own code and enhanced status go to `details`, its text nowhere (it may quote the recipient or the subject).
Source: spec/hl7-transmission.md §3 (table), spec/mssante.md §1.9, RFC 5321 §4.2, RFC 3463.
"""

from __future__ import annotations

import re
import ssl
from enum import StrEnum

from connectors.port import Outcome, OutcomeClass

LABELS = {
    "101": "Connexion impossible au serveur de messagerie",
    "111": "Connexion refusée par le serveur de messagerie",
    "250": "Message accepté par l'opérateur",
    "251": "Message accepté, relayé vers une autre adresse",
    "252": "Message accepté sans vérification du destinataire",
    "420": "Délai dépassé pendant le transfert",
    "421": "Service de messagerie indisponible",
    "422": "Boîte du destinataire pleine",
    "431": "Espace disque ou mémoire insuffisant chez l'opérateur",
    "432": "Changement de mot de passe requis",
    "441": "Le serveur du destinataire ne répond pas",
    "442": "Connexion interrompue pendant la transmission",
    "450": "Boîte du destinataire momentanément indisponible",
    "451": "Erreur de traitement chez l'opérateur",
    "452": "Ressources insuffisantes chez l'opérateur",
    "500": "Commande non reconnue par l'opérateur",
    "501": "Paramètre refusé par l'opérateur",
    "502": "Commande non prise en charge par l'opérateur",
    "503": "Ordre des commandes refusé par l'opérateur",
    "504": "Paramètre non pris en charge par l'opérateur",
    "510": "Adresse du destinataire incorrecte",
    "512": "Domaine du destinataire introuvable",
    "513": "Type d'adresse incorrect",
    "523": "Message trop volumineux pour l'opérateur",
    "530": "Authentification requise par l'opérateur",
    "541": "Message rejeté par l'opérateur",
    "550": "Boîte du destinataire inexistante",
    "551": "Destinataire non géré par ce serveur",
    "552": "Espace alloué dépassé",
    "553": "Nom de boîte incorrect",
    "554": "Échec définitif de la transmission",
}
"""Our French words for the codes of the table, and for acceptance."""

_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_AUTHENTICATION = frozenset({530, 534, 535, 538})
_SIZE_REPLIES = frozenset({523, 552})


class Phase(StrEnum):
    """Where in the dialogue a reply came."""

    CONNECT = "connect"
    """Greeting, EHLO, STARTTLS, AUTH."""
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    """The reply to the final dot, or one that came before it."""


def outcome(kind: OutcomeClass, code: str, **details: object) -> Outcome:
    """An outcome with our label for `code` (a code of the table)."""
    return Outcome(kind, code, LABELS[code], details)


def table_code(reply: int) -> str:
    """The code of the table for a server's `reply`: itself when listed, else the nearest general one."""
    text = str(reply)
    if text in LABELS:
        return text
    if reply in _AUTHENTICATION:
        return "530"
    return {2: "250", 5: "554"}.get(reply // 100, "451")


def of_reply(phase: Phase, reply: int, text: str = "") -> Outcome:
    """The outcome of a server's reply at `phase`. `text` is only searched for an enhanced status code."""
    found = _ENHANCED.match(text)
    enhanced = found[0] if found else ""
    details: dict[str, object] = {"phase": phase.value, "reply": reply}
    if enhanced:
        details["enhanced"] = enhanced
    return Outcome(_class(phase, reply, enhanced), table_code(reply), LABELS[table_code(reply)], details)


def _class(phase: Phase, reply: int, enhanced: str) -> OutcomeClass:
    if 200 <= reply < 300 and phase is Phase.BODY:
        return OutcomeClass.SUCCESS
    if 400 <= reply < 500:
        # 432 is the mechanism's own word for "the account must be changed by a person" (RFC 4954 §6)
        return OutcomeClass.CONFIGURATION if reply == 432 else OutcomeClass.TRANSIENT
    if reply in _AUTHENTICATION:
        return OutcomeClass.CONFIGURATION
    if 500 <= reply < 600:
        if phase is Phase.CONNECT:
            return OutcomeClass.CONFIGURATION
        if phase is Phase.MAIL and reply not in _SIZE_REPLIES and not enhanced.endswith(".3.4"):
            # before any recipient is named, only the sender or the session can be wrong: every mail would
            # fail
            return OutcomeClass.CONFIGURATION
        return OutcomeClass.PERMANENT
    # 1yz, 3yz or an unreadable reply where they make no sense: the session is broken, nothing was accepted
    return OutcomeClass.TRANSIENT if phase is not Phase.BODY else OutcomeClass.UNCERTAIN


def of_tls_fault(fault: BaseException) -> Outcome | None:
    """CONFIGURATION when a certificate is at fault (theirs or ours), TRANSIENT for another TLS fault, None
    when `fault` has nothing to do with TLS. The whole chain of causes is read: libraries wrap them."""
    seen: BaseException | None = fault
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            reason = (seen.reason or "").upper()
            about_trust = isinstance(seen, ssl.SSLCertVerificationError) or any(
                word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
            )
            kind = OutcomeClass.CONFIGURATION if about_trust else OutcomeClass.TRANSIENT
            return outcome(kind, "101", phase=Phase.CONNECT.value, tls=reason or type(seen).__name__)
        seen = seen.__cause__ or seen.__context__
    return None
