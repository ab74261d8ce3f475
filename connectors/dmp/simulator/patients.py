"""The patients of the simulated DMP: open, closed, unknown, opposed.

Purpose: step 5 of §8.2: is there a DMP for this identity, and may this establishment feed or read it.
Guarantee: a patient that the file does not name has an open DMP, unless `default` says otherwise; the patient's
identifiers never leave this module but as numbers in order of appearance (`alias`).
Fails: `Refusal`; `ValueError` for a state that does not exist.
Source: spec/dmp.md §8.2, §2.4, §4.3. `DMPClosed` and its words are official; the code of an opposition is published
nowhere we know: `sim:PatientOpposed` is ours.
"""

from __future__ import annotations

import re
import threading
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, get_args

from connectors.dmp.simulator.answers import Refusal
from gateway.errors import ConfigurationFault

State = Literal["open", "closed", "unknown", "opposed"]
STATES: Final[tuple[str, ...]] = get_args(State)
INS_OIDS: Final = tuple(f"1.2.250.1.213.1.4.{n}" for n in (8, 9, 10, 11))
"""NIR, NIA, test, demonstration."""
_CX = re.compile(r"([^^&]*)\^\^\^&([0-9.]+)&ISO\^(NH)(\^.*)?\Z")
_MATRICULE = re.compile(r"[0-9]{5}[0-9][0-9AB][0-9]{8}\Z")


def matricule(patient_id: str) -> str:
    """First component of a CX."""
    return patient_id.split("^", 1)[0]


def _state(text: object) -> State:
    for state in get_args(State):
        if text == state:
            return state  # type: ignore[no-any-return]
    raise ValueError(f"a patient's state is one of {', '.join(STATES)}")


class Patients:
    """States by matricule. Safe to use from several threads."""

    def __init__(
        self,
        states: Mapping[str, State] | None = None,
        default: State = "open",
        oids: Iterable[str] = INS_OIDS,
    ) -> None:
        self._states: dict[str, State] = {}
        self._default = default
        self._oids = frozenset(oids)
        self._aliases: dict[str, str] = {}
        self._lock = threading.Lock()
        for number, state in (states or {}).items():
            self.set(number, state)

    def set(self, number: str, state: str) -> None:
        """Change the state of one patient. Raises `ValueError`."""
        self._states[number] = _state(state)

    def reset(self) -> None:
        """The next alias is `patient-1` again; the states stay."""
        with self._lock:
            self._aliases.clear()

    def state(self, patient_id: str) -> State:
        """The state of a patient given as CX."""
        return self._states.get(matricule(patient_id), self._default)

    def alias(self, patient_id: str) -> str:
        """`patient-1`, `patient-2`… in order of appearance: says which calls are of one patient, and nothing else."""
        if not patient_id:
            return ""
        with self._lock:
            return self._aliases.setdefault(matricule(patient_id), f"patient-{len(self._aliases) + 1}")

    def seen(self) -> dict[str, State]:
        """State of each patient that appeared in a call, by alias: a matricule never comes out."""
        with self._lock:
            named = dict(self._aliases)
        return {alias: self._states.get(number, self._default) for number, alias in named.items()}

    def given(self) -> dict[State, int]:
        """How many patients were given each state."""
        states = list(self._states.values())
        return {state: states.count(state) for state in get_args(State)}

    @property
    def default(self) -> State:
        """The state of a patient that was given none."""
        return self._default

    def check(self, patient_id: str, *, strict: bool) -> None:
        """Identity, then state. Raises `Refusal`.

        `strict`: the INS authority and the form of the matricule are checked too.
        """
        if strict:
            found = _CX.match(patient_id)
            if found is None:
                raise Refusal("XDSUnknownPatientId", "sim: identité hors du format matricule^^^&OID&ISO^NH")
            if found[2] not in self._oids:
                raise Refusal(
                    "XDSUnknownPatientId", "sim: autorité d'affectation qui n'est pas celle d'un INS"
                )
            if _MATRICULE.match(found[1]) is None:
                raise Refusal("XDSUnknownPatientId", "sim: matricule INS mal formé")
        state = self.state(patient_id)
        if state == "unknown":
            raise Refusal("XDSUnknownPatientId", "sim: aucun DMP pour cette identité")
        if state == "closed":
            raise Refusal("DMPClosed", "DMP fermé")
        if state == "opposed":
            raise Refusal("sim:PatientOpposed", "sim: le patient s'oppose à cet établissement")


def read_patients(path: Path) -> tuple[dict[str, State], State]:
    """States by matricule, and the default, of a TOML file: `default = "open"`, then a `[patients]` table.

    Raises `ConfigurationFault`, which names no patient.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigurationFault(f"patients file {path.name}: {type(e).__name__}") from None
    listed = table.get("patients", {})
    if set(table) - {"default", "patients"} or not isinstance(listed, dict):
        raise ConfigurationFault(
            f"patients file {path.name}: only `default` and a [patients] table are known"
        )
    try:
        return {number: _state(state) for number, state in listed.items()}, _state(
            table.get("default", "open")
        )
    except ValueError as e:
        raise ConfigurationFault(f"patients file {path.name}: {e}") from None
