"""The HL7 profile: rules as data (rules.toml, routing.toml) and the checks that use them.

`read_transmission(message, book)` reads a message into a `Transmission` with all findings;
`document_content` decodes a document that it locates.
"""

from gateway.hl7.profile.content import document_content
from gateway.hl7.profile.reading import Reading, read_transmission

__all__ = ["Reading", "document_content", "read_transmission"]
