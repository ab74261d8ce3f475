"""The failures of a look-up."""

from gateway.errors import EnvironmentFault


class DirectoryUnavailable(EnvironmentFault):
    """No answer, fresh or kept. The text names the cause alone: no address, no identifier, no key."""


class NotToBeAsked(ValueError):
    """What is no identifier, or an address that may be a patient's: a caller's mistake. The text quotes nothing."""
