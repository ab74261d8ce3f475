"""Simulator of an MSSanté operator: a submission server on loopback that keeps the mails and fails on order.

A product of its own: the demo, the tests and users' CI start it by the entry point `mss`.
"""

from __future__ import annotations

from connectors.mss.simulator.operator import Mail, OperatorSimulator, Verdict, create, main

__all__ = ["Mail", "OperatorSimulator", "Verdict", "create", "main"]
