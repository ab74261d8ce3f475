"""Certificates and keys as files: PEM, or PKCS#12 that holds both.

Purpose: read one identity (chain, leaf first, and its RSA key), whatever the form of its files; give OpenSSL a chain
and a key that are in memory.
Guarantee: a key never touches a disk unencrypted by us; no text built here quotes a file.
Fails: problems are appended to the list given, by setting name; nothing is raised.
"""

from __future__ import annotations

import os
import secrets
import ssl
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

Identity = tuple[tuple[x509.Certificate, ...], rsa.RSAPrivateKey | None]


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
    what: str, certificate: Path, key: Path | None, password: bytes | None, problems: list[str]
) -> Identity:
    """The identity of `<what>_certificate` and `<what>_key` (None: the certificate is a PKCS#12)."""
    if key is None:
        return _from_pkcs12(f"{what}_certificate", certificate, password, problems)
    return (
        _certificates(f"{what}_certificate", certificate, problems),
        _key(f"{what}_key", key, password, problems),
    )


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
    return chain, _rsa(name, held.key, problems)


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


def _key(name: str, path: Path, password: bytes | None, problems: list[str]) -> rsa.RSAPrivateKey | None:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as e:
        problems.append(f"{name} cannot be read as a PEM private key ({type(e).__name__})")
        return None
    return _rsa(name, key, problems)


def _rsa(name: str, key: object, problems: list[str]) -> rsa.RSAPrivateKey | None:
    if isinstance(key, rsa.RSAPrivateKey):
        return key
    problems.append(f"{name} is not an RSA key")
    return None


def use_identity(
    context: ssl.SSLContext, chain: tuple[x509.Certificate, ...], key: rsa.RSAPrivateKey
) -> None:
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
