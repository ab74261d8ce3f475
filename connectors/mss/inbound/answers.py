"""What the DPI answered, and the code that goes into the MDN and the error mail. Pure.

Purpose: read the ACK of an MDM as an outcome; take the one code of table 0533 that says why a mail was not integrated.
Guarantee: an answer counts only when MSA-2 is the MSH-10 sent; a code of the HL7 layer (1xx, 20x) or an unknown one
becomes 906; of the DPI's texts only codes are kept (`details`), its words may quote a patient.
Fails: never for what is in the bytes.
Source: spec/mssante.md §2.4, §3.2 (technical codes → 207 + 906); HL7 v2.6 chapter 2 (MSA, ERR).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from connectors.port import Outcome, OutcomeClass
from gateway.errors import BadInput, Finding
from gateway.hl7.acknowledgement import AckError, read
from gateway.hl7.tables import APPLICATION_ERRORS, label, table

OTHER = "906"
_CODE = re.compile(r"[0-9A-Za-z_-]{1,10}")
_KINDS = {"AA": OutcomeClass.SUCCESS, "AE": OutcomeClass.PERMANENT, "AR": OutcomeClass.TRANSIENT}
_LABELS = {
    "AA": "Document intégré par le DPI",
    "AR": "Le DPI ne peut pas intégrer le document pour le moment",
}


@dataclass(frozen=True, slots=True)
class IntegrationError:
    """Why a mail was not integrated: a code of table 0533 and French sentences, without patient data."""

    code: str
    label: str
    reasons: tuple[str, ...] = ()
    """One sentence for each finding or code, for the person who integrates by hand."""


def judge(raw: bytes, control_id: str) -> Outcome:
    """The outcome of the DPI's answer to the message whose MSH-10 is `control_id`.

    SUCCESS (AA), PERMANENT (AE: `code` is of table 0533), TRANSIENT (AR: may be sent again; an answer that is
    unreadable or is about another message says nothing).
    """
    try:
        answer = read(raw)
    except BadInput:
        return Outcome(OutcomeClass.TRANSIENT, "ACK", "Réponse illisible du DPI")
    if answer.acknowledged != control_id:
        return Outcome(OutcomeClass.TRANSIENT, "MSA-2", "Réponse du DPI à un autre message")
    kind = _KINDS.get(answer.code)
    if kind is None:
        # CA, CE, CR: the message was received, nothing is said of the document
        return Outcome(OutcomeClass.TRANSIENT, "MSA-1", "Le DPI n'a pas répondu sur l'intégration")
    errors = [e for e in answer.errors if e.severity not in ("I", "W")] or list(answer.errors)
    told = [found for e in errors if (found := "/".join(c for c in (e.err3, e.err5) if _CODE.fullmatch(c)))]
    details = {"errors": told} if told else {}
    if kind is OutcomeClass.PERMANENT:
        error = _application_error(errors)
        return Outcome(kind, error.code, error.label, details)
    return Outcome(kind, answer.code, _LABELS[answer.code], details)


def error_of_outcome(outcome: Outcome) -> IntegrationError:
    """The error to report for an outcome that is not a success."""
    told = outcome.details.get("errors", ())
    known = table(APPLICATION_ERRORS)
    # `207/902` of the DPI's ERR; a precise code says more than "other"
    given = [e.partition("/")[2] for e in told if isinstance(e, str) and e.startswith(("207/", "/"))]
    codes = [c for c in (outcome.code, *given) if c in known]
    code = next((c for c in codes if c != OTHER), OTHER)
    reasons = [outcome.label, *(f"Code d'erreur du DPI : {code}" for code in told if isinstance(code, str))]
    return IntegrationError(code, label(APPLICATION_ERRORS, code), tuple(r for r in reasons if r))


def error_of_findings(findings: Iterable[Finding]) -> IntegrationError:
    """The error to report for a mail that the gateway itself refuses: the code of the first rejecting finding that
    has another than 906, else 906; every sentence."""
    rejecting = [f for f in findings if f.rejects]
    codes = [f.err5 for f in rejecting if f.err5 and f.err5 != OTHER]
    code = codes[0] if codes else OTHER
    reasons = tuple(dict.fromkeys(f"{f.text} ({f.rule})" for f in rejecting))
    return IntegrationError(code, label(APPLICATION_ERRORS, code), reasons)


def _application_error(errors: Iterable[AckError]) -> IntegrationError:
    known = table(APPLICATION_ERRORS)
    codes = [e.err5 for e in errors if e.err3 in ("207", "") and e.err5 in known]
    # a precise code says more than "other"
    code = next((c for c in codes if c != OTHER), OTHER)
    return IntegrationError(code, label(APPLICATION_ERRORS, code))
