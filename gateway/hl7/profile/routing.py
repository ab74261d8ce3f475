"""Destinations: are the masking flags, the destinations and the recipients compatible?

Purpose: the MSSanté routing table (data: routing.toml) and the patient-safety invariants around it. Pure
apart from reading that file once.
Guarantee: MASQUE_PS never goes to a professional, INVISIBLE_PATIENT never to the patient, whatever the
preset. Source: volet Transmission v2.1, "règles de gestion MSSanté"; spec/mssante.md §1.1; architecture §7a.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path

from gateway.errors import ConfigurationFault, Place
from gateway.hl7.profile.fields import Profile, profile
from gateway.hl7.profile.observations import Observations
from gateway.hl7.profile.parties import Parties
from gateway.hl7.transmission import Action, Flags
from gateway.rules import Findings

Row = dict[str, str]
_MAILED = frozenset({"DESTMSSANTEPS", "DESTMSSANTEPAT"})
_DESTINATIONS = _MAILED | {"DESTDMP"}


@cache
def routing_table() -> tuple[Row, ...]:
    """Rows of routing.toml: attribute of `Flags` → values allowed. Raises `ConfigurationFault` for a malformed file."""
    path = Path(__file__).parent / "routing.toml"
    try:
        rows = tomllib.loads(path.read_text(encoding="utf-8"))["row"]
        flags = {code: m.flag for code, m in profile().metadata.items() if m.flag}
        return tuple({flags[code]: row[code] for code in flags if code in row} for row in rows)
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as e:
        raise ConfigurationFault(f"routing table: {e}") from e


def check_routing(
    flags: Flags,
    given: frozenset[str],
    action: Action | None,
    parties: Parties,
    observations: Observations,
    table: Profile,
    findings: Findings,
) -> None:
    """Findings ROUTE-*; each stands at the metadata OBX that asks for the destination. What a flag that is not
    `given` could change is left out: the flag itself has been reported.
    """
    places = {g.code: g.obx.place(5, 1, 1) for g in observations.metadata}
    # a flag that is missing or unreadable has been reported: it is given the benefit of the doubt here
    told = {m.flag for code, m in table.metadata.items() if code in given}

    def place(code: str) -> Place:
        return places.get(code, Place("OBX"))

    mss = flags.dest_mssante_ps or flags.dest_mssante_pat
    if given >= _DESTINATIONS and not (mss or flags.dest_dmp):
        findings.add("ROUTE-NONE", place("DESTDMP"))
    if flags.modif_conf_code and flags.dest_dmp and action is not Action.REPLACE:
        findings.add("ROUTE-MODIF-OUTSIDE-REPLACEMENT", place("MODIF_CONF_CODE"))
    if not mss:
        return
    unsafe = False
    if flags.masque_ps and flags.dest_mssante_ps:
        findings.add("ROUTE-MASKED-TO-PS", place("DESTMSSANTEPS"))
        unsafe = True
    if flags.invisible_patient and flags.dest_mssante_pat:
        findings.add("ROUTE-INVISIBLE-TO-PATIENT", place("DESTMSSANTEPAT"))
        unsafe = True
    wrong = [] if unsafe else _nearest(flags, told, table)
    if wrong:
        asking = place("DESTMSSANTEPS" if flags.dest_mssante_ps else "DESTMSSANTEPAT")
        findings.add("ROUTE-TABLE", asking, codes=", ".join(wrong))
    if flags.dest_mssante_pat and not any(r.is_patient for r in parties.recipients):
        findings.add("ROUTE-NO-PATIENT-ADDRESS", place("DESTMSSANTEPAT"))
    if flags.dest_mssante_ps and all(r.is_patient for r in parties.recipients):
        findings.add("ROUTE-NO-PS-ADDRESS", place("DESTMSSANTEPS"))


def _nearest(flags: Flags, told: set[str], table: Profile) -> list[str]:
    """Codes of the metadata that keep the message from the nearest row; empty when a row allows it.

    The nearest row is one that goes to the same MSSanté recipients, when there is: who is written to is what the
    sender wants, a masking flag is what it got wrong.
    """
    codes = {m.flag: code for code, m in table.metadata.items() if m.flag}

    def differing(row: Row) -> list[str]:
        given = {flag: "Y" if getattr(flags, flag) else "N" for flag in row if flag in told}
        return [codes[flag] for flag, value in given.items() if value not in row[flag]]

    return min(
        (differing(row) for row in routing_table()),
        key=lambda wrong: (sum(code in _MAILED for code in wrong), len(wrong)),
    )
