"""FHIR R4 search results → entries. Pure: JSON values in, entries out.

Guarantee: never raises, whatever the JSON; what is absent or odd is left out, nothing is guessed. Only mailboxes that
the resource marks as MSSanté are read: a structure's e-mail of contact is none.
Source: spec/mssante.md §4; Annuaire Santé API v2, profiles as-practitioner, as-practitionerrole, as-organization and
as-mailbox-mss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

from connectors.mss.addresses import is_address
from connectors.mss.directory.model import Entry, MailboxType, Professional, Structure

PERSON_ID = "urn:oid:1.2.250.1.71.4.2.1"
"""PS_IdNat."""
RPPS = "https://rpps.esante.gouv.fr"
STRUCTURE_ID = "urn:oid:1.2.250.1.71.4.2.2"
"""Struct_IdNat."""
FINESS = "https://finess.esante.gouv.fr"
SIRENE = "https://sirene.fr"
METADATA = "as-ext-mailbox-mss-metadata"
EMAIL_TYPE = "fr-core-contact-point-email-type"
ROLE_NAME = "as-ext-practitionerrole-name"
_LONGEST = 250
"""Longest text kept of a resource."""

Resource = Mapping[str, Any]


def resources_of(bundle: object) -> tuple[Resource, ...]:
    """The resources of a Bundle, in order; none of anything else."""
    if not isinstance(bundle, Mapping) or bundle.get("resourceType") != "Bundle":
        return ()
    found = (e.get("resource") for e in _tables(bundle.get("entry")))
    return tuple(r for r in found if isinstance(r, Mapping))


def is_bundle(value: object) -> bool:
    """True for a searchset: anything else is no answer to a search."""
    return isinstance(value, Mapping) and value.get("resourceType") == "Bundle"


def next_page(bundle: object, page: str, base_url: str) -> tuple[str, bool]:
    """(URL of the next page or empty, True when there is one that must not be followed).

    Only below the origin of `base_url`: the key goes with each request.
    """
    if not isinstance(bundle, Mapping):
        return "", False
    for link in _tables(bundle.get("link")):
        url = _text(link.get("url"), 8192)
        if link.get("relation") == "next" and url:
            try:
                whole = urljoin(page, url)
                same = _origin(whole) == _origin(base_url)
            except ValueError:
                return "", True
            return (whole, False) if same else ("", True)
    return "", False


def entries_of(resources: Sequence[Resource]) -> tuple[Entry, ...]:
    """Every MSSanté mailbox of the active resources. A PractitionerRole takes person and structure from the
    Practitioner and the Organization among `resources` that it refers to."""
    by_reference: dict[str, Resource] = {}
    for resource in resources:
        kind, identifier = _text(resource.get("resourceType")), _text(resource.get("id"))
        if kind and identifier:
            by_reference[f"{kind}/{identifier}"] = resource
    return tuple(
        entry
        for resource in resources
        if resource.get("active") is not False
        for entry in _entries(resource, by_reference)
    )


def _entries(resource: Resource, by_reference: Mapping[str, Resource]) -> Iterator[Entry]:
    person: Professional | None = None
    structure: Structure | None = None
    match resource.get("resourceType"):
        case "Practitioner":
            person = _professional(resource)
        case "Organization":
            structure = _structure(resource)
        case "PractitionerRole":
            bearer = _referred(resource.get("practitioner"), by_reference)
            person = _professional(bearer) if bearer else _named(resource)
            place = _referred(resource.get("organization"), by_reference)
            structure = _structure(place) if place else None
        case _:
            return
    for point in _tables(resource.get("telecom")):
        mailbox = _mailbox(point)
        if mailbox is not None:
            address, metadata = mailbox
            yield Entry(
                address,
                _mailbox_type(metadata),
                _text(_value(metadata, "description", "valueString")),
                _text(_value(metadata, "service", "valueString")),
                person,
                structure,
                _value(metadata, "listeRouge", "valueBoolean") is True,
            )


# --- persons and structures ------------------------------------------------------------------------------------------


def _professional(resource: Resource) -> Professional | None:
    family, given = _name(resource.get("name"))
    national = _identifier(resource, PERSON_ID)
    rpps = _identifier(resource, RPPS)
    if not national and _digits(rpps, 11):
        national = f"8{rpps}"
    if _digits(national, 11) and not rpps:
        # the RPPS itself under the root of the national identifiers
        national = f"8{national}"
    return Professional(national, family, given) if national or family else None


def _named(role: Resource) -> Professional | None:
    """The name that the role itself bears, when the practitioner did not come with it."""
    names = [e.get("valueHumanName") for e in _extensions(role) if _is(e, ROLE_NAME)]
    family, given = _name(names)
    return Professional("", family, given) if family else None


def _structure(resource: Resource) -> Structure | None:
    name = _text(resource.get("name"))
    finess = _identifier(resource, FINESS)
    siret = next((v for _, v in _identifiers(resource, SIRENE) if _digits(v, 14)), "")
    made = Structure(
        name,
        finess,
        next((k for k, v in _identifiers(resource, FINESS) if v == finess and k in ("FINEG", "FINEJ")), ""),
        siret,
        _identifier(resource, STRUCTURE_ID),
    )
    return made if name or finess or siret or made.national_id else None


def _name(names: object) -> tuple[str, str]:
    """(family, first given name), of the usual name rather than of another, never of an old one."""
    known = [n for n in _tables(names) if _text(n.get("family")) and n.get("use") != "old"]
    order = {"usual": 0, "official": 1}
    known.sort(key=lambda n: order.get(_text(n.get("use")), 2))
    if not known:
        return "", ""
    given = known[0].get("given")
    first = given[0] if isinstance(given, list) and given else given
    return _text(known[0].get("family")), _text(first)


def _identifiers(resource: Resource, system: str) -> Iterator[tuple[str, str]]:
    """(type code, value) of the identifiers of a system."""
    for identifier in _tables(resource.get("identifier")):
        value = _text(identifier.get("value"))
        if identifier.get("system") == system and value and identifier.get("use") != "old":
            kind = identifier.get("type")
            codings = _tables(kind.get("coding")) if isinstance(kind, Mapping) else ()
            yield next((c for c in (_text(c.get("code")) for c in codings) if c), ""), value


def _identifier(resource: Resource, system: str) -> str:
    """The one value of a system: none when there are several different ones."""
    values = {value for _, value in _identifiers(resource, system)}
    return values.pop() if len(values) == 1 else ""


def _referred(reference: object, by_reference: Mapping[str, Resource]) -> Resource | None:
    """The resource that a Reference names, by its last two segments."""
    if not isinstance(reference, Mapping):
        return None
    return by_reference.get("/".join(_text(reference.get("reference"), 2048).split("/")[-2:]))


# --- mailboxes -------------------------------------------------------------------------------------------------------


def _mailbox(point: Resource) -> tuple[str, Resource] | None:
    """(address, metadata extension) of a ContactPoint that is an MSSanté mailbox."""
    address = _text(point.get("value"))
    if point.get("system") != "email" or not is_address(address) or point.get("use") == "old":
        return None
    metadata = next((e for e in _extensions(point) if _is(e, METADATA)), None)
    kinds = (e.get("valueCoding") for e in _extensions(point) if _is(e, EMAIL_TYPE))
    if metadata is None and not any(isinstance(k, Mapping) and k.get("code") == "MSSANTE" for k in kinds):
        return None
    return address, metadata or {}


def _mailbox_type(metadata: Resource) -> MailboxType | None:
    concept = _value(metadata, "type", "valueCodeableConcept")
    codings = _tables(concept.get("coding")) if isinstance(concept, Mapping) else ()
    for coding in codings:
        code = _text(coding.get("code"))
        if code in {kind.value for kind in MailboxType}:
            return MailboxType(code)
    return None


def _value(extension: Resource, url: str, key: str) -> object:
    """The value of an inner extension."""
    return next((e.get(key) for e in _extensions(extension) if e.get("url") == url), None)


# --- odd JSON --------------------------------------------------------------------------------------------------------


def _extensions(table: Resource) -> tuple[Resource, ...]:
    return _tables(table.get("extension"))


def _is(extension: Resource, name: str) -> bool:
    return _text(extension.get("url")).rpartition("/")[2] == name


def _tables(value: object) -> tuple[Resource, ...]:
    """The objects of a list; of an object alone, itself."""
    if isinstance(value, Mapping):
        return (value,)
    return tuple(v for v in value if isinstance(v, Mapping)) if isinstance(value, list) else ()


def _text(value: object, longest: int = _LONGEST) -> str:
    """A string on one line; empty for anything else, for one too long, or with characters that no name has."""
    if not isinstance(value, str) or len(value) > longest:
        return ""
    made = " ".join(value.split())
    return made if made.isprintable() else ""


def _digits(text: str, length: int) -> bool:
    return len(text) == length and text.isascii() and text.isdigit()


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port. Raises `ValueError`."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
