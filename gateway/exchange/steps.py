"""Named steps of the work on one message, where a test may kill the process.

Purpose: the promise "a stop at any instant neither loses nor republishes" is tested by a real SIGKILL at
each step boundary. `SEGUR_KILL_AT=<step>` in the environment arms one (`<step>#<n>`: the n-th time that it is
reached); without it `reached` does nothing.
"""

from __future__ import annotations

import os
import signal

INTAKE_STEPS = ("received", "checked", "prepared", "accepted", "acknowledged")
REPORT_STEPS = ("reporting", "reported")
DELIVERY_STEPS = ("sending", "done", "recorded")
MAIL_STEPS = ("kept", "mail", "concluded")
"""Of a received mail: its bytes are stored; it was treated (its documents are on their way); its end is stored."""

_ARMED, _, _nth = os.environ.get("SEGUR_KILL_AT", "").partition("#")
_left = int(_nth or 1)


def reached(step: str, destination: str = "") -> None:
    """Mark a step: `received`… or `<destination>:sending`…; kills the process if this one is armed."""
    global _left
    if _ARMED and (f"{destination}:{step}" if destination else step) == _ARMED:
        _left -= 1
        if _left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
