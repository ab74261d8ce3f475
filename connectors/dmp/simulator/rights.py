"""Who may do what in the simulated DMP: the matrix of transactions by authentication mode and role.

Purpose: step 4 of §8.2. The connector must not carry this matrix (PDT-INF-606 forbids it to LPS); the simulator does,
so that a client learns early what the real DMP would refuse.
Guarantee: a transaction that the table does not name is refused.
Fails: `SoapFault` in our words (the real ones are not published).
Source: spec/dmp.md §1.1 (PDT-INF-526 v1.8, PDT-INF-606 v1.3).
"""

from __future__ import annotations

from typing import Final, Literal

from connectors.dmp.simulator.answers import SoapFault

Profile = Literal["indirect", "air", "air-pe"]
INDIRECT: Final = "INDIRECTE"
AIR: Final = "INDIRECTE_RENFORCEE"

_PROFESSIONS = ("1.2.250.1.71.1.2.7", "1.2.250.1.71.1.2.8")
"""TRE_G15 and TRE_G16: health professionals, and those in training."""
_ALLOWED: Final[dict[Profile, frozenset[str]]] = {
    "indirect": frozenset({"TD0.2", "TD2.1a", "TD2.1b", "TD3.1b", "TD3.3c"}),
    # TD3.3d: in the matrix, absent from the ANS's list of April 2025, required by DMP/AIRS.03 (§1.1)
    "air": frozenset({"TD0.2", "TD3.1a", "TD3.1b", "TD3.2", "TD3.3a", "TD3.3b", "TD3.3c", "TD3.3d"}),
    "air-pe": frozenset({"TD0.2", "TD3.1b", "TD3.3c"}),
}
TRANSACTIONS: Final = frozenset().union(*_ALLOWED.values())
"""All that the simulator tells apart."""
_WORDS: Final[dict[Profile, str]] = {
    "indirect": "en authentification indirecte",
    "air": "en authentification indirecte renforcée",
    "air-pe": "en authentification indirecte renforcée à un personnel qui n'est pas professionnel de santé",
}


def profile(mode: str, role_systems: tuple[str, ...]) -> Profile:
    """The column of the matrix. `role_systems`: codeSystem of the VIHF's roles."""
    if mode == INDIRECT:
        return "indirect"
    return "air" if any(s in _PROFESSIONS for s in role_systems) else "air-pe"


def check(transaction: str, who: Profile) -> None:
    """Raises `SoapFault` for a transaction that is not open to that profile."""
    if transaction not in _ALLOWED[who]:
        raise SoapFault("AccessDenied", f"sim: {transaction} n'est pas ouverte {_WORDS[who]}")
