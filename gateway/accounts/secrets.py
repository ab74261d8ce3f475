"""Random values that open something, and their sums.

Guarantee: 256 bits each; what is kept is the SHA-256 sum: nothing to guess, and whoever reads the journal cannot use
it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets


def new() -> str:
    """A value for a cookie, a link, a token: 43 characters of `A-Za-z0-9_-`."""
    return secrets.token_urlsafe(32)


def sum_of(secret: str) -> str:
    """What is kept of it."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def csrf_of(secret: str) -> str:
    """The CSRF token of a cookie's value: computed, so that it is kept nowhere and dies with the cookie."""
    return hmac.new(secret.encode("utf-8", "replace"), b"csrf", hashlib.sha256).hexdigest()


def same(one: str, other: str) -> bool:
    """In a time that tells nothing."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
