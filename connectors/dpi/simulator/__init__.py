"""Simulator of a DPI: receives ZAM and MDM over MLLP, answers on order, and sends messages (`client.send`).

A product of its own: the demo, the tests and users' CI start it by the entry point `dpi`.
"""

from __future__ import annotations

from connectors.dpi.simulator.server import DpiSimulator, Received, Verdict, create, main
from gateway.mllp import send

__all__ = ["DpiSimulator", "Received", "Verdict", "create", "main", "send"]
