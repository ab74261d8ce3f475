"""The monthly DSR indicators, computed from the journal's facts and from nothing else.

The exchanges write facts from the first release on (`gateway.exchange.facts`); the catalogue and the engine that
read them live here.
"""
