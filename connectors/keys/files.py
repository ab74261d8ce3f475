"""Certificates and keys as files: PEM, or PKCS#12 that holds both.

Purpose: read one identity (chain, leaf first, and its key), whatever the form of its files; check it; give OpenSSL
a chain and a key that are in memory; tell when one of its files changed.
Guarantee: a key never touches a disk unencrypted by us; no text built here quotes a file.
Fails: problems are appended to the list given, by setting name; nothing is raised.
"""

from __future__ import annotations

import os
import secrets
import ssl
import tempfile
from collections.abc import Iterable
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Identity = tuple[tuple[x509.Certificate, ...], PrivateKey | None]
Fingerprint = tuple[tuple[int, ...], ...]


def read_password(name: str, path: Path | None, problems: list[str]) -> bytes | None:
    """The pass phrase of a file, line end removed; None without a file."""
    if path is None:
        return None
    try:
        return path.read_bytes().rstrip(b"\r\n")
    except OSError as e:
        problems.append(f"{name} cannot be read ({type(e).__name__})")
        return None


def read_identity(
    names: tuple[str, str],
    certificate: Path,
    key: Path | None,
    password: bytes | None,
    problems: list[str],
) -> Identity:
    """The identity of two files (no `key`: the certificate is a PKCS#12), `names` being their settings."""
    if key is None:
        return _from_pkcs12(names[0], certificate, password, problems)
    return _certificates(names[0], certificate, problems), _key(names[1], key, password, problems)


def _from_pkcs12(name: str, path: Path, password: bytes | None, problems: list[str]) -> Identity:
    try:
        held = pkcs12.load_pkcs12(path.read_bytes(), password)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as e:
        problems.append(f"{name} cannot be read as PKCS#12 ({type(e).__name__}); a PEM needs its key setting")
        return (), None
    if held.cert is None:
        problems.append(f"{name}: the PKCS#12 holds no certificate of its key")
        return (), None
    chain = (held.cert.certificate, *_ordered(held.cert.certificate, held.additional_certs))
    return chain, _known(name, held.key, problems)


def _ordered(leaf: x509.Certificate, others: list[pkcs12.PKCS12Certificate]) -> tuple[x509.Certificate, ...]:
    """The issuers among `others`, each after the one that it issued (a PKCS#12 has no order)."""
    made: list[x509.Certificate] = []
    current = leaf
    by_subject = {c.certificate.subject: c.certificate for c in others}
    while current.issuer in by_subject and current.issuer != current.subject:
        current = by_subject[current.issuer]
        if current in made:
            break
        made.append(current)
    return tuple(made)


def _certificates(name: str, path: Path, problems: list[str]) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(path.read_bytes()))
    except (OSError, ValueError) as e:
        problems.append(f"{name} cannot be read as PEM certificates ({type(e).__name__})")
        return ()


def _key(name: str, path: Path, password: bytes | None, problems: list[str]) -> PrivateKey | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as e:
        problems.append(f"{name} cannot be read as a PEM private key ({type(e).__name__})")
        return None
    return _known(name, key, problems)


def _known(name: str, key: object, problems: list[str]) -> PrivateKey | None:
    if isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        return key
    problems.append(f"{name} is neither an RSA nor an elliptic curve key")
    return None


def check_identity(name: str, identity: Identity, now: datetime, problems: list[str]) -> None:
    """The key is the leaf's, `now` (aware) is within the leaf's days, each certificate signed the one before it."""
    chain, key = identity
    if not chain:
        return
    leaf = chain[0]
    if key is not None and leaf.public_key() != key.public_key():
        problems.append(f"{name}: the key does not belong to the certificate")
    if now > leaf.not_valid_after_utc:
        problems.append(f"{name} expired on {leaf.not_valid_after_utc:%Y-%m-%d}")
    if now < leaf.not_valid_before_utc:
        problems.append(f"{name} is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}")
    for lower, upper in pairwise(chain):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            problems.append(f"{name}: the certificates of the file do not form a chain")
            return


def fingerprint(paths: Iterable[Path | None]) -> Fingerprint:
    """What changes when one of the files changes: device, inode, size and time of each (absent: nothing)."""
    made: list[tuple[int, ...]] = []
    for path in paths:
        try:
            found = path.stat() if path is not None else None
        except OSError:
            found = None
        made.append((found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns) if found else ())
    return tuple(made)


def use_identity(context: ssl.SSLContext, chain: tuple[x509.Certificate, ...], key: PrivateKey) -> None:
    """Give a TLS context an identity that is in memory. Raises `ssl.SSLError` or `OSError`.

    OpenSSL's binding takes files only: one is written for the length of the call, its key encrypted with a pass
    phrase that nothing keeps.
    """
    phrase = secrets.token_hex(32).encode()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(phrase),
    )
    pem += b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain)
    handle, name = tempfile.mkstemp(prefix="segur-tls-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
        context.load_cert_chain(name, password=phrase)
    finally:
        Path(name).unlink(missing_ok=True)
