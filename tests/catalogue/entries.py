"""All families of the catalogue, in their order."""

from tests.catalogue import (  # noqa: F401
    bodies,
    destinations,
    document,
    header,
    identity,
    message,
    parties,
    people,
    tolerances,
    transport,
    versions,
)
from tests.catalogue.entry import CATALOGUE

__all__ = ["CATALOGUE"]
