"""All families of the catalogue, in their order."""

from tests.catalogue import header, identity, message, parties  # noqa: F401
from tests.catalogue.entry import CATALOGUE

__all__ = ["CATALOGUE"]
