"""French words of the page of received mails: kinds, reasons, states of mailboxes and receipts."""

from __future__ import annotations

from gateway.hl7.tables import APPLICATION_ERRORS, label

KINDS = {
    "": "en cours de lecture",
    "inbound": "document(s)",
    "dsn": "avis de remise",
    "mdn": "accusé de lecture",
    "error-mail": "courriel d’erreur d’un destinataire",
    "automatic": "réponse automatique",
    "quarantine": "mis de côté",
    "duplicate": "déjà reçu",
    "too-large": "trop volumineux",
}
MAILBOXES = {
    "starting": "connexion en cours",
    "refused": "serveur injoignable",
    "timeout": "le serveur ne répond pas à temps",
    "cut": "connexion coupée",
    "bye": "le serveur a fermé la session",
    "busy": "boîte momentanément indisponible",
    "protocol": "réponse du serveur non conforme à IMAP",
    "tls": "échec de la connexion chiffrée (TLS)",
    "bug": "erreur interne de la passerelle",
    "keep": "la passerelle ne peut pas enregistrer les courriels",
    "certificate": "certificat refusé : celui du serveur (ca_bundle, host) ou le nôtre (client_cert)",
    "starttls": "le serveur ne propose pas le chiffrement demandé (STARTTLS)",
    "login": "identifiants refusés (user, secret_file)",
    "mechanism": "le serveur ne propose pas l’authentification réglée",
    "folder": "le dossier à lire n’existe pas ou est interdit",
    "files": "secret, certificat ou autorités illisibles sur la passerelle (le journal technique dit lequel)",
}
_WAITING = {
    "route": " : aucune adresse réglée pour cette application (connectors.dpi.routes)",
    "connect": " : DPI injoignable, nouvel essai automatique",
}
REASONS = {
    "TOO-LARGE": "trop volumineux pour être analysé",
    "TOO-COMPLEX": "trop complexe pour être analysé (parties ou en-têtes)",
    "BROKEN-MIME": "structure MIME illisible",
    "NOT-A-DOCUMENT": "ni document ni accusé : à lire par une personne",
    "BOUNCE-UNREADABLE": "avis de non-remise sans rapport exploitable : à lire par une personne",
    "BOUNCE-WITH-DOCUMENT": "réponse automatique qui contient un document : il n’est pas intégré",
    "REPORT-UNREADABLE": "accusé incomplet ou illisible",
    "CONTRADICTION": "accusé qui se contredit",
    "UNKNOWN-DELIVERY": "accusé qui ne correspond à aucun envoi connu",
    "OTHER-RECIPIENT": "accusé qui concerne un autre destinataire que celui de l’envoi",
    "INTERNAL": "erreur interne de la passerelle",
}
FACTS = {
    "received": "reçu par la messagerie du destinataire",
    "not-received": "non remis au destinataire",
    "delayed": "remise retardée",
    "read": "lu ou intégré par le destinataire",
    "not-integrated": "non intégré par le destinataire",
    "no-news": "aucun accusé reçu",
}
_PROGRESS = {
    "received": "à traiter",
    "forwarded": "transmis au DPI, réponse attendue",
    "ended": "réponse du DPI reçue",
}
_MDN = {"succeeded": "envoyé", "refused": "non remis", "expired": "abandonné"}


def kind(code: str) -> str:
    """Kind of a mail in French."""
    return KINDS.get(code, code)


def mailbox(code: str) -> str:
    """Why a mailbox is not read."""
    return MAILBOXES.get(code, code)


def reason(code: str) -> str:
    """Why a mail was not integrated, or was set aside: with the label of its code."""
    words = REASONS.get(code) or label(APPLICATION_ERRORS, code)
    return f"{code} : {words}" if words else code


def progress(state: str, kind_code: str, reason_code: str, integrated: int = 0) -> str:
    """What became of a mail; `integrated`: how many of its documents the DPI took."""
    if state != "treated":
        return _PROGRESS.get(state, state)
    if kind_code == "inbound":
        refused = "intégré en partie" if integrated else "non intégré"
        return refused if reason_code else "intégré"
    if kind_code in ("quarantine", "too-large"):
        return "à traiter par une personne"
    return "à traiter par une personne" if reason_code else "traité"


def dpi_answer(state: str, answer: str, errors: list[str]) -> str:
    """What the DPI answered about a document: `AA`, `AE 207/902`."""
    if state == "succeeded":
        return "intégré par le DPI (AA)"
    if state in ("refused", "expired"):
        codes = f" {', '.join(errors)}" if errors else ""
        return f"refusé par le DPI ({answer}{codes})" if state == "refused" else "le DPI n’a pas répondu"
    return f"en attente du DPI{_WAITING.get(answer, '')}"


def mdn(state: str | None) -> str:
    """Whether the sender was answered."""
    return "non demandé" if state is None else _MDN.get(state, "en cours d’envoi")


def fact(code: str) -> str:
    """A receipt in French."""
    return FACTS.get(code, code)
