"""What can be made to go wrong in the simulator, and when.

Purpose: a plan of faults, each matched by transaction, document, patient or call number, used up after `times` calls;
written in Python, in a TOML file or as JSON.
Guarantee: the first fault that matches is taken; faults never change what is checked, only what happens around it.
Fails: `ConfigurationFault` for a plan that cannot be read, naming the fault by its rank.
Source: spec/dmp.md §8.2 (fault injection), §4.
"""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from connectors.dmp.simulator.operations import Name
from connectors.dmp.simulator.rights import TRANSACTIONS
from gateway.errors import ConfigurationFault

Kind = Literal[
    "delay",
    "code",
    "soap_fault",
    "http",
    "html",
    "drop",
    "commit_then_drop",
    "wrong_relates_to",
    "cut_body",
    "warning",
    "partial",
    "slow_body",
    "huge_body",
    "expired_certificate",
    "other_certificate",
]
Action = Name
CERTIFICATE_KINDS: Final = ("expired_certificate", "other_certificate")


@dataclass(slots=True)
class Fault:
    """One thing to go wrong. `seconds`, with any kind but slow_body: wait before it.

    * delay: wait `seconds`, then go on as usual
    * code: RegistryError `code` with `words` (or all of `codes`), nothing kept
    * soap_fault: SOAP fault of subcode `code`, nothing kept
    * http: bare HTTP `status` (503), with Retry-After when `retry_after` is given; html: a page, HTTP `status` (500)
    * drop: cut the connection, nothing kept; commit_then_drop: keep, then cut without answering
    * wrong_relates_to: keep, answer to another MessageID; cut_body: keep, send half an answer
    * warning: keep, Success with warnings; partial: keep, PartialSuccess
    * slow_body: keep, send the answer in pieces during `seconds`; huge_body: keep, an answer of `size` more bytes
    * expired_certificate, other_certificate: the server shows a certificate that expired, or of another authority, to
      the next `times` connections (matched by nothing else: no request was read yet)
    """

    kind: Kind
    action: Action | None = None
    unique_id: str | None = None
    call: int | None = None
    """Number of the call among those of its action, from 1."""
    times: int = 1
    """How many calls it hits; 0: all."""
    code: str = "XDSRepositoryBusy"
    words: str = ""
    status: int = 0
    """HTTP status; 0: that of the kind."""
    seconds: float = 0.0
    hits: int = 0
    transaction: str | None = None
    """TD2.1a, TD2.1b, TD3.1b…"""
    patient: str | None = None
    """Matricule of the VIHF's patient."""
    codes: tuple[tuple[str, str], ...] = ()
    """Several (code, words)."""
    retry_after: int | None = None
    """Seconds of the Retry-After header."""
    size: int = 50_000_000

    def errors(self) -> tuple[tuple[str, str], ...]:
        """The RegistryErrors of the answer."""
        return self.codes or ((self.code, self.words),)

    @property
    def spent(self) -> bool:
        """True when it has hit all it should."""
        return bool(self.times) and self.hits >= self.times

    def matches(self, action: str, transaction: str, unique_id: str, patient: str, call: int) -> bool:
        """Every condition given holds."""
        return (
            self.action in (None, action)
            and self.transaction in (None, transaction)
            and self.unique_id in (None, unique_id)
            and self.patient in (None, patient)
            and self.call in (None, call)
        )


class FaultPlan:
    """The faults still to come. Safe to use from several threads."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.faults = list(faults)
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        """Plan one more."""
        with self._lock:
            self.faults.append(fault)
        return fault

    def clear(self) -> None:
        """Plan nothing."""
        with self._lock:
            self.faults.clear()

    def take(
        self, action: str, unique_id: str, call: int, *, transaction: str = "", patient: str = ""
    ) -> Fault | None:
        """The fault for this call, counted as used; None when there is none."""
        with self._lock:
            for fault in self.faults:
                if fault.spent or fault.kind in CERTIFICATE_KINDS:
                    continue
                if fault.matches(action, transaction, unique_id, patient, call):
                    fault.hits += 1
                    return fault
        return None

    def take_certificate(self) -> Fault | None:
        """The fault for a new connection, counted as used."""
        with self._lock:
            for fault in self.faults:
                if fault.kind in CERTIFICATE_KINDS and not fault.spent:
                    fault.hits += 1
                    return fault
        return None


_FAULT: TypeAdapter[Fault] = TypeAdapter(Fault)
_NAMES: Final = frozenset(f.name for f in fields(Fault)) - {"hits"}


def read_fault(table: Mapping[str, Any], rank: int = 1) -> Fault:
    """One fault from its keys. Raises `ConfigurationFault`."""
    unknown = sorted(set(table) - _NAMES)
    if unknown:
        raise ConfigurationFault(f"fault {rank}: unknown key {', '.join(unknown)}")
    try:
        fault = _FAULT.validate_python(dict(table))
    except ValidationError as e:
        first = e.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(p) for p in first["loc"])
        raise ConfigurationFault(f"fault {rank}: {where}: {first['msg']}") from None
    if fault.transaction is not None and fault.transaction not in TRANSACTIONS:
        known = ", ".join(sorted(TRANSACTIONS))
        raise ConfigurationFault(f"fault {rank}: transaction: no such transaction (known: {known})")
    return fault


def read_plan(path: Path) -> list[Fault]:
    """The `[[fault]]` tables of a TOML file. Raises `ConfigurationFault`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigurationFault(f"fault plan {path.name}: {e}") from None
    faults = table.get("fault", [])
    if set(table) - {"fault"} or not isinstance(faults, list):
        raise ConfigurationFault(f"fault plan {path.name}: only [[fault]] tables are known")
    return [read_fault(one, rank) for rank, one in enumerate(faults, 1)]


KINDS: Final[tuple[str, ...]] = get_args(Kind)
