"""ITI-43: documents by uniqueId.

Purpose: the bytes that were submitted, exactly.
Guarantee: only documents of the VIHF's patient, not deleted, not hidden from the caller; what is found is given beside
the errors of what is not (PartialSuccess).
Fails: `Refusal` when the request names no document.
Source: spec/dmp.md §5 (end), §1.4; IHE ITI TF-2 3.43.
"""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from connectors.dmp.simulator.answers import Refusal
from connectors.dmp.simulator.checks import Caller
from connectors.dmp.simulator.registry import Registry, StoredEntry
from connectors.dmp.simulator.rim import REPOSITORY_OID
from connectors.xds import ebrim

_IHE = f"{{{ebrim.IHE}}}"


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What was found, and the errors (code, words) for the rest."""

    documents: tuple[StoredEntry, ...]
    errors: tuple[tuple[str, str], ...]


def asked(envelope: etree._Element) -> list[tuple[str, str]]:
    """(RepositoryUniqueId, DocumentUniqueId) of each DocumentRequest."""
    return [
        (
            (one.findtext(f"{_IHE}RepositoryUniqueId") or "").strip(),
            (one.findtext(f"{_IHE}DocumentUniqueId") or "").strip(),
        )
        for one in envelope.iter(f"{_IHE}DocumentRequest")
    ]


def run(registry: Registry, envelope: etree._Element, caller: Caller) -> Retrieved:
    """The documents of the request."""
    wanted = asked(envelope)
    if not wanted:
        raise Refusal("XDSRepositoryError", "sim: aucun DocumentRequest")
    found: list[StoredEntry] = []
    errors: list[tuple[str, str]] = []
    with registry.locked():
        for repository, unique_id in wanted:
            entry = registry.by_unique_id(unique_id)
            if repository != REPOSITORY_OID:
                errors.append(("XDSUnknownRepositoryId", f"sim: {unique_id}"))
            elif entry is None or entry.status == "Deleted" or not _readable(entry, caller):
                errors.append(("XDSDocumentUniqueIdError", f"sim: {unique_id}"))
            else:
                found.append(entry)
    return Retrieved(tuple(found), tuple(errors))


def _readable(entry: StoredEntry, caller: Caller) -> bool:
    if entry.patient_id != caller.patient:
        return False
    return entry.signature or "MASQUE_PS" not in entry.confidentiality or caller.structure in entry.structures
