"""Why a subject counts or not: one word for the code, one sentence in French for the reader.

Purpose: the reasons that lists give. Pure data.
Guarantee: every reason has its sentence.
"""

from __future__ import annotations

from enum import StrEnum


class Why(StrEnum):
    """The reason; `sentence` says it in French."""

    COUNTS = "counts"
    NOTHING_SENT = "nothing_sent"
    FAILED = "failed"
    TAKEN_BACK = "taken_back"
    PENDING = "pending"
    TOO_LATE = "too_late"
    DELETED = "deleted"
    CANCELLED = "cancelled"
    OTHER_CLASS = "other_class"
    OTHER_MONTH = "other_month"
    HISTORICAL = "historical"
    NOT_HISTORICAL = "not_historical"
    TOO_OLD = "too_old"
    NO_DATE = "no_date"
    NO_EARLIER_STAY = "no_earlier_stay"
    NOTHING_FED_BEFORE = "nothing_fed_before"
    NOT_RECORDED = "not_recorded"
    OPPOSED = "opposed"
    NOT_OPPOSED = "not_opposed"
    NOT_CONSULTED = "not_consulted"
    CONTEXT_CALL = "context_call"
    OTHER_TRANSACTION = "other_transaction"
    PREFETCH = "prefetch"
    NO_USER = "no_user"
    ACCOUNT = "account"
    REPEATED = "repeated"
    IN_FORMAT = "in_format"
    OTHER_MODE = "other_mode"
    INTEGRATED = "integrated"
    NOT_QUALIFIED = "not_qualified"
    OTHER_RESULT = "other_result"

    @property
    def sentence(self) -> str:
        """For a reader."""
        return _SENTENCES[self]


_SENTENCES = {
    Why.COUNTS: "Compte.",
    Why.NOTHING_SENT: "Aucun envoi de ce type par ce canal.",
    Why.FAILED: "Envoyé, mais en échec : seuls les succès comptent.",
    Why.TAKEN_BACK: "Accepté d'abord, puis un avis d'échec est arrivé : ne compte plus.",
    Why.PENDING: "Envoi en attente de résultat.",
    Why.TOO_LATE: "Envoi réussi après l'arrêté du mois.",
    Why.DELETED: "Envoyé avec succès, puis supprimé.",
    Why.CANCELLED: "Séjour annulé.",
    Why.OTHER_CLASS: "La classe du séjour (PV1-2) n'est pas de celles que l'indicateur retient.",
    Why.OTHER_MONTH: "Le premier envoi réussi est d'un autre mois.",
    Why.HISTORICAL: "Document historique : compté dans ALI-4.",
    Why.NOT_HISTORICAL: "Document versé en flux, pas un document historique.",
    Why.TOO_OLD: "Document plus ancien que la profondeur retenue.",
    Why.NO_DATE: "La date du document n'est pas connue : son ancienneté ne se prouve pas.",
    Why.NO_EARLIER_STAY: "Le patient n'a pas de venue antérieure dans la profondeur retenue.",
    Why.NOTHING_FED_BEFORE: "Aucun document d'une venue antérieure n'a été versé au DMP.",
    Why.NOT_RECORDED: "L'information du patient n'est pas enregistrée.",
    Why.OPPOSED: "Le patient s'est opposé à l'alimentation ou à la consultation.",
    Why.NOT_OPPOSED: "Le patient a été informé et ne s'est pas opposé.",
    Why.NOT_CONSULTED: "Aucune consultation réussie.",
    Why.CONTEXT_CALL: "TD0.9 : une connexion peut manquer encore, la consultation n'est pas certaine.",
    Why.OTHER_TRANSACTION: "Cette transaction ne consulte pas.",
    Why.PREFETCH: "Téléchargement fait d'avance, sans l'utilisateur.",
    Why.NO_USER: "L'utilisateur n'est pas nommé.",
    Why.ACCOUNT: "Comptes actifs recensés.",
    Why.REPEATED: "Le même document du même message est déjà compté.",
    Why.IN_FORMAT: "Document CDA.",
    Why.OTHER_MODE: "Intégré d'une autre façon.",
    Why.INTEGRATED: "Intégré avant la fin du mois.",
    Why.NOT_QUALIFIED: "L'identité (INS) n'est pas qualifiée.",
    Why.OTHER_RESULT: "Un autre résultat.",
}
