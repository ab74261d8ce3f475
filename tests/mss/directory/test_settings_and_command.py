"""`[connectors.mss.directory]`, `segur-gateway directory` and the simulator alone."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.mss.directory.simulator import API_KEY, DirectorySimulator, Fault, create
from connectors.mss.settings import load
from connectors.simulator_port import toml_table
from fixtures import build
from gateway.cli import main
from gateway.errors import ConfigurationFault
from tests.mss.directory.world import BERNARD, HOSPITAL, SECRETARIAT, UNKNOWN
from tests.mss.samples import SETTINGS

PATIENT = f"{build.PATIENT.ins}@patient.mssante.fr"
GOOD = {"backend": "annuaire-sante", "api_key_file": "key"}


# --- settings ---------------------------------------------------------------------------------------------------


def test_there_is_no_directory_unless_it_is_asked_for() -> None:
    made = load(SETTINGS, Path("/base")).directory
    assert made.backend == "none"


def test_paths_start_from_the_settings_folder() -> None:
    made = load({**SETTINGS, "directory": GOOD | {"ca_bundle": "ca.pem"}}, Path("/base")).directory
    assert made.api_key_file == Path("/base/key") and made.ca_bundle == Path("/base/ca.pem")
    assert made.cache == Path("/base/var/annuaire-sante.sqlite")
    assert load({**SETTINGS, "directory": GOOD | {"cache": ""}}, Path("/base")).directory.cache is None


@pytest.mark.parametrize(
    "table",
    [
        {"backend": "annuaire-sante"},
        {"backend": "ldap"},
        GOOD | {"base_url": "http://gateway.example/fhir/v2"},
        GOOD | {"base_url": "https://user:secret@gateway.example/fhir/v2"},
        GOOD | {"base_url": "https://gateway.example/fhir/v2?x=1"},
        GOOD | {"base_url": "https://[broken/"},
        GOOD | {"base_url": "gateway.example"},
        GOOD | {"patience": 6},
        GOOD | {"max_results": 1},
        GOOD | {"pateince": 1},
    ],
)
def test_a_wrong_table_is_refused_without_its_values(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationFault, match=r"directory") as caught:
        load({**SETTINGS, "directory": table}, Path("/base"))
    assert "secret" not in str(caught.value)


# --- the command ------------------------------------------------------------------------------------------------


class Thread:
    """A simulator on a loop of its own: the command runs its own loop."""

    def __init__(self, simulator: DirectorySimulator) -> None:
        self.simulator = simulator
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> DirectorySimulator:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.simulator.start(), self._loop).result(10)
        return self.simulator

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self.simulator.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[DirectorySimulator]:
    with Thread(create(tmp_path / "simulator")) as made:
        yield made


@pytest.fixture
def config(tmp_path: Path, simulator: DirectorySimulator) -> str:
    path = tmp_path / "gateway.toml"
    path.write_text(
        toml_table("mss", SETTINGS) + toml_table(simulator.name, simulator.connector_settings()),
        encoding="utf-8",
    )
    return str(path)


def test_the_owner_of_an_address(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["directory", "owner", BERNARD, "--config", config]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Boîte personnelle",
        "Professionnel : Sacha BERNARD (RPPS 10100000032)",
        "Structure : HOPITAL FICTIF DE L'ESSAI (FINESS 990000010)",
    ]
    assert (tmp_path / "var" / "annuaire-sante.sqlite").stat().st_mode & 0o777 == 0o600


def test_nobodys_address(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["directory", "owner", UNKNOWN, "--config", config]) == 1
    assert "inconnue de l'annuaire" in capsys.readouterr().out


def test_the_mailboxes_of_a_structure_for_machines(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["directory", "address", "--finess", HOSPITAL, "--config", config, "--format", "json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["address"], first["type"], second["type"]) == (SECRETARIAT, "ORG", "APP")


def test_the_mailboxes_of_a_professional(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["directory", "address", "--rpps", "10100000032", "--config", config]) == 0
    assert capsys.readouterr().out.startswith(f"{BERNARD}  (personnelle)  HOPITAL FICTIF")


@pytest.mark.parametrize(
    "asked", [["owner", PATIENT], ["address", "--rpps", build.PATIENT.ins], ["address", "--finess", "x"]]
)
def test_what_must_not_be_asked(
    asked: list[str], config: str, simulator: DirectorySimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["directory", *asked, "--config", config]) == 2
    said = capsys.readouterr()
    assert "ce n'est pas" in said.err and build.PATIENT.ins not in said.err + said.out
    assert simulator.asked == []


def test_no_answer_is_told(
    config: str, simulator: DirectorySimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator.faults.append(Fault(status=403))
    assert main(["directory", "owner", BERNARD, "--config", config]) == 1
    assert "l'annuaire ne répond pas (answered 403: the API key is refused)" in capsys.readouterr().err


def test_without_a_directory_in_the_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gateway.toml"
    for text in ("", toml_table("mss", SETTINGS)):
        path.write_text(text, encoding="utf-8")
        assert main(["directory", "owner", BERNARD, "--config", str(path)]) == 2
        assert "connectors.mss.directory" in capsys.readouterr().err


def test_a_command_that_a_connector_brings_has_its_own_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["directory", "--help"])
    assert caught.value.code == 0 and "address" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["version", "surplus"])
    assert caught.value.code == 2


# --- the simulator ----------------------------------------------------------------------------------------------


def get(simulator: DirectorySimulator, query: str, key: str = API_KEY) -> httpx.Response:
    return httpx.get(f"{simulator.address()}/{query}", headers={"ESANTE-API-KEY": key}, trust_env=False)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("Practitioner?mailbox-mss:contains=%40", 200),
        ("Practitioner?mailbox-mss-type=PER", 400),
        ("Practitioner?mailbox-mss:above=x", 400),
        ("PractitionerRole?_include=PractitionerRole:location", 400),
        ("Practitioner?_count=x", 400),
        ("Patient?identifier=1", 404),
    ],
)
def test_the_simulator_is_strict(simulator: DirectorySimulator, query: str, status: int) -> None:
    answer = get(simulator, query)
    assert answer.status_code == status
    kind = "Bundle" if status == 200 else "OperationOutcome"
    assert answer.json()["resourceType"] == kind


def test_the_simulator_wants_its_key(simulator: DirectorySimulator) -> None:
    assert get(simulator, "Practitioner", "another").status_code == 401


def test_a_professionals_roles_come_with_revinclude(simulator: DirectorySimulator) -> None:
    answer = get(
        simulator, "Practitioner?identifier=10100000032&_revinclude=PractitionerRole:practitioner"
    ).json()
    assert [e["resource"]["resourceType"] for e in answer["entry"]] == ["Practitioner", "PractitionerRole"]
    assert answer["total"] == 1


def test_the_history_names_nobody(simulator: DirectorySimulator) -> None:
    get(simulator, f"Practitioner?mailbox-mss:exact={BERNARD}")
    assert simulator.history() == ["Practitioner par mailbox-mss:exact : 200"]
