"""The full report of a message or of a document, without sending anything: command, page and API.

`source` (what the bytes are) → `overrides` (what the options change) → `validator` (all layers) → `report`.
"""
