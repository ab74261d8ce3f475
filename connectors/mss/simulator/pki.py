"""Certificates of the simulated operator: an authority, a server, a client. For loopback and tests only.

Purpose: real TLS without files to prepare. Keys are P-256 (made in a millisecond), written in a folder given
by the caller and used again while they are valid. Fails: `OSError` when the folder cannot be written.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, PEM files."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Pki:
    """The three certificates."""

    authority: Path
    server: Pair
    client: Pair


def make_pki(directory: Path, now: datetime | None = None) -> Pki:
    """The certificates in `directory`, made when absent or out of date. `now` is aware."""
    moment = now or datetime.now(UTC)
    directory.mkdir(parents=True, exist_ok=True)
    made = Pki(
        directory / "ca.pem",
        Pair(directory / "server.pem", directory / "server.key"),
        Pair(directory / "client.pem", directory / "client.key"),
    )
    paths = (made.authority, made.server.cert, made.server.key, made.client.cert, made.client.key)
    if all(p.exists() for p in paths) and _valid(made.server.cert, moment):
        return made
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("AC de test de l'opérateur simulé")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), moment)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    made.authority.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    for pair, name, purpose in (
        (made.server, "localhost", ExtendedKeyUsageOID.SERVER_AUTH),
        (made.client, "passerelle-de-test", ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        _issue(pair, name, purpose, ca, ca_key, moment)
    return made


def _issue(
    pair: Pair,
    name: str,
    purpose: x509.ObjectIdentifier,
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    moment: datetime,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    certificate = (
        _builder(_name(name), ca.subject, key.public_key(), moment)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pair.cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.touch(mode=0o600)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, moment: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + _LIFE)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _valid(path: Path, moment: datetime) -> bool:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return certificate.not_valid_before_utc <= moment < certificate.not_valid_after_utc - timedelta(days=1)
