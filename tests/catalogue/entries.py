"""All families of the catalogue, in their order."""

from tests.catalogue import (  # noqa: F401
    document,
    header,
    identity,
    message,
    parties,
    people,
    register,
    tolerances,
    transport,
)
from tests.catalogue.entry import CATALOGUE

__all__ = ["CATALOGUE"]
