"""XML signature primitives of the XAdES 1.1.1 manifest: canonical bytes, digests, RSA.

Purpose: what signxml does not offer (it knows XAdES 1.4.1 and refuses SHA-1). The VIHF is signed by signxml
itself: docs/decisions/0003.
Guarantee: canonical bytes are those of the recommendation, whatever libxml2 makes of a part of a document; no
signature is verified here.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from lxml import etree

from gateway.safexml import safe_parser

DS: Final = "http://www.w3.org/2000/09/xmldsig#"
C14N_WITH_COMMENTS: Final = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315#WithComments"

Digest = Literal["sha1", "sha256"]

DIGEST_METHOD: Final[dict[Digest, str]] = {
    "sha1": DS + "sha1",
    "sha256": "http://www.w3.org/2001/04/xmlenc#sha256",
}
SIGNATURE_METHOD: Final[dict[Digest, str]] = {
    "sha1": DS + "rsa-sha1",
    "sha256": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
}


def digest(data: bytes, kind: Digest) -> str:
    """Base64 digest of `data`. SHA-1 only where the national format imposes it."""
    made = hashlib.new(kind, data, usedforsecurity=kind != "sha1")
    return base64.b64encode(made.digest()).decode()


def rsa_sign(key: rsa.RSAPrivateKey, data: bytes, kind: Digest) -> str:
    """Base64 RSA PKCS#1 v1.5 signature of `data`."""
    algorithm: hashes.HashAlgorithm = hashes.SHA256()
    if kind == "sha1":
        algorithm = hashes.SHA1()  # noqa: S303  # imposed by the DMP's XAdES 1.1.1 (spec/dmp.md §3.9)
    return base64.b64encode(key.sign(data, padding.PKCS1v15(), algorithm)).decode()


def canonical(element: etree._Element | etree._ElementTree) -> bytes:
    """Inclusive canonical XML 1.0 with comments. Of a tree: with what stands outside the root element.

    A part of a document is made a document first: libxml2 writes `xmlns=""` on grandchildren when it canonicalises a
    part whose namespace is the default one (docs/decisions/0016), and no other verifier would agree.
    """
    if isinstance(element, etree._Element) and element.getparent() is not None:
        alone = etree.fromstring(etree.tostring(element, with_tail=False), safe_parser())
        return etree.tostring(alone, method="c14n", with_comments=True)
    return etree.tostring(element, method="c14n", with_comments=True)


def default_namespace(uri: str) -> Any:
    """An nsmap that makes `uri` the default namespace (the published stubs of lxml forget that None is a
    key).
    """
    return {None: uri}
