"""One certificate may speak for several structures (EJ and its EG): a structure that the DMP refuses stops alone.

Purpose: « Structure introuvable ou Inactive » about one site must not stop the deliveries of the others. With one
structure only it stays a configuration fault, which stops the destination.
Guarantee: one alert when the DMP begins to refuse a structure, one when it takes it again; what may have happened
stays uncertain.
Fails: never.
Source: spec/dmp.md §1.5 (mode EJ/EG), §4.4.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from connectors.port import Outcome, OutcomeClass

log = logging.getLogger("connectors.dmp")

OF_STRUCTURE = "structure"
"""Key of `Outcome.details`: the refusal is about the structure that speaks."""


class Sites:
    """The structures that the DMP refuses now. One per connector."""

    def __init__(self, several: bool) -> None:
        self._several = several
        self._refused: set[str] = set()

    def judge(self, structure: str, outcome: Outcome, *, looking: bool) -> Outcome:
        """The outcome of an attempt of `structure`; `looking`: of a look-up after an unknown outcome."""
        about_it = outcome.outcome is OutcomeClass.CONFIGURATION and bool(outcome.details.get(OF_STRUCTURE))
        if about_it and self._several:
            if structure not in self._refused:
                self._refused.add(structure)
                log.critical("the DMP refuses structure %s (%s): the others go on", structure, outcome.code)
            # tried again with the delivery's own backoff; a look-up that was refused says nothing of what was done
            return replace(outcome, outcome=OutcomeClass.UNCERTAIN if looking else OutcomeClass.TRANSIENT)
        if outcome.outcome is OutcomeClass.SUCCESS and structure in self._refused:
            self._refused.discard(structure)
            log.critical("the DMP takes structure %s again", structure)
        return outcome
