"""The HL7 profile: fields and rules as data (fields.toml, rules.toml, routing.toml) and the checks that use them.

`read_transmission(message, book)` reads a message into a `Transmission` with all its findings.
"""

from gateway.hl7.profile.fields import profile
from gateway.hl7.profile.reading import Reading, read_transmission

__all__ = ["Reading", "profile", "read_transmission"]
