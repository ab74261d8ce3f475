"""The narrative as a page: nothing of the text is lost, nothing of the document becomes markup or an address.

Source: Référentiel socle MSSanté #2 ECO.2.1.5 (faithful narrative); CDA R2 §4.3.5; spec/mssante.md §1.8.
"""

from __future__ import annotations

import base64
import re
from html import unescape
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from connectors.mss import narrative
from connectors.mss.narrative import NotRenderable, page
from fixtures import build
from tests.official import OFFICIAL, official

WORDS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZéèàçùÉÈÀŒœ0123456789 ,.;:!?'’()%+-/=<>&\"µ≥°«»€"
BLOCKS = ("paragraph", "list", "item", "table", "tbody", "thead", "tr", "td", "th", "caption", "content", "sub",
          "sup", "br", "footnote", "linkHtml", "inconnu", "renderMultiMedia")  # fmt: skip
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""One transparent red pixel."""


def n3(sections: str) -> bytes:
    """A level 3 document with these sections."""
    document = build.cda_n3().decode()
    start, end = document.index("<structuredBody>"), document.index("</structuredBody>")
    return (document[:start] + f"<structuredBody>{sections}" + document[end:]).encode()


def section(text: str, title: str = "Titre", more: str = "") -> str:
    return f"<component><section><title>{title}</title><text>{text}</text>{more}</section></component>"


def texts(html: str) -> str:
    """What a reader sees of a page, blanks left out."""
    body = html[html.index("<body>") :]
    return squeezed(unescape(re.sub(r"<[^>]*>", "", body)))


def squeezed(text: str) -> str:
    return "".join(text.split())


def narrative_texts(document: bytes) -> list[str]:
    """Every text node of every section's title and text, in the order of the document."""
    root = etree.fromstring(document)
    found = root.xpath("//*[local-name()='section']/*[local-name()='title' or local-name()='text']//text()")
    return [squeezed(str(t)) for t in found if str(t).strip()]  # type: ignore[union-attr]


def everything_is_there(document: bytes, seen: str, *, in_order: bool = True) -> None:
    """Every text node of the narrative is in `seen`, one after the other."""
    at = 0
    for text in narrative_texts(document):
        found = seen.find(text, at if in_order else 0)
        assert found >= 0, text
        at = found + len(text) if in_order else 0


# --- generated narratives ---------------------------------------------------------------------------------------


def _tree(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda tag, inner: f"<{tag}>{''.join(inner)}</{tag}>",
        st.sampled_from(BLOCKS),
        st.lists(children, max_size=4),
    )


text_nodes = st.text(WORDS, min_size=1, max_size=60).map(escape)
narratives = st.lists(st.recursive(text_nodes, _tree, max_leaves=25), min_size=1, max_size=5).map("".join)


@given(narratives, st.text(WORDS, min_size=1, max_size=40).map(escape))
def test_no_text_is_lost_whatever_the_elements(inside: str, title: str) -> None:
    """Elements in any place, known or not: each text stays. Only captions may come before their table."""
    document = n3(section(inside, title) + section("fin"))
    html = page(document)
    everything_is_there(document, texts(html), in_order="caption" not in inside)


@pytest.mark.official
@pytest.mark.parametrize("name", sorted(p.name for p in (OFFICIAL / "cda").glob("*.xml")) or ["absent"])
def test_official_documents_are_whole(name: str) -> None:
    """Every structured document of the official samples."""
    document = official("cda", name).read_bytes()
    try:
        html = page(document)
    except NotRenderable as e:
        assert b"structuredBody" not in document, e
        return
    everything_is_there(document, texts(html), in_order=False)


# --- what becomes of each thing -----------------------------------------------------------------------------------


def test_the_header_names_document_author_and_patient() -> None:
    """ECO.2.1.5: title, type, date, author, organisation; the patient's identity."""
    html = page(build.cda_n3())
    for value in (
        "<h1>Compte rendu d'examens biologiques</h1>",
        "<dd>CR d'examens biologiques</dd>",
        "<dd>10/01/2026 à 09:30</dd>",
        "Claude MARTIN, Médecin - Biologie médicale (SM), Hôpital fictif de l'Essai",
        "<dd>TEST-DURAND</dd>",
        "<dd>CAMILLE</dd>",
        "<dd>CAMILLE ANDREA</dd>",
        "<dd>03/12/1984</dd>",
        "<dd>masculin</dd>",
        f"<dd>{build.PATIENT.ins}</dd>",
    ):
        assert value in html


def test_tables_lists_and_emphasis_are_kept() -> None:
    inside = (
        '<table border="1" width="100%"><caption>Légende</caption><colgroup><col width="10%"/></colgroup>'
        '<thead><tr><th colspan="2">A</th></tr></thead><tbody><tr><td rowspan="2">b</td><td>c</td></tr></tbody></table>'
        '<list listType="ordered"><item>un</item></list><list><item>deux</item></list>'
        '<paragraph styleCode="Bold">H<sub>2</sub>O<br/>10<sup>9</sup></paragraph>'
        '<content styleCode="Italics xRallonge">i</content><content revised="delete">ancien</content>'
    )
    html = page(n3(section(inside)))
    for part in (
        "<h2>Titre</h2>",
        "<table><caption>Légende</caption>",
        '<th colspan="2">A</th>',
        '<td rowspan="2">b</td>',
        "<ol><li>un</li></ol><ul><li>deux</li></ul>",
        '<p style="font-weight: bold;">H<sub>2</sub>O<br>10<sup>9</sup></p>',
        '<span style="font-style: italic;">i</span>',
        "<del>ancien</del>",
    ):
        assert part in html
    assert "width" not in html[html.index("<body>") :]


def test_sections_inside_sections_have_lower_headings() -> None:
    inner = section("profond", "Dedans", section("plus", "Encore"))
    html = page(n3(section("x", "Dehors", inner)))
    assert [re.sub("<.*?>", "", h) for h in re.findall(r"<h[2-6]>.*?</h[2-6]>", html)] == [
        "Dehors",
        "Dedans",
        "Encore",
    ]
    assert "<h3>Dedans</h3>" in html and "<h4>Encore</h4>" in html


def test_nothing_of_a_document_becomes_markup_or_an_address() -> None:
    """Attributes of the document that a browser would act on are not copied; what looks like markup is text."""
    inside = (
        "&lt;script&gt;alert(1)&lt;/script&gt;"
        '<paragraph onclick="x" style="background:url(http://a)" styleCode="&quot;&gt;&lt;b&gt;">p</paragraph>'
        '<linkHtml href="file:///etc/passwd">l</linkHtml><linkHtml href="https://exemple.fr/a?b&amp;c">m</linkHtml>'
        '<img xmlns="http://www.w3.org/1999/xhtml" src="http://a/x.png"/>'
        '<td colspan="99999999999">c</td><td colspan="2&quot; onclick=&quot;x">d</td>'
    )
    html = page(n3(section(inside)))
    body = html[html.index("<body>") :]
    assert "&lt;script&gt;" in body
    for word in ("<script", "onclick", "url(", "file:", "<img", "src=", "href=", "colspan"):
        assert word not in body
    assert "[https://exemple.fr/a?b&amp;c]" in body


def media(identifier: str, kind: str, content: str) -> str:
    return (
        f'<entry><observationMedia classCode="OBS" moodCode="EVN" ID="{identifier}"><value mediaType="{kind}" '
        f'representation="B64">{content}</value></observationMedia></entry>'
    )


def test_images_are_embedded_and_others_are_named() -> None:
    """renderMultiMedia: observationMedia and, through it, regionOfInterest."""
    encoded = base64.b64encode(PNG).decode()
    inside = '<renderMultiMedia referencedObject="i1 i2 i3 rien"><caption>Cliché</caption></renderMultiMedia>'
    entries = (
        media("i1", "image/png", encoded)
        + media("i2", "image/svg+xml", "x")
        + media("i3", "image/png", "@@@")
    )
    html = page(n3(section(inside, "T", entries)))
    assert f'<img src="data:image/png;base64,{encoded}">' in html
    assert html.count("<img") == 1
    assert "[image/svg+xml : voir le document joint]" in html
    assert "[image/png : voir le document joint]" in html
    assert "Cliché" in html
    region = (
        '<entry><regionOfInterest classCode="ROIOVL" moodCode="EVN" ID="r"><entryRelationship typeCode="SUBJ">'
        + media("z", "image/png", encoded).removeprefix("<entry>").removesuffix("</entry>")
        + "</entryRelationship></regionOfInterest></entry>"
    )
    html = page(n3(section('<renderMultiMedia referencedObject="r"/>v', "T", region)))
    assert html.count("<img") == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<x/>",
        b"<!DOCTYPE x><x/>",
        build.cda_n1(),
        n3(""),
        n3("<component><section><title/><text> </text></section></component>"),
        n3(section("<content>" * 80 + "x" + "</content>" * 80)),
        n3(section("<td>x</td>" * (narrative.MAX_CELLS + 1))),
        n3(section("x" * (narrative.MAX_TEXT + 1))),
    ],
    ids=["nothing", "no-cda", "doctype", "n1", "no-section", "empty", "deep", "cells", "long"],
)
def test_what_cannot_be_a_page_is_told_without_its_content(content: bytes) -> None:
    with pytest.raises(NotRenderable) as fault:
        page(content)
    assert len(str(fault.value)) < 60


def test_too_many_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrative, "MAX_IMAGES", 10)
    inside = '<renderMultiMedia referencedObject="i"/>x'
    with pytest.raises(NotRenderable):
        page(n3(section(inside, "T", media("i", "image/png", base64.b64encode(PNG).decode()))))


def test_a_self_presenting_document_is_read_too() -> None:
    inner = build.cda_n3().partition(b"?>")[2]
    wrapped = b'<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">' + inner
    assert "Sodium" in page(wrapped + b"</xsl:stylesheet>")


@pytest.mark.parametrize(
    ("hl7", "french"),
    [
        ("20260110093000+0100", "10/01/2026 à 09:30"),
        ("202601100930", "10/01/2026 à 09:30"),
        ("20260110", "10/01/2026"),
        ("202601", "01/2026"),
        ("2026", "2026"),
        ("", ""),
    ],
)
def test_times(hl7: str, french: str) -> None:
    assert narrative.french_time(hl7) == french
