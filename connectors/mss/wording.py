"""Words of a mail made from the documents: subject, PDF names, ASCII forms. Pure.

Purpose: every text taken from a document passes here before it reaches a header, a file name or README.TXT.
Guarantee: results hold no control character, no line end, and no character a file system or ZIP reader
refuses.
Source: spec/mssante.md §1.2 (Subject ECO.2.1.3, PDF name ECO.2.1.6, X-MSS-INS ECO.2.4.2).
"""

from __future__ import annotations

import re
import unicodedata

from gateway.cda.document import CdaPatient, Document
from gateway.hl7.transmission import Patient

_FORBIDDEN_IN_NAMES = re.compile(r'[/\\:*?"<>|]')
_BLANKS = re.compile(r"\s+")
_CODE = re.compile(r"[^A-Za-z0-9._-]")
_LIGATURES = str.maketrans(
    {"œ": "oe", "Œ": "OE", "æ": "ae", "Æ": "AE", "ß": "ss", "’": "'", "–": "-", "—": "-"}
)
PDF_TYPE_MAX = 40
"""ECO.2.1.6: the document type in a PDF name has at most 40 characters."""


def one_line(text: str) -> str:
    """`text` on one line: control, format and separator characters become blanks, blanks are single."""
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text)
    return _BLANKS.sub(" ", clean).strip()


def ascii_form(text: str) -> str:
    """`text` in printable 7-bit ASCII: accents dropped, anything else becomes `?`."""
    folded = unicodedata.normalize("NFKD", text.translate(_LIGATURES))
    kept = "".join(c for c in folded if not unicodedata.combining(c))
    return "".join(c if " " <= c <= "~" or c in "\r\n" else "?" for c in kept)


def file_name(text: str) -> str:
    """`text` as a part of a file name: one line, without the characters that Windows refuses."""
    return one_line(_FORBIDDEN_IN_NAMES.sub(" ", text)).strip(". ")


def code_word(text: str) -> str:
    """A code as a header value: letters, digits, `.`, `_` and `-` only."""
    return _CODE.sub("", text)


def french_date(hl7: str) -> str:
    """`dd/mm/yyyy` of YYYYMMDD…, or empty when the day is not known."""
    return f"{hl7[6:8]}/{hl7[4:6]}/{hl7[:4]}" if len(hl7) >= 8 and hl7[:8].isdigit() else ""


def subject(label: str, patient: CdaPatient | None, identity: Patient) -> str:
    """`XDM/1.0/DDM+<label> <NOM> <prénom> <dd/mm/yyyy>`; the document's identity first, else the
    message's."""
    family = (patient.birth_family if patient else "") or identity.birth_family
    given = (patient.birth_given if patient else "") or identity.birth_given
    born = french_date(patient.birth_time if patient else "") or french_date(identity.birth_date)
    words = (one_line(label), one_line(family).upper(), one_line(given), born)
    return "XDM/1.0/DDM+" + " ".join(word for word in words if word)


def pdf_name(document: Document, account: str) -> str:
    """`<act AAAAMMJJ>_<type>_<NOM>_<prénom>[_<account>].pdf` (ECO.2.1.6)."""
    header = document.header
    event = header.principal_event or (header.events[0] if header.events else None)
    day = (event.low if event and event.low else header.effective_time)[:8]
    patient = header.patient
    label = (header.code.label or header.code.code) if header.code else header.title
    parts = (
        file_name(day),
        file_name(label)[:PDF_TYPE_MAX].strip(),
        file_name(patient.birth_family if patient else "").upper()[:60],
        file_name(patient.birth_given if patient else "")[:60],
        file_name(account)[:30],
    )
    return "_".join(part for part in parts if part) + ".pdf"


def ins_complete(document: Document) -> bool:
    """X-MSS-INS is `O`: matricule, OID, birth name, first given name, birth date and sex are all there."""
    patient = document.header.patient
    return (
        patient is not None
        and patient.ins is not None
        and all(
            (
                patient.ins.extension,
                patient.birth_family,
                patient.birth_given,
                patient.birth_time,
                patient.gender,
            )
        )
    )
