"""Search results → entries → owner: what is absent or odd is left out. Source: spec/mssante.md §4."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.mss.directory import model, reading
from connectors.mss.directory.model import Entry, MailboxType, Owner, Professional, Structure, owner_among
from connectors.mss.directory.simulator import everybody, mailbox, organisation, practitioner, role

A = "a@x.mssante.fr"
BASE = "https://gateway.example/fhir/v2"
PER, ORG, APP, CAB = (MailboxType(t) for t in ("PER", "ORG", "APP", "CAB"))
P1, P2 = Professional("810100000024", "MARTIN", "Dominique"), Professional("810100000032", "BERNARD", "Sacha")
S1, S2 = Structure("HOPITAL", finess="990000010"), Structure("CLINIQUE", finess="990000028")


def bundle(*resources: Any) -> dict[str, Any]:
    return {"resourceType": "Bundle", "entry": [{"resource": r} for r in resources]}


def entries(*resources: Any) -> tuple[Entry, ...]:
    return reading.entries_of(reading.resources_of(bundle(*resources)))


def person(**changes: Any) -> Professional | None:
    made = practitioner("p", "10100000024", "MARTIN", "Dominique", [mailbox(A, "PER")]) | changes
    (entry,) = entries(made)
    return entry.person


def structure(**changes: Any) -> Structure | None:
    made = organisation("o", "HOPITAL", finess="990000010", telecom=[mailbox(A, "ORG")]) | changes
    (entry,) = entries(made)
    return entry.structure


def identifier(system: str, value: str, kind: str = "", **more: str) -> dict[str, Any]:
    coded = {"type": {"coding": [{"code": kind}]}} if kind else {}
    return {"system": system, "value": value, **coded, **more}


# --- resources --------------------------------------------------------------------------------------------------


def test_everything_of_a_mailbox_is_read() -> None:
    point = mailbox(A, "APP", "Plateforme", red_list=True)
    point["extension"][1]["extension"].append({"url": "service", "valueString": "DSI"})
    (entry,) = entries(organisation("o", "HOPITAL", finess="990000010", kind="FINEJ", telecom=[point]))
    assert entry == Entry(
        A, APP, "Plateforme", "DSI", None,
        Structure("HOPITAL", "990000010", "FINEJ", "", "1990000010"), True,
    )  # fmt: skip


def test_a_role_takes_person_and_structure_from_the_resources_beside_it() -> None:
    bearer = practitioner("003-1", "10100000024", "MARTIN", "Dominique")
    place = organisation("001-1", "HOPITAL", finess="990000010")
    made = role("005-1", "003-1", "001-1", [mailbox(A, "PER")])
    made["practitioner"]["reference"] = "https://elsewhere/fhir/Practitioner/003-1"
    (entry,) = entries(made, bearer, place)
    assert entry.person == P1 and entry.structure is not None and entry.structure.finess == "990000010"


def test_a_role_alone_gives_the_name_that_it_bears_and_no_identifier() -> None:
    made = role("r", "003-1", "001-1", [mailbox(A, "PER")])
    made["extension"] = [
        {
            "url": "https://interop.esante.gouv.fr/ig/fhir/annuaire/StructureDefinition/as-ext-practitionerrole-name",
            "valueHumanName": {"family": "MARTIN", "given": ["Dominique"]},
        }
    ]
    (entry,) = entries(made)
    assert entry.person == Professional("", "MARTIN", "Dominique") and entry.structure is None


def test_an_inactive_resource_has_no_mailbox() -> None:
    assert entries(practitioner("p", "10100000024", "M", "D", [mailbox(A, "PER")], active=False)) == ()


@pytest.mark.parametrize(
    ("identifiers", "national"),
    [
        (
            [identifier(reading.PERSON_ID, "810100000024"), identifier(reading.RPPS, "10100000024")],
            "810100000024",
        ),
        ([identifier(reading.RPPS, "10100000024")], "810100000024"),
        ([identifier(reading.PERSON_ID, "10100000024")], "810100000024"),
        ([identifier(reading.PERSON_ID, "0123456789")], "0123456789"),
        ([identifier(reading.RPPS, "1010")], ""),
        ([identifier(reading.RPPS, "10100000024", use="old")], ""),
        ([identifier(reading.PERSON_ID, "810100000024"), identifier(reading.PERSON_ID, "810100000032")], ""),
        ([], ""),
    ],
)
def test_the_national_identifier_of_a_person(identifiers: list[Any], national: str) -> None:
    made = person(identifier=identifiers)
    assert made is not None and made.national_id == national


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            [{"use": "official", "family": "NAISSANCE"}, {"use": "usual", "family": "EXERCICE"}],
            ("EXERCICE", ""),
        ),
        ([{"use": "old", "family": "ANCIEN"}], ("", "")),
        ([{"family": "MARTIN", "given": ["Anne", "Marie"]}], ("MARTIN", "Anne")),
        ([{"family": "MARTIN", "given": "Anne"}], ("MARTIN", "Anne")),
        ([{"family": " DE\u00a0LA \n CROIX "}], ("DE LA CROIX", "")),
        ([{"family": "MAR\x07TIN"}], ("", "")),
        ([{"family": "M" * 300}], ("", "")),
        ([{"text": "Dr Martin"}], ("", "")),
        (None, ("", "")),
    ],
)
def test_the_name_of_a_person_is_the_one_of_the_practice(names: object, expected: tuple[str, str]) -> None:
    made = person(name=names)
    assert made is not None and (made.family, made.given) == expected


def test_a_structures_identifiers() -> None:
    """FINESS with its kind, SIRET of fourteen digits (a SIREN is none)."""
    made = structure(
        identifier=[
            identifier(reading.FINESS, "990000010", "FINEJ"),
            identifier(reading.SIRENE, "999999999", "SIREN"),
            identifier(reading.SIRENE, "99999999900012", "SIRET"),
            identifier(reading.STRUCTURE_ID, "1990000010", "IDNST"),
        ]
    )
    assert made == Structure("HOPITAL", "990000010", "FINEJ", "99999999900012", "1990000010")
    assert structure(identifier=[identifier(reading.FINESS, "990000010")]) == Structure(
        "HOPITAL", "990000010"
    )
    assert structure(identifier=[], name=None) is None


@pytest.mark.parametrize(
    "change",
    [
        {"system": "phone"},
        {"value": "not an address"},
        {"value": None},
        {"use": "old"},
        {"extension": []},
        {"extension": [{"url": "x/fr-core-contact-point-email-type", "valueCoding": {"code": "AUTRE"}}]},
    ],
)
def test_what_is_no_mailbox(change: dict[str, Any]) -> None:
    """§4: an e-mail without the marks of MSSanté is a contact."""
    point = mailbox(A, "PER") | change
    assert entries(practitioner("p", "10100000024", "M", "D", [point])) == ()


def test_a_mailbox_without_a_known_type() -> None:
    (entry,) = entries(practitioner("p", "10100000024", "M", "D", [mailbox(A, "XXX")]))
    assert entry.type is None


# --- any JSON ---------------------------------------------------------------------------------------------------

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_KEYS = st.sampled_from(
    [
        "resourceType",
        "entry",
        "resource",
        "identifier",
        "name",
        "telecom",
        "extension",
        "link",
        "relation",
        "url",
        "system",
        "value",
        "type",
        "coding",
        "code",
        "family",
        "given",
        "practitioner",
        "reference",
        "active",
        "id",
        "valueCoding",
        "valueHumanName",
    ]
)
_VALUES = st.recursive(
    _SCALARS
    | st.sampled_from(["Bundle", "Practitioner", "PractitionerRole", "Organization", "next", "email", A]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=6),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None)
@given(_VALUES)
def test_odd_json_is_never_an_error(value: Any) -> None:
    for given_ in (value, bundle(value), {"resourceType": "Bundle", "entry": value, "link": value}):
        owner_among(reading.entries_of(reading.resources_of(given_)), A)
        assert reading.next_page(given_, BASE, BASE)[0][:5] in ("", "https")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_resource_with_one_odd_value_is_never_an_error(data: st.DataObject) -> None:
    """One value of a good resource is replaced by anything."""
    resource: Any = data.draw(st.sampled_from(everybody()))
    here = resource
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if not isinstance(here[key], dict | list) or data.draw(st.booleans()):
            here[key] = data.draw(_VALUES)
            break
        here = here[key]
    for entry in entries(*everybody(), resource):
        assert entry.address


# --- pages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"{BASE}/Organization?page=2", (f"{BASE}/Organization?page=2", False)),
        ("https://gateway.example:443/other", ("https://gateway.example:443/other", False)),
        ("Organization?page=2", (f"{BASE}/Organization?page=2", False)),
        ("http://gateway.example/fhir/v2", ("", True)),
        ("https://gateway.example:8443/fhir/v2", ("", True)),
        ("https://gateway.example.evil.example/", ("", True)),
        ("//evil.example/fhir/v2", ("", True)),
        ("https://gateway.example@evil.example/", ("", True)),
        ("https://[broken/", ("", True)),
        ("https://gateway.example:99999/", ("", True)),
        ("", ("", False)),
    ],
)
def test_the_next_page_is_of_the_same_origin(url: str, expected: tuple[str, bool]) -> None:
    made = {"link": [{"relation": "self", "url": "https://evil.example"}, {"relation": "next", "url": url}]}
    assert reading.next_page(made, f"{BASE}/Organization?page=1", BASE) == expected


# --- owners -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "owner"),
    [
        ([], None),
        ([Entry("b@x.mssante.fr", PER, person=P1)], None),
        ([Entry(A.upper(), PER, person=P1)], Owner(PER, P1)),
        ([Entry(A, PER, person=P1), Entry(A, PER, person=P1, structure=S1)], Owner(PER, P1, S1)),
        ([Entry(A, PER, person=P1, structure=S1), Entry(A, PER, person=P1, structure=S2)], Owner(PER, P1)),
        ([Entry(A, PER, person=P1), Entry(A, PER, person=P2)], None),
        ([Entry(A, PER, person=P1), Entry(A, ORG, structure=S1)], None),
        ([Entry(A, None, person=P1), Entry(A, None, structure=S1)], None),
        ([Entry(A, None, person=P1)], Owner(None, P1)),
        (
            [Entry(A, PER, person=P1), Entry(A, PER, person=Professional("", "Martin", "dominique"))],
            Owner(PER, P1),
        ),
        ([Entry(A, PER, person=P1), Entry(A, PER, person=Professional("", "AUTRE", "X"))], None),
        ([Entry(A, CAB, person=P1), Entry(A, CAB, person=P2)], Owner(CAB)),
        ([Entry(A, CAB, person=P1, structure=S1)], Owner(CAB, None, S1)),
        ([Entry(A, APP, person=P1, structure=S1)], Owner(APP, None, S1)),
        ([Entry(A, ORG, structure=S1), Entry(A, ORG, structure=S1)], Owner(ORG, None, S1)),
        ([Entry(A, ORG, structure=S1), Entry(A, ORG, structure=S2)], None),
    ],
)
def test_the_owner_is_one_or_none(found: list[Entry], owner: Owner | None) -> None:
    assert owner_among(found, A) == owner


# --- on disk ----------------------------------------------------------------------------------------------------


def test_entries_come_back_from_disk() -> None:
    found = entries(*everybody())
    assert len(found) == 7
    assert model.from_json(model.to_json(found)) == found


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"form": 2, "entries": []},
        {"form": 1},
        {"form": 1, "entries": [1]},
        {"form": 1, "entries": [{"address": A}]},
        {"form": 1, "entries": [{"address": A, "type": "ZZZ", "person": None, "structure": None}]},
        {"form": 1, "entries": [{"address": A, "type": None, "person": {"x": 1}, "structure": None}]},
    ],
)
def test_another_form_is_not_read(table: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        model.from_json(table)


def test_no_representation_names_anybody() -> None:
    (entry, *_) = entries(*everybody())
    assert entry.address not in repr(entry) and "MARTIN" not in repr(entry)
    assert "MARTIN" not in repr(owner_among([entry], entry.address))
