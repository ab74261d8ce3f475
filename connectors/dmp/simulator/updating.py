"""ITI-57: status of a document (TD3.3c deletion, TD3.3d archive) and its confidentiality (TD3.3a, TD3.3b).

Purpose: step 9 of §8.2.
Guarantee: a status changes only from the one that the request says is current; nothing but the confidentiality codes
changes in a metadata update, and only on the version that the request says is current.
Fails: `Refusal` with the codes of IHE Metadata Update; `mark` was told the step.
Source: spec/dmp.md §3.8, §1.1 (notes 8 and 9), §8.2; IHE ITI Metadata Update §3.57.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from connectors.dmp.simulator import metadata, rim
from connectors.dmp.simulator.answers import Refusal
from connectors.dmp.simulator.checks import Caller
from connectors.dmp.simulator.registry import Registry, StoredEntry
from connectors.dmp.simulator.submission import Mark, Objects, Rules
from connectors.xds import ebrim

METADATA_ERROR = "XDSRegistryMetadataError"
_MASK: Final = "MASQUE_PS"
_CHANGES: Final = {
    "Approved": frozenset({ebrim.DELETED, ebrim.ARCHIVED}),
    "Archived": frozenset({ebrim.DELETED, ebrim.APPROVED}),
}
"""New statuses by current status (§3.8): what is Deprecated or Deleted stays so."""
_SHORT: Final = {urn: short for short, urn in rim.STATUS.items()}
_REGISTRY_SLOTS: Final = ("hash", "size", "repositoryUniqueId")


def transaction(objects: Objects) -> str:
    """Which of TD3.3a to TD3.3d the request is, as far as it says."""
    for kind, _, _, slots in objects.associations:
        if kind == ebrim.UPDATE_STATUS:
            return "TD3.3c" if slots.get("NewStatus") == (ebrim.DELETED,) else "TD3.3d"
    hidden = any(_MASK in d.codes(ebrim.DOC_CONFIDENTIALITY) for d in objects.described)
    invisible = any(_invisible(d) for d in objects.described)
    # without a look at the registry: what masks is TD3.3a, what makes visible TD3.3b; both have the same rights
    return "TD3.3b" if invisible and not hidden else "TD3.3a"


def _invisible(one: rim.Described) -> frozenset[str]:
    return frozenset(c for c in one.codes(ebrim.DOC_CONFIDENTIALITY) if c.startswith("INVISIBLE_"))


def update(registry: Registry, objects: Objects, caller: Caller, rules: Rules, mark: Mark) -> StoredEntry:
    """Check and change one document; the document."""
    mark("metadata")
    rules.schemas.check("lcm.xsd", objects.request, METADATA_ERROR)
    metadata.check_lot(objects.lot, METADATA_ERROR, rules.tables, strict=rules.strict)
    mark("update")
    asked = [a for a in objects.associations if a[0] == ebrim.UPDATE_STATUS]
    with registry.locked():
        registry.new_set(objects.lot)
        if len(asked) == 1 and not objects.described:
            _, source, target, slots = asked[0]
            if source != objects.lot.object_id:
                raise Refusal("XDSMetadataUpdateError", "sim: sourceObject n'est pas le lot")
            return _status(registry, objects, target, slots, caller, rules)
        if not asked and len(objects.described) == 1:
            return _confidentiality(registry, objects, caller, rules)
    raise Refusal("XDSMetadataUpdateError", "sim: une association de statut, ou un document, attendu")


def _own(entry: StoredEntry, caller: Caller) -> bool:
    """Notes 8 and 9: the structure, or the professional, is among the authors."""
    persons = {p.split("^", 1)[0] for p in entry.described.persons}
    return caller.structure in entry.structures or caller.name_id in persons


def _target(entry: StoredEntry | None, caller: Caller) -> StoredEntry:
    if entry is None or entry.signature or entry.status == "Deleted":
        raise Refusal("UnresolvedReferenceException", "sim: entryUUID inconnu")
    if entry.patient_id != caller.patient:
        raise Refusal("XDSPatientIdDoesNotMatch", "sim: document d'un autre patient")
    return entry


def _status(
    registry: Registry,
    objects: Objects,
    target: str,
    slots: Mapping[str, tuple[str, ...]],
    caller: Caller,
    rules: Rules,
) -> StoredEntry:
    entry = _target(registry.by_uuid(target), caller)
    if rules.strict and not _own(entry, caller):
        raise Refusal("XDSMetadataUpdateError", "sim: document d'une autre structure")
    if slots.get("OriginalStatus") != (rim.STATUS[entry.status],):
        raise Refusal("XDSMetadataUpdateError", "sim: OriginalStatus n'est pas le statut courant")
    new = ",".join(slots.get("NewStatus", ()))
    if new not in _CHANGES.get(entry.status, ()):
        raise Refusal("XDSMetadataUpdateError", "sim: NewStatus")
    registry.set_status(objects.lot, objects.package, entry, _SHORT[new])
    return entry


def _confidentiality(registry: Registry, objects: Objects, caller: Caller, rules: Rules) -> StoredEntry:
    (new,), (element,) = objects.described, objects.elements
    entry = _target(registry.by_lid(new.lid), caller)
    links = [
        slots
        for kind, source, target, slots in objects.associations
        if (kind, source, target) == (ebrim.HAS_MEMBER, objects.lot.object_id, new.object_id)
    ]
    if len(links) != 1:
        raise Refusal("XDSMetadataUpdateError", "sim: association HasMember absente")
    if links[0].get("PreviousVersion") != (str(entry.version),):
        raise Refusal("XDSMetadataVersionError", "sim: PreviousVersion n'est pas la version courante")
    metadata.check_entries((_as_submitted(new),), METADATA_ERROR, rules.tables, strict=rules.strict)
    changed = _changed(entry.described, new)
    if changed:
        raise Refusal("XDSMetadataUpdateError", f"sim: {', '.join(changed)} ne peut pas changer")
    _check_change(entry, new, caller, rules)
    registry.set_metadata(objects.lot, objects.package, entry, new, element)
    return entry


def _as_submitted(one: rim.Described) -> rim.Described:
    """Without what the registry itself added to the answer that the client sends back."""
    made = {n: v for n, v in one.slots.items() if n not in _REGISTRY_SLOTS}
    return rim.Described(
        **{
            **{f: getattr(one, f) for f in rim.Described.__dataclass_fields__},
            "slots": made,
            "status": ebrim.APPROVED,
        }
    )


def _changed(old: rim.Described, new: rim.Described) -> list[str]:
    """Names of what differs besides confidentialityCode."""
    made = [
        name
        for name in ("unique_id", "patient_id", "mime_type", "object_type", "title", "persons", "structures")
        if getattr(old, name) != getattr(new, name)
    ]
    for name in sorted({*old.slots, *new.slots} - {*_REGISTRY_SLOTS}):
        if old.slots.get(name) != new.slots.get(name):
            made.append(name)
    for scheme in sorted({*old.coded, *new.coded} - {ebrim.DOC_CONFIDENTIALITY}):
        if sorted(map(repr, old.coded.get(scheme, ()))) != sorted(map(repr, new.coded.get(scheme, ()))):
            made.append(f"classification {scheme}")
    return made


def _check_change(entry: StoredEntry, new: rim.Described, caller: Caller, rules: Rules) -> None:
    """TD3.3a: anyone masks, only the author unmasks. TD3.3b: what was invisible becomes visible, never the reverse."""
    before, after = set(entry.confidentiality), set(new.codes(ebrim.DOC_CONFIDENTIALITY))
    if before == after:
        raise Refusal("XDSMetadataUpdateError", "sim: rien ne change")
    hidden = {c for c in before if c.startswith("INVISIBLE_")}
    if _invisible(new) - hidden:
        raise Refusal("XDSMetadataUpdateError", "sim: un document visible ne devient pas invisible")
    allowed = {_MASK, *hidden}
    if (before ^ after) - allowed:
        raise Refusal("XDSMetadataUpdateError", "sim: confidentialité N, R ou V")
    if rules.strict and _MASK in before - after and not _own(entry, caller):
        raise Refusal("XDSMetadataUpdateError", "sim: seul son auteur démasque un document")
