"""The rules: one small pure function for each indicator, named after its id.

Purpose: `rule(view, sheet)` says of each subject of an establishment's month in which row it stands and whether it
counts. Pure.
Guarantee: the rows of an indicator are there even when nothing counts in them.
Fails: never.
Source: spec/indicators.md §1.2; titles and sources of each: catalogue.yaml.
"""

from __future__ import annotations

from collections.abc import Callable

from indicators.rules.ali import ali_1, ali_2, ali_3, ali_4, his_1
from indicators.rules.con import con_1, con_1b, con_2, con_3, con_4, con_5
from indicators.rules.inf import inf_1, inf_2
from indicators.rules.msi import bdg_0, msi_1, msi_2, msi_3, msi_4
from indicators.rules.mss import msc_1, msc_2, msp_1, msp_2
from indicators.rules.tbb import tbb_1, tbb_3, tbb_5
from indicators.sheet import Sheet
from indicators.view import View

Rule = Callable[[View, Sheet], None]

RULES: dict[str, Rule] = {
    "INF-1": inf_1,
    "INF-2": inf_2,
    "ALI-1": ali_1,
    "ALI-2": ali_2,
    "ALI-3": ali_3,
    "ALI-4": ali_4,
    "HIS-1": his_1,
    "CON-1": con_1,
    "CON-1b": con_1b,
    "CON-2": con_2,
    "CON-3": con_3,
    "CON-4": con_4,
    "CON-5": con_5,
    "MSP-1": msp_1,
    "MSP-2": msp_2,
    "MSC-1": msc_1,
    "MSC-2": msc_2,
    "MSI-1": msi_1,
    "MSI-2": msi_2,
    "MSI-3": msi_3,
    "MSI-4": msi_4,
    "TBB-1": tbb_1,
    "TBB-3": tbb_3,
    "TBB-5": tbb_5,
    "BDG-0": bdg_0,
}
"""In the order of the published rows."""
