"""Passwords: argon2id in threads, and which ones are refused.

Purpose: hash and verify beside the event loop, few at once: each computation takes the memory that the settings say.
A password is judged by its length and by how soon it is guessed (zxcvbn: lists of common passwords and names, keyboard
rows, dates, what is near the login); no rules about kinds of characters (ANSSI, NIST SP 800-63B).

Guarantee: a login without a password costs the same time as one with. Passwords are in no log, no exception, no repr.
Fails: `Busy` when too many wait.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from typing import Final, TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.errors import EnvironmentFault
from gateway.settings_web import AccountSettings

T = TypeVar("T")

MAX_LENGTH: Final = 256
"""Characters: more are not looked at."""
MAX_WAITING: Final = 16
_JUDGED: Final = 72
"""Characters that are judged (the time that takes grows faster than the length)."""
_SCORE: Final = 4
"""Of zxcvbn, the best: more than 10^10 guesses."""
_NEAR: Final = (
    "passerelle", "segur", "hopital", "hospitalier", "clinique", "sante", "patient", "medecin", "infirmier", "dmp",
    "mssante", "motdepasse", "mdp", "azerty", "qsdfgh", "wxcvbn", "azertyuiop", "administrateur", "exploitant",
    "bonjour", "soleil", "france", "jetaime", "bienvenue", "changezmoi", "janvier", "fevrier", "mars", "avril", "juin",
    "juillet", "aout", "septembre", "octobre", "novembre", "decembre", "printemps", "automne",
)  # fmt: skip
"""French words that the lists of common passwords lack."""


class Busy(EnvironmentFault):
    """Too many passwords are being looked at."""


class Passwords:
    """One per gateway."""

    def __init__(self, settings: AccountSettings) -> None:
        self._length = settings.password_length
        self._hasher = argon2.PasswordHasher(
            time_cost=settings.hash_passes, memory_cost=settings.hash_memory_kib, parallelism=1
        )
        self._places = asyncio.Semaphore(settings.hash_at_once)
        self._waiting = 0
        self._nobodys: str | None = None

    async def hash(self, password: str) -> str:
        """To keep."""
        return await self._run(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, kept: str | None, password: str) -> tuple[bool, str | None]:
        """(whether it is the one, a hash to keep instead when the settings have changed). `kept` None: never, in the
        same time."""
        return await self._run(lambda: self._verify(kept, password))

    async def refused(self, password: str, *near: str) -> str | None:
        """Why it may not be chosen, a French sentence; None: it may. `near`: login and name of the person."""
        if len(password) < self._length:
            return f"Le mot de passe doit avoir au moins {self._length} caractères."
        if len(password) > MAX_LENGTH:
            return f"Le mot de passe doit avoir au plus {MAX_LENGTH} caractères."
        if await self._run(lambda: _guessed(_normal(password), near)):
            return (
                "Ce mot de passe se devine trop facilement (mots courants, suites, dates, nom ou identifiant). "
                "Plusieurs mots sans rapport entre eux conviennent."
            )
        return None

    # --- in a thread ----------------------------------------------------------------------------------------

    def _verify(self, kept: str | None, password: str) -> tuple[bool, str | None]:
        if kept is None and self._nobodys is None:
            self._nobodys = self._hasher.hash("personne")
        try:
            self._hasher.verify(kept or self._nobodys or "", _normal(password[:MAX_LENGTH]))
        except (VerificationError, InvalidHashError):
            return False, None
        if kept is None or len(password) > MAX_LENGTH:
            return False, None
        again = self._hasher.check_needs_rehash(kept)
        return True, self._hasher.hash(_normal(password)) if again else None

    def check_room(self) -> None:
        """Raises `Busy` when too many wait."""
        if self._waiting >= MAX_WAITING:
            raise Busy("too many passwords are being looked at")

    async def _run(self, work: Callable[[], T]) -> T:
        self.check_room()
        self._waiting += 1
        try:
            async with self._places:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def _normal(password: str) -> str:
    """The same characters typed on another keyboard are the same password."""
    return unicodedata.normalize("NFKC", password)


def _guessed(password: str, near: tuple[str, ...]) -> bool:
    """In reach of somebody who tries."""
    from zxcvbn import zxcvbn  # lists of some megabytes, for the few who choose a password

    words = [part for word in (*near, *_NEAR) for part in (word, *word.replace(".", " ").split()) if part]
    return int(zxcvbn(password[:_JUDGED], user_inputs=words)["score"]) < _SCORE
