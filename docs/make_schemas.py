"""Write the schemas of facts, events and indicators (docs/schemas): `python docs/make_schemas.py`. A test keeps
them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from indicators import events, export, facts

FOLDER = Path(__file__).with_name("schemas")


def schemas() -> dict[str, str]:
    """File name → text."""
    made: dict[str, dict[str, Any]] = {
        "facts.schema.json": facts.schema(),
        "events.schema.json": events.schema(),
        "indicators.schema.json": export.schema(),
    }
    return {
        name: json.dumps(s, ensure_ascii=False, indent=1, sort_keys=True) + "\n" for name, s in made.items()
    }


if __name__ == "__main__":
    for name, text in schemas().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
