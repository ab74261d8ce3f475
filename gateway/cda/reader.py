"""Safe reading of a CDA: bytes in, one ClinicalDocument element out, or findings.

Purpose: the only place where XML that came from outside is parsed. Source: spec/cda.md §5 (measured
behaviour of lxml 6.1 and libxml2 2.14) and H00/H01 of §4.

Guarantee: nothing outside the bytes is ever opened (no network, no DTD, no entity); any DOCTYPE refuses the
document; size, number of elements and depth are bounded; the text is what its author wrote (a wrong encoding
declaration that would give mojibake is refused). No message of the XML parser leaves this module: it may
quote patient data.

Fails: never raises for what is in the bytes; every refusal is a finding (rules `CDA-…` of rules.toml) and
then `ReadResult.clinical_document` is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from lxml import etree

from gateway.errors import Place
from gateway.rules import Findings, RuleBook
from gateway.safexml import safe_parser

V3 = "urn:hl7-org:v3"
ROOT = f"{{{V3}}}ClinicalDocument"
WRAPPERS = frozenset(
    {
        "{http://www.w3.org/1999/XSL/Transform}stylesheet",
        "{http://www.w3.org/1999/XSL/Transform}transform",
        "{http://www.w3.org/2000/09/xmldsig#}Signature",
    }
)
"""Roots that may carry the ClinicalDocument: self-presenting (style sheet) and signed documents (H01)."""

SMALLEST_ELEMENT = 4
"""`<a/>`: a document shorter than this times the element limit cannot break that limit."""
_COUNTED = 1 << 22

UTF8 = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
SINGLE_BYTE = frozenset(
    {"iso-8859-1", "iso-8859-15", "iso8859-1", "iso8859-15", "latin1", "latin-1", "latin-9"}
)
UTF16 = frozenset({"utf-16", "utf-16le", "utf-16be"})
_DECLARATION = re.compile(rb"""^<\?xml\s[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']""")
_DOCTYPE = re.compile(rb"<!DOCTYPE\s")
_DOUBLE = re.compile(rb"\xc3\x83\xc2[\x80-\xbf]|\xc3\xa2\xe2\x82\xac")
"""UTF-8 read as Latin-1 or Windows-1252 and encoded again: « Ã© », « â€™ »."""
_BLANKS = b" \t\r\n"
COMPRESSED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")
"""gzip, zip, bzip2, xz, zstd, 7z."""
BASE64_OF_XML = (b"PD94bW", b"77u/PD", b"PENsaW", b"PHhzbD", b"PCEtLS", b"//48AD", b"Cjw/eG", b"DQo8P3")
"""The base64 of `<?xm`, BOM and `<?`, `<Cli`, `<xsl`, `<!--`, UTF-16, and of a line break before."""
KNOWN = (
    (b"%PDF-", "c'est un PDF"),
    (b"{\\rtf", "c'est du RTF"),
    (b"{", "c'est peut-être du JSON"),
    (b"[", "c'est peut-être du JSON"),
    (b"MSH|", "c'est un message HL7"),
    (b"\xff\xd8\xff", "c'est une image"),
    (b"\x89PNG", "c'est une image"),
    (b"\x4c\x6f\xa7\x94", "encodage EBCDIC"),
    (b"+/v", "encodage UTF-7"),
)
_C1 = re.compile(rb"[\x80-\x9f]")
_COUNT = etree.XPath("count(//*)")
_EMBEDDED = etree.XPath("//v3:ClinicalDocument", namespaces={"v3": V3})


@dataclass(frozen=True, slots=True)
class CdaLimits:
    """Bounds of one document: bytes, elements, levels of nesting (spec/cda.md §5; IPS of 1.5 MB: 5,113
    elements).
    """

    max_bytes: int = 100_000_000
    max_elements: int = 200_000
    max_depth: int = 200


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What reading gave. `clinical_document` is None when a finding refuses the document."""

    clinical_document: etree._Element | None
    findings: Findings
    self_presenting: bool = False
    """The ClinicalDocument stood inside an xsl:stylesheet."""
    has_stylesheet_pi: bool = False
    """An xml-stylesheet instruction stands before the root (ignored: never run)."""


def read(content: bytes, book: RuleBook, place: Place, limits: CdaLimits | None = None) -> ReadResult:
    """Parse `content` (the exact bytes of one CDA) and unwrap it to its ClinicalDocument.

    All findings are placed at `place`. See the module's docstring for the guarantee.
    """
    limits = limits or CdaLimits()
    findings = Findings(book)
    refused = ReadResult(None, findings)
    if not content:
        findings.add("CDA-EMPTY", place)
    elif len(content) > limits.max_bytes:
        findings.add("CDA-SIZE", place, limit=limits.max_bytes // 1_000_000)
    elif content.startswith(COMPRESSED):
        findings.add("CDA-COMPRESSED", place)
    elif not _starts_like_xml(content):
        if content[:64].lstrip(_BLANKS).startswith(BASE64_OF_XML):
            findings.add("CDA-B64-TWICE", place)
        else:
            findings.add("CDA-NOT-XML", place, found=_found(content))
    elif (
        len(content) > limits.max_elements * SMALLEST_ELEMENT
        and _count(content, b"<") > 2 * limits.max_elements
    ):
        # before parsing: a tree of a million elements would cost hundreds of megabytes only to be refused
        findings.add("CDA-ELEMENTS", place, limit=limits.max_elements)
    if findings.rejects:
        return refused
    declared = _declared_encoding(content)
    _check_encoding(content, declared, findings, place)
    if findings.rejects:
        return refused
    try:
        root = cast("etree._Element", etree.fromstring(content, safe_parser(len(content))))
    except (etree.XMLSyntaxError, ValueError) as e:
        _say_why(content, declared, e, findings, place)
        return refused
    tree = root.getroottree()
    used = (tree.docinfo.encoding or "utf-8").lower()
    if used != declared and not any({used, declared} <= family for family in (UTF8, UTF16)):
        # a declaration written so that only the parser understood it
        _check_encoding(content, used, findings, place)
    if tree.docinfo.internalDTD is not None:
        findings.add("CDA-DOCTYPE", place)
    if cast(float, _COUNT(root)) > limits.max_elements:
        findings.add("CDA-ELEMENTS", place, limit=limits.max_elements)
    elif _deeper_than(root, limits.max_depth):
        findings.add("CDA-DEPTH", place, limit=limits.max_depth)
    if findings.rejects:
        return refused
    twice = _DOUBLE.search(content) if used in UTF8 else None
    if twice is not None:
        line = content.count(b"\n", 0, twice.start()) + 1
        findings.add_inside(("", line), "CDA-DOUBLE-ENCODED", place)
    return _unwrap(root, findings, place)


def _found(content: bytes) -> str:
    """What the content looks like instead, for the sentence; empty when it is not known."""
    head = content[:64].lstrip(_BLANKS)
    return next((f" ({what})" for magic, what in KNOWN if head.startswith(magic)), "")


def _say_why(content: bytes, declared: str, error: Exception, findings: Findings, place: Place) -> None:
    """Not well-formed: the cause when it is known, else the line. Never the parser's words: they quote the document."""
    if _DOCTYPE.search(content.replace(b"\0", b"") if declared in UTF16 else content):
        # an entity of the DOCTYPE is what the parser stumbled on
        findings.add("CDA-DOCTYPE", place)
        return
    if declared in UTF8:
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as e:
            line = content.count(b"\n", 0, e.start) + 1
            findings.add_inside(("", line), "CDA-UTF8", place)
            return
    lineno = getattr(error, "lineno", None)
    findings.add_inside(("", lineno if isinstance(lineno, int) and lineno > 0 else None), "CDA-XML", place)


def _count(content: bytes, mark: bytes) -> int:
    """How many times a byte occurs, in slices: 67 MB in one go would hold all other threads for 20 ms."""
    return sum(content.count(mark, start, start + _COUNTED) for start in range(0, len(content), _COUNTED))


def _starts_like_xml(content: bytes) -> bool:
    """True when the first character, after a byte order mark and blanks, is `<`."""
    head = content[:64].removeprefix(b"\xef\xbb\xbf")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head[2:].replace(b"\0", b"")
    return head.replace(b"\0", b"").lstrip().startswith(b"<")


def _declared_encoding(content: bytes) -> str:
    """The encoding that the parser will use: byte order mark, else the XML declaration, else UTF-8; lower
    case.
    """
    head = content[:400]
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff", b"<\0\0\0", b"\0\0\0<"):
        return "utf-32"
    if head[:2] in (b"\xff\xfe", b"\xfe\xff") or head[:4] in (b"<\0?\0", b"\0<\0?"):
        return "utf-16"
    found = _DECLARATION.match(head.removeprefix(b"\xef\xbb\xbf").lstrip())
    return found[1].decode("ascii").lower() if found else "utf-8"


def _check_encoding(content: bytes, encoding: str, findings: Findings, place: Place) -> None:
    """H00: UTF-8 wanted; Latin and UTF-16 tolerated; anything else, and every sign of mojibake, refused."""
    if encoding in UTF8:
        return
    if encoding not in SINGLE_BYTE and encoding not in UTF16:
        findings.add("CDA-ENCODING-UNKNOWN", place)
        return
    findings.add("CDA-H00", place)
    if encoding in UTF16 or content.isascii():
        return
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        if _C1.search(content):
            findings.add("CDA-C1", place)
    else:
        findings.add("CDA-MOJIBAKE", place)


_DEPTH: dict[int, etree.XPath] = {}


def _deeper_than(root: etree._Element, levels: int) -> bool:
    """True when an element stands below `levels` levels: one walk in C (0.02 ms for 1,000 elements)."""
    path = _DEPTH.get(levels)
    if path is None:
        path = _DEPTH[levels] = etree.XPath(f"boolean({'/*' * (levels + 1)})")
    return bool(path(root))


def _unwrap(root: etree._Element, findings: Findings, place: Place) -> ReadResult:
    """H01: the root, or the one ClinicalDocument inside a style sheet or a signature."""
    wrapped = root.tag in WRAPPERS
    document: etree._Element | None = None
    if root.tag == ROOT:
        document = root
    elif wrapped:
        inside = cast("list[etree._Element]", _EMBEDDED(root))
        document = inside[0] if len(inside) == 1 else None
    if document is None:
        findings.add("CDA-H01", place)
        return ReadResult(None, findings)
    instruction = any(
        isinstance(node, etree._ProcessingInstruction) and node.target == "xml-stylesheet"
        for node in root.itersiblings(preceding=True)
    )
    return ReadResult(document, findings, wrapped and not str(root.tag).endswith("Signature"), instruction)
