"""Simulator of a DPI: receives ZAM and MDM over MLLP, answers on order or as a consumer, and sends (`client.send`).

A product of its own: the demo, the tests and users' CI start it by the entry point `dpi`.
"""

from __future__ import annotations

from connectors.dpi.simulator.integration import Patient
from connectors.dpi.simulator.received import Received
from connectors.dpi.simulator.server import DpiSimulator, Verdict, create, main
from gateway.mllp import send

__all__ = ["DpiSimulator", "Patient", "Received", "Verdict", "create", "main", "send"]
