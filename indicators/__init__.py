"""The monthly DSR indicators, computed from facts and from nothing else: docs/indicators.md."""
