"""ITI-18: the stored queries named by the ANS, over what the registry keeps.

Purpose: read an AdhocQueryRequest, select, and give back objects (LeafClass) or their references (ObjectRef).
Guarantee: nothing of another patient than the VIHF's is ever found. A deleted document is found only by a FindDocuments
that asks for that status; a document hidden from professionals (MASQUE_PS) only by its author's establishment; the
XAdES document of a lot never by FindDocuments.
Fails: `Refusal` with the codes of IHE ITI-18.
Source: spec/dmp.md §5, §8.2 steps 9 and 10; IHE ITI TF-2 3.18.4.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from lxml import etree

from connectors.dmp.simulator.answers import Refusal
from connectors.dmp.simulator.checks import Caller
from connectors.dmp.simulator.operations import GET_DOCUMENTS
from connectors.dmp.simulator.registry import Registry, StoredAssociation, StoredEntry, StoredSet
from connectors.dmp.simulator.rim import RIM, STATUS, Coded
from connectors.xds import ebrim

BATCH: Final = 20
"""Documents named in one GetDocumentsAndAssociations (PDSM: batches of 20)."""

Groups = tuple[tuple[str, ...], ...]
"""One tuple of alternatives for each Slot of a name: AND of ORs."""


@dataclass(frozen=True, slots=True)
class Query:
    """One stored query as read."""

    uuid: str
    leaf: bool
    parameters: Mapping[str, Groups]

    def values(self, name: str) -> tuple[str, ...]:
        """All values of a parameter, whatever its slots."""
        return tuple(v for group in self.parameters.get(name, ()) for v in group)

    def one(self, name: str) -> str:
        """The only value of a parameter, "" when it is not given."""
        values = self.values(name)
        if len(values) > 1:
            raise Refusal("XDSStoredQueryParamNumber", f"sim: {name} : une seule valeur attendue")
        return values[0] if values else ""


_LITERAL = re.compile(r"\s*('(?:[^']|'')*'|[-+0-9.]+)\s*")


def literals(text: str) -> tuple[str, ...]:
    """Values of `'a'`, `('a','b')` or `123`; a doubled quote is one. Raises `ValueError`."""
    body = text.strip()
    if body.startswith("(") != body.endswith(")"):
        raise ValueError(text)
    if body.startswith("("):
        body = body[1:-1]
    made: list[str] = []
    at = 0
    while True:
        found = _LITERAL.match(body, at)
        if found is None:
            raise ValueError(text)
        value = found[1]
        made.append(value[1:-1].replace("''", "'") if value.startswith("'") else value)
        at = found.end()
        if at == len(body):
            return tuple(made)
        if body[at] != ",":
            raise ValueError(text)
        at += 1


def read(envelope: etree._Element) -> Query:
    """The query of a request."""
    query = envelope.find(f".//{RIM}AdhocQuery")
    option = envelope.find(f".//{{{ebrim.QUERY}}}ResponseOption")
    if query is None or option is None:
        raise Refusal("XDSRegistryError", "sim: AdhocQuery ou ResponseOption absent")
    kind = option.get("returnType") or "RegistryObject"
    if kind not in ("ObjectRef", "LeafClass"):
        raise Refusal("XDSRegistryError", f"sim: returnType {kind} : ObjectRef ou LeafClass attendu")
    parameters: dict[str, Groups] = {}
    for slot in query.findall(f"{RIM}Slot"):
        name = slot.get("name") or ""
        try:
            group = tuple(x for v in slot.iter(f"{RIM}Value") for x in literals(v.text or ""))
        except ValueError:
            raise Refusal("XDSRegistryError", f"sim: valeur de {name} illisible") from None
        parameters[name] = (*parameters.get(name, ()), group)
    return Query(query.get("id") or "", kind == "LeafClass", parameters)


def subject(query: Query) -> str:
    """uniqueId or entryUUID that the query is about, for the event log: never a patient."""
    for name in (
        "$XDSDocumentEntryUniqueId",
        "$XDSDocumentEntryEntryUUID",
        "$XDSSubmissionSetUniqueId",
        "$XDSSubmissionSetEntryUUID",
        "$uuid",
    ):
        values = query.values(name)
        if values:
            return values[0]
    return ""


def is_reference_search(query: Query) -> bool:
    """True for TD3.1b: GetDocuments that wants references only (RG_3130)."""
    return query.uuid == GET_DOCUMENTS and not query.leaf


Stored = StoredEntry | StoredSet | StoredAssociation


class _Selection:
    """What one caller may see, at one instant."""

    def __init__(self, registry: Registry, query: Query, caller: Caller, strict: bool) -> None:
        self._registry = registry
        self.query = query
        self.caller = caller
        self.strict = strict

    @cached_property
    def every(self) -> list[StoredEntry]:
        """Documents and signatures of the patient, whatever their status."""
        return [e for e in self._registry.entries(self.caller.patient) if self._may_see(e)]

    @cached_property
    def there(self) -> list[StoredEntry]:
        """Those that are not deleted."""
        return [e for e in self.every if e.status != "Deleted"]

    @cached_property
    def sets(self) -> list[StoredSet]:
        """Submission sets of the patient."""
        return self._registry.sets(self.caller.patient)

    @cached_property
    def links(self) -> list[StoredAssociation]:
        """Associations between what is there."""
        known = {e.entry_uuid for e in self.there} | {s.entry_uuid for s in self.sets}
        return [a for a in self._registry.associations() if a.source in known and a.target in known]

    def _may_see(self, entry: StoredEntry) -> bool:
        return (
            entry.signature
            or "MASQUE_PS" not in entry.confidentiality
            or self.caller.structure in entry.structures
        )

    def either(self, by_uuid: str, by_unique_id: str) -> tuple[str, ...]:
        """Values of the one of two parameters that is given; their number is checked."""
        uuids, unique_ids = self.query.values(by_uuid), self.query.values(by_unique_id)
        if bool(uuids) == bool(unique_ids):
            code = "XDSStoredQueryParamNumber" if uuids else "XDSStoredQueryMissingParam"
            raise Refusal(code, f"sim: {by_uuid} ou {by_unique_id}, l'un des deux")
        return uuids or unique_ids

    def required(self, name: str) -> tuple[str, ...]:
        values = self.query.values(name)
        if not values:
            raise Refusal("XDSStoredQueryMissingParam", f"sim: {name}")
        return values

    def documents(self) -> list[StoredEntry]:
        """Documents named by entryUUID or uniqueId."""
        wanted = self.either("$XDSDocumentEntryEntryUUID", "$XDSDocumentEntryUniqueId")
        by_uuid = bool(self.query.values("$XDSDocumentEntryEntryUUID"))
        look = self._registry.by_uuid if by_uuid else self._registry.by_unique_id
        found = {e.entry_uuid: e for e in map(look, wanted) if e is not None}
        return [
            e
            for e in found.values()
            if e.patient_id == self.caller.patient and e.status != "Deleted" and self._may_see(e)
        ]

    def touching(self, uuids: Iterable[str], *, kinds: Sequence[str] = ()) -> list[StoredAssociation]:
        """Associations with one end among `uuids`."""
        ends = frozenset(uuids)
        return [
            a for a in self.links if (a.source in ends or a.target in ends) and (not kinds or a.kind in kinds)
        ]

    def filtered(
        self, entries: Iterable[StoredEntry], filters: Mapping[str, Callable[[StoredEntry], Iterable[str]]]
    ) -> list[StoredEntry]:
        """Those that satisfy every filter given: OR inside a slot, AND between slots."""
        kept = list(entries)
        for name, values_of in filters.items():
            for group in self.query.parameters.get(name, ()):
                kept = [e for e in kept if set(values_of(e)) & set(group)]
        return kept


def _codes(scheme: str) -> Callable[[StoredEntry], list[str]]:
    def values(entry: StoredEntry) -> list[str]:
        return [_as_text(c) for c in entry.described.coded.get(scheme, ())]

    return values


def _as_text(code: Coded) -> str:
    return f"{code.code}^^{code.scheme}"


_FILTERS: Final[dict[str, Callable[[StoredEntry], Iterable[str]]]] = {
    "$XDSDocumentEntryClassCode": _codes(ebrim.DOC_CLASS),
    "$XDSDocumentEntryTypeCode": _codes(ebrim.DOC_TYPE),
    "$XDSDocumentEntryPracticeSettingCode": _codes(ebrim.DOC_PRACTICE),
    "$XDSDocumentEntryHealthcareFacilityTypeCode": _codes(ebrim.DOC_FACILITY),
    "$XDSDocumentEntryEventCodeList": _codes(ebrim.DOC_EVENT),
    "$XDSDocumentEntryConfidentialityCode": _codes(ebrim.DOC_CONFIDENTIALITY),
    "$XDSDocumentEntryFormatCode": _codes(ebrim.DOC_FORMAT),
    "$XDSDocumentEntryReferenceIdList": lambda e: e.described.slots.get(ebrim.REFERENCE_ID_LIST, ()),
}
_TIMES: Final = ("creationTime", "serviceStartTime", "serviceStopTime")


def _within(value: str, start: str, end: str) -> bool:
    """`start` <= value < `end`, whatever the precision of each; a value that is absent is nowhere."""
    width = 14
    padded = value.ljust(width, "0")
    return (
        bool(value)
        and (not start or padded >= start.ljust(width, "0"))
        and (not end or padded < end.ljust(width, "0"))
    )


def _like(values: Iterable[str], patterns: Groups) -> bool:
    """SQL LIKE of ITI-18 (`%`, `_`), every slot."""
    listed = list(values)
    for group in patterns:
        made = [
            re.compile("".join({"%": ".*", "_": "."}.get(c, re.escape(c)) for c in text) + r"\Z", re.DOTALL)
            for text in group
        ]
        if not any(p.match(v) for p in made for v in listed):
            return False
    return True


def _same_patient(selection: _Selection, name: str) -> None:
    """RG_3010: the patient is the VIHF's; the parameter may be absent."""
    given = selection.query.one(name)
    if given and given != selection.caller.patient:
        raise Refusal("XDSPatientIdDoesNotMatch", "sim: requête et VIHF")


def _find_documents(selection: _Selection) -> list[Stored]:
    query = selection.query
    _same_patient(selection, "$XDSDocumentEntryPatientId")
    wanted = selection.required("$XDSDocumentEntryStatus")
    kept = [e for e in selection.every if STATUS[e.status] in wanted and not e.signature]
    for name in _TIMES:
        parameter = "$XDSDocumentEntry" + name[0].upper() + name[1:]
        start, end = query.one(parameter + "From"), query.one(parameter + "To")
        if start or end:
            kept = [e for e in kept if _within(e.described.slot(name), start, end)]
    persons = query.parameters.get("$XDSDocumentEntryAuthorPerson", ())
    kept = [e for e in kept if _like(e.described.persons, persons)]
    return [*selection.filtered(kept, _FILTERS)]


def _find_by_reference(selection: _Selection) -> list[Stored]:
    selection.required("$XDSDocumentEntryReferenceIdList")
    return _find_documents(selection)


def _find_sets(selection: _Selection) -> list[Stored]:
    query = selection.query
    _same_patient(selection, "$XDSSubmissionSetPatientId")
    if ebrim.APPROVED not in selection.required("$XDSSubmissionSetStatus"):
        return []
    start = query.one("$XDSSubmissionSetSubmissionTimeFrom")
    end = query.one("$XDSSubmissionSetSubmissionTimeTo")
    sources = query.values("$XDSSubmissionSetSourceId")
    types = query.values("$XDSSubmissionSetContentType")
    persons = query.parameters.get("$XDSSubmissionSetAuthorPerson", ())
    return [
        s
        for s in selection.sets
        if (not (start or end) or _within(s.described.submission_time, start, end))
        and (not sources or s.described.source_id in sources)
        and (not types or {_as_text(c) for c in s.described.content_type} & set(types))
        and _like(s.described.persons, persons)
    ]


def _get_documents(selection: _Selection) -> list[Stored]:
    return [*selection.documents()]


def _get_associations(selection: _Selection) -> list[Stored]:
    return [*selection.touching(selection.required("$uuid"))]


def _get_documents_and_associations(selection: _Selection) -> list[Stored]:
    asked = selection.either("$XDSDocumentEntryEntryUUID", "$XDSDocumentEntryUniqueId")
    if selection.strict and len(asked) > BATCH:
        raise Refusal("XDSTooManyResults", f"sim: {BATCH} documents au plus par appel")
    found = selection.documents()
    return [*found, *selection.touching(e.entry_uuid for e in found)]


def _get_sets(selection: _Selection) -> list[Stored]:
    wanted = frozenset(selection.required("$uuid"))
    by_uuid = {s.entry_uuid: s for s in selection.sets}
    links = [
        a
        for a in selection.links
        if a.kind == ebrim.HAS_MEMBER and a.target in wanted and a.source in by_uuid
    ]
    sets = {a.source: by_uuid[a.source] for a in links}
    return [*sets.values(), *links]


def _get_set_and_contents(selection: _Selection) -> list[Stored]:
    (wanted, *more) = selection.either("$XDSSubmissionSetEntryUUID", "$XDSSubmissionSetUniqueId")
    if more:
        raise Refusal("XDSStoredQueryParamNumber", "sim: un seul lot")
    found = next((s for s in selection.sets if wanted in (s.entry_uuid, s.described.unique_id)), None)
    if found is None:
        return []
    members = {
        a.target for a in selection.links if a.kind == ebrim.HAS_MEMBER and a.source == found.entry_uuid
    }
    names = ("$XDSDocumentEntryFormatCode", "$XDSDocumentEntryConfidentialityCode")
    documents = selection.filtered(
        (e for e in selection.there if e.entry_uuid in members), {n: _FILTERS[n] for n in names}
    )
    inside = {found.entry_uuid, *(e.entry_uuid for e in documents)}
    links = [a for a in selection.links if a.source in inside and a.target in inside]
    return [found, *documents, *links]


def _get_related(selection: _Selection) -> list[Stored]:
    kinds = selection.required("$AssociationTypes")
    asked = selection.documents()
    if len(selection.either("$XDSDocumentEntryEntryUUID", "$XDSDocumentEntryUniqueId")) > 1:
        raise Refusal("XDSStoredQueryParamNumber", "sim: un seul document")
    links = selection.touching((e.entry_uuid for e in asked), kinds=kinds)
    ends = {end for a in links for end in (a.source, a.target)}
    return [*(e for e in selection.there if e.entry_uuid in ends), *links]


_QUERIES: Final[dict[str, Callable[[_Selection], list[Stored]]]] = {
    "14d4debf-8f97-4251-9a74-a90016b0af0d": _find_documents,
    "12941a89-e02e-4be5-967c-ce4bfc8fe492": _find_by_reference,
    "f26abbcb-ac74-4422-8a30-edb644bbc1a9": _find_sets,
    "5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4": _get_documents,
    "a7ae438b-4bc2-4642-93e9-be891f7bb155": _get_associations,
    "bab9529a-4a10-40b3-a01f-f68a615d247a": _get_documents_and_associations,
    "51224314-5390-4169-9b91-b1980040715a": _get_sets,
    "e8e3cb2c-e39c-46b9-99e4-c12f57260b83": _get_set_and_contents,
    "d90e5407-b356-4d91-a89f-873917b4b0e6": _get_related,
}


def run(registry: Registry, query: Query, caller: Caller, *, strict: bool) -> list[etree._Element]:
    """The RegistryObjectList of the answer: LeafClass objects, or one ObjectRef each."""
    select = _QUERIES.get(query.uuid.removeprefix("urn:uuid:"))
    if select is None:
        raise Refusal("XDSUnknownStoredQuery", "sim: requête inconnue")
    with registry.locked():
        found = select(_Selection(registry, query, caller, strict))
        if query.leaf:
            return [o.leaf() for o in found]
        return [
            etree.Element(f"{RIM}ObjectRef", id=o.uuid if isinstance(o, StoredAssociation) else o.entry_uuid)
            for o in found
        ]
