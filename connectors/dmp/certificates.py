"""The two organisation certificates of the DMP connector: ORG AUTH_CLI (mutual TLS) and ORG SIGN (cachet).

Purpose: load them once, check that each is fit for its use, make the TLS context.
Guarantee: a `Credentials` in hand has matching pairs, the right key usages, one OU for both (the
Struct_IdNat of the legal entity) and was valid at the instant given.
Fails: `ConfigurationFault` with every problem at once (setting names, never contents). Signing with the wrong
certificate would be refused by the DMP as `DMPInvalidCertificate` for every document: better known at start.
Source: EX_GEN-1450, PDT-INF-579v4 (TLS), spec/dmp.md §1.5.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from connectors.dmp.settings import DmpSettings
from connectors.keys import files
from connectors.keys.files import check_identity, read_identity, read_password, use_identity
from gateway.errors import ConfigurationFault

CIPHERS = (
    "ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-SHA384"
)
"""The four TLS 1.2 suites of PDT-INF-579v4."""


_Pair = tuple[tuple[x509.Certificate, ...], rsa.RSAPrivateKey | None]


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """ORG SIGN ready for use: key, chain (leaf first), and what signatures repeat, computed once."""

    key: rsa.RSAPrivateKey
    chain: tuple[x509.Certificate, ...]
    leaf_base64: str
    """DER of the leaf in base64, as X509Certificate wants it."""
    issuer_name: str
    """VIHF Issuer: the subject DN of the leaf in the order of the settings."""
    structure: str
    """OU of the leaf: Struct_IdNat of the legal entity."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Everything that certificates give."""

    tls: ssl.SSLContext
    signing: SigningIdentity
    auth_leaf: x509.Certificate
    not_before: datetime
    not_after: datetime
    """The narrower window of the two leaves (aware, UTC)."""

    def valid_at(self, now: datetime) -> bool:
        """True when both certificates are valid at `now` (aware)."""
        return self.not_before <= now <= self.not_after


def _usage(leaf: x509.Certificate, wanted: Callable[[x509.KeyUsage], bool]) -> bool:
    try:
        return wanted(leaf.extensions.get_extension_for_class(x509.KeyUsage).value)
    except x509.ExtensionNotFound:
        return False


def _extended(leaf: x509.Certificate, usage: x509.ObjectIdentifier) -> bool:
    try:
        return usage in leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False


def structure_of(leaf: x509.Certificate) -> str:
    """OU of an organisation certificate (Struct_IdNat), "" when there is none."""
    units = leaf.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
    return str(units[0].value) if units else ""


def _read(
    what: str, certificate: Path, key: Path | None, password: bytes | None, problems: list[str]
) -> _Pair:
    """The identity of `<what>_certificate` and `<what>_key`: RSA, as XAdES and the VIHF sign with it."""
    names = (f"{what}_certificate", f"{what}_key")
    chain, found = read_identity(names, certificate, key, password, problems)
    if found is not None and not isinstance(found, rsa.RSAPrivateKey):
        problems.append(f"{names[0] if key is None else names[1]} is not an RSA key")
        found = None
    return chain, found


def load_credentials(settings: DmpSettings, now: datetime) -> Credentials:
    """Read and check everything. Raises `ConfigurationFault` with all problems."""
    problems: list[str] = []
    password = read_password("key_password_file", settings.key_password_file, problems)
    auth, auth_key = _read("auth", settings.auth_certificate, settings.auth_key, password, problems)
    if settings.sign_password_file is not None:
        password = read_password("sign_password_file", settings.sign_password_file, problems)
    sign, sign_key = _read("sign", settings.sign_certificate, settings.sign_key, password, problems)
    if auth:
        check_identity("auth_certificate", (auth, auth_key), now, problems)
        if not _usage(auth[0], lambda u: u.digital_signature):
            problems.append("auth_certificate: key usage digitalSignature is missing (ORG AUTH_CLI expected)")
        if not _extended(auth[0], ExtendedKeyUsageOID.CLIENT_AUTH):
            problems.append("auth_certificate: extended usage clientAuth is missing (ORG AUTH_CLI expected)")
    if sign:
        check_identity("sign_certificate", (sign, sign_key), now, problems)
        if not _usage(sign[0], lambda u: u.content_commitment):
            problems.append("sign_certificate: key usage nonRepudiation is missing (ORG SIGN expected)")
        if not structure_of(sign[0]):
            problems.append("sign_certificate: no OU (Struct_IdNat) in the subject")
    if auth and sign and structure_of(auth[0]) != structure_of(sign[0]):
        problems.append("auth_certificate and sign_certificate do not belong to the same structure (OU)")
    context = _tls(settings, auth, auth_key, problems)
    if problems or context is None or sign_key is None:
        raise ConfigurationFault("[connectors.dmp] " + "; ".join(problems))
    leaf = sign[0]
    issuer = leaf.subject.rfc4514_string()
    if settings.vihf.issuer_order == "reverse":
        issuer = ",".join(r.rfc4514_string() for r in leaf.subject.rdns)
    return Credentials(
        tls=context,
        signing=SigningIdentity(
            key=sign_key,
            chain=sign,
            leaf_base64=base64.b64encode(leaf.public_bytes(serialization.Encoding.DER)).decode(),
            issuer_name=issuer,
            structure=structure_of(leaf),
        ),
        auth_leaf=auth[0],
        not_before=max(auth[0].not_valid_before_utc, leaf.not_valid_before_utc),
        not_after=min(auth[0].not_valid_after_utc, leaf.not_valid_after_utc),
    )


def _tls(
    settings: DmpSettings,
    chain: tuple[x509.Certificate, ...],
    key: rsa.RSAPrivateKey | None,
    problems: list[str],
) -> ssl.SSLContext | None:
    """TLS 1.2 client context with our certificate; None (and a problem) when a file does not load."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    try:
        context.load_verify_locations(cafile=str(settings.ca_bundle))
    except (OSError, ssl.SSLError) as e:
        problems.append(f"ca_bundle cannot be read ({type(e).__name__})")
    if not chain or key is None:
        return None
    try:
        use_identity(context, chain, key)
    except (OSError, ssl.SSLError, ValueError) as e:
        problems.append(f"auth_certificate and auth_key cannot be used for TLS ({type(e).__name__})")
        return None
    return context


def fingerprint(settings: DmpSettings) -> files.Fingerprint:
    """What changes when one of the files changes."""
    return files.fingerprint(
        (
            settings.auth_certificate,
            settings.auth_key,
            settings.sign_certificate,
            settings.sign_key,
            settings.key_password_file,
            settings.sign_password_file,
            settings.ca_bundle,
        )
    )


def sha1_base64(certificate: x509.Certificate) -> str:
    """SHA-1 of the DER in base64, as XAdES 1.1.1 CertDigest wants it."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    return base64.b64encode(hashlib.sha1(der, usedforsecurity=False).digest()).decode()
