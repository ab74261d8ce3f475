"""Roles of the VIHF (spec dmp §2.3): directory, document, settings; doctors have a specialty."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.dmp import plan as plans
from connectors.dmp.roles import PROFESSIONS, SPECIALTIES, Roles, complete, load_roles
from connectors.dmp.settings import Role
from connectors.port import PlannedDelivery
from gateway.errors import ConfigurationFault
from tests.dmp.test_preparation import run, settings
from tests.xds import samples

NOW = datetime(2026, 1, 10, 9, tzinfo=UTC)
DOCTOR = "810100000016"
HEAD = "person\trole\trole_system\tspecialty\tspecialty_system\n"


@pytest.fixture(scope="module")
def roles() -> Roles:
    return load_roles(None, None)


def codes(found: tuple[Role, ...] | None) -> list[str] | None:
    return [r.code for r in found] if found is not None else None


def test_the_value_set_is_shipped(roles: Roles) -> None:
    assert roles.known[(PROFESSIONS, "60")].label == "Infirmier"
    assert len(roles.known) > 290


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([(PROFESSIONS, "60")], ["60"]),
        ([(PROFESSIONS, "10"), (SPECIALTIES["10"], "SM26")], ["10", "SM26"]),
        ([(PROFESSIONS, "21"), (SPECIALTIES["21"], "DA")], ["21", "DA"]),
        ([(PROFESSIONS, "10")], None),
        ([(PROFESSIONS, "21"), (SPECIALTIES["10"], "SM26")], None),
        ([(PROFESSIONS, "999")], None),
        ([], None),
    ],
)
def test_only_roles_that_the_dmp_takes(
    roles: Roles, given: list[tuple[str, str]], expected: list[str] | None
) -> None:
    """« Aucune spécialité dans le vihf. Spécialité obligatoire pour les Médecins… »"""
    assert codes(roles.of(given)) == expected


def test_directory_comes_before_the_document(tmp_path: Path) -> None:
    file = tmp_path / "people.tsv"
    file.write_text(HEAD + f"{DOCTOR}\t10\t{PROFESSIONS}\tSM54\t{SPECIALTIES['10']}\n")
    found = load_roles(None, file)
    assert codes(found.of_person(DOCTOR, samples.header().authors)) == ["10", "SM54"]


def test_author_of_the_document_has_a_role(roles: Roles) -> None:
    """assignedAuthor/code `G15_10/SM03`: profession 10, specialty SM03."""
    assert codes(roles.of_person(DOCTOR, samples.header().authors)) == ["10", "SM03"]
    assert roles.of_person("899999999999", samples.header().authors) is None


def test_wrong_rows_are_told_by_number_only(tmp_path: Path) -> None:
    file = tmp_path / "people.tsv"
    file.write_text(HEAD + f"{DOCTOR}\t10\t{PROFESSIONS}\t\t\n" + f"{DOCTOR}\t60\t{PROFESSIONS}\t\t\n")
    with pytest.raises(ConfigurationFault, match=r"people\.tsv.*row\(s\) 1$") as fault:
        load_roles(None, file)
    assert DOCTOR not in str(fault.value)
    file.write_text("person\trole\n")
    with pytest.raises(ConfigurationFault, match="columns"):
        load_roles(None, file)
    with pytest.raises(ConfigurationFault, match=r"absent\.tsv"):
        load_roles(None, tmp_path / "absent.tsv")


def _planned(planned: tuple[PlannedDelivery, ...]) -> list[str]:
    return [r.code for r in plans.load(planned[0].plan).subject.roles]


def test_sender_has_his_own_role_when_the_settings_say_so() -> None:
    """`vihf.roles_from`: the settings' AUTOMATE by default, the sender's profession and specialty if asked."""
    assert _planned(run()[1]) == []
    assert _planned(run(given=settings(vihf={"roles_from": "sender"}))[1]) == ["10", "SM03"]


def test_completeness_of_ready_made_roles() -> None:
    assert not complete(())
    assert complete((Role(code="AUTOMATE", system="1.2.250.1.213.1.1.4.6", label=""),))
