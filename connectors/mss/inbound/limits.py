"""Bounds of what is read from a received mail. Pure data.

Source: spec/mssante.md §2.2 (200 entries, 100 MB, ratio 100); the largest official archive has 6 entries and 3 MB.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InboundLimits:
    """Bounds of one mail; sizes in bytes."""

    mail_bytes: int = 150_000_000
    """The mail as received (100 MB of base64 and its headers)."""
    header_bytes: int = 256_000
    """The headers of the mail or of one part."""
    all_header_bytes: int = 1_000_000
    """All headers together."""
    parts: int = 200
    """MIME parts, multiparts included."""
    depth: int = 8
    """Levels of multipart and of mails inside mails."""
    entries: int = 200
    """Entries of the archive, folders included."""
    unzipped_bytes: int = 100_000_000
    """All entries of the archive together, as announced and as read."""
    ratio: int = 100
    """Unzipped size by zipped size: of the archive, and of each entry larger than `ratio_from`."""
    ratio_from: int = 1_000_000
    metadata_bytes: int = 5_000_000
    """METADATA.XML of one SUBSET (official ones: 20 to 66 kB)."""
    documents: int = 50
    """Documents of one mail."""
