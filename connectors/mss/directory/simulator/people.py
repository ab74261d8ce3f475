"""Resources of the simulated directory, made from scratch: nobody and nothing real.

`practitioner`, `role`, `organisation` and `mailbox` build FHIR resources as the API v2 gives them; `everybody` is a
small directory of invented people of the département 99, which does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Resource = dict[str, Any]

_ANNUAIRE = "https://interop.esante.gouv.fr/ig/fhir/annuaire/StructureDefinition"
_CORE = "https://hl7.fr/ig/fhir/core"
_NOS = "https://mos.esante.gouv.fr/NOS"
_KINDS = f"{_CORE}/CodeSystem/fr-core-cs-v2-0203"


def mailbox(address: str, kind: str, description: str = "", *, red_list: bool = False) -> Resource:
    """A ContactPoint: an MSSanté mailbox of type PER, ORG, APP or CAB."""
    inner: list[Resource] = [
        {
            "url": "type",
            "valueCodeableConcept": {
                "coding": [{"system": f"{_NOS}/TRE_R257-TypeBAL/FHIR/TRE-R257-TypeBAL", "code": kind}]
            },
        }
    ]
    if description:
        inner.append({"url": "description", "valueString": description})
    inner.append({"url": "listeRouge", "valueBoolean": red_list})
    return {
        "extension": [
            {
                "url": f"{_CORE}/StructureDefinition/fr-core-contact-point-email-type",
                "valueCoding": {
                    "system": f"{_NOS}/TRE_R256-TypeMessagerie/FHIR/TRE-R256-TypeMessagerie",
                    "code": "MSSANTE",
                },
            },
            {"url": f"{_ANNUAIRE}/as-ext-mailbox-mss-metadata", "extension": inner},
        ],
        "system": "email",
        "value": address,
    }


def _identifier(kind: str, system: str, value: str) -> Resource:
    return {"type": {"coding": [{"system": _KINDS, "code": kind}]}, "system": system, "value": value}


def practitioner(
    identifier: str, rpps: str, family: str, given: str, telecom: Sequence[Resource] = (), **more: Any
) -> Resource:
    """A Practitioner. `rpps`: eleven digits."""
    return {
        "resourceType": "Practitioner",
        "id": identifier,
        "identifier": [
            _identifier("IDNPS", "urn:oid:1.2.250.1.71.4.2.1", f"8{rpps}"),
            _identifier("RPPS", "https://rpps.esante.gouv.fr", rpps),
        ],
        "active": True,
        "name": [{"use": "usual", "family": family, "given": [given]}],
        "telecom": list(telecom),
    } | more


def role(
    identifier: str, person: str, place: str = "", telecom: Sequence[Resource] = (), **more: Any
) -> Resource:
    """A PractitionerRole of the Practitioner `person` in the Organization `place` (logical ids)."""
    made: Resource = {
        "resourceType": "PractitionerRole",
        "id": identifier,
        "active": True,
        "practitioner": {"reference": f"Practitioner/{person}"},
        "telecom": list(telecom),
    }
    if place:
        made["organization"] = {"reference": f"Organization/{place}"}
    return made | more


def organisation(
    identifier: str,
    name: str,
    *,
    finess: str = "",
    kind: str = "FINEG",
    siret: str = "",
    telecom: Sequence[Resource] = (),
    **more: Any,
) -> Resource:
    """An Organization with a FINESS (`kind` FINEG or FINEJ) or a SIRET, and the national identifier made of it."""
    identifiers = []
    if finess:
        identifiers += [
            _identifier("IDNST", "urn:oid:1.2.250.1.71.4.2.2", f"1{finess}"),
            _identifier(kind, "https://finess.esante.gouv.fr", finess),
        ]
    if siret:
        identifiers.append(_identifier("SIRET", "https://sirene.fr", siret))
        if not finess:
            identifiers.append(_identifier("IDNST", "urn:oid:1.2.250.1.71.4.2.2", f"3{siret}"))
    return {
        "resourceType": "Organization",
        "id": identifier,
        "identifier": identifiers,
        "active": True,
        "name": name,
        "telecom": list(telecom),
    } | more


def everybody() -> list[Resource]:
    """The directory that is served when no other is given."""
    return [
        practitioner(
            "003-1",
            "10100000024",
            "MARTIN",
            "Dominique",
            [mailbox("dr.martin@test-hopital.mssante.fr", "PER")],
        ),
        practitioner("003-2", "10100000032", "BERNARD", "Sacha"),
        role("005-2", "003-2", "001-1", [mailbox("dr.bernard@test-hopital.mssante.fr", "PER")]),
        practitioner(
            "003-3",
            "10100000040",
            "PETIT",
            "Alix",
            [mailbox("cabinet.tilleuls@test-cabinet.mssante.fr", "CAB")],
        ),
        practitioner(
            "003-4",
            "10100000057",
            "ROBERT",
            "Maxime",
            [mailbox("dr.robert@test-hopital.mssante.fr", "PER", red_list=True)],
        ),
        organisation(
            "001-1",
            "HOPITAL FICTIF DE L'ESSAI",
            finess="990000010",
            telecom=[
                mailbox("secretariat@test-hopital.mssante.fr", "ORG", "Secrétariat de cardiologie"),
                mailbox("passerelle@test-hopital.mssante.fr", "APP", "Plateforme d'intermédiation"),
                {"system": "email", "value": "contact@hopital-fictif.example"},
            ],
        ),
        organisation(
            "001-2",
            "LABORATOIRE FICTIF DES TILLEULS",
            siret="99999999900012",
            telecom=[mailbox("labo@test-labo.mssante.fr", "ORG")],
        ),
    ]
