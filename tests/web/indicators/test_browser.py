"""The indicator pages in a real browser, over a real gateway: by mouse, by keyboard, without scripts, on paper.

And every page of the gateway: axe-core finds nothing, nothing is refused by the policy, nothing scrolls sideways.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Page, expect

from gateway.app import Gateway
from gateway.journal import facts as store
from gateway.rights import Role
from gateway.web.indicator_pages import words
from gateway.web.indicator_pages.addresses import shifted
from indicators import facts
from tests.access.people import CHEAP, PASSWORD, add, trace
from tests.browser import Served, chromium, served, too_wide, violations, visit
from tests.exchange.harness import Running, settings, submit
from tests.exchange.scripted import Scripted
from tests.hl7.messages import put
from tests.web.indicators.hospital import NAMES, A, hospital_facts

pytestmark = pytest.mark.slow
READER, OPERATOR = "dim", "informatique"
NOW = datetime.now(ZoneInfo("Europe/Paris")).strftime("%Y-%m")
"""The month that it is: not over, so provisional. Those before are past their cut-off, or will not be for some days."""
BEFORE, LONG_BEFORE = shifted(NOW, -2), shifted(NOW, -3)
MONTH = f"/indicateurs?etablissement={A}&mois={NOW}"
ROW = f"etablissement={A}&mois={NOW}&indicateur=ALI-1&periode={NOW}&ventilation=document_type&type=ALL"
PAGES = {
    "connexion": "/connexion",
    "indicateurs": MONTH,
    "sans-adt": f"/indicateurs?etablissement=974000002&mois={NOW}",
    "tableau": MONTH + "&vue=tableau",
    "explication": f"/indicateurs/explication?{ROW}",
    "revisions": f"/indicateurs/revisions?etablissement={A}&mois={BEFORE}",
    "definitions": "/indicateurs/definitions",
    "absent": "/indicateurs?etablissement=999999999",
    "échanges": "/",
    "erreurs": "/erreurs",
    "boites": "/boites",
    "tolerances": "/tolerances",
    "valider": "/valider",
    "comptes": "/comptes",
    "compte": "/compte",
    "jetons": "/jetons",
    "trace": "/trace",
}


@dataclass
class Place:
    """A running gateway, a browser, and the cookies of who signed in."""

    base: str
    browser: Browser
    running: Served[Running]
    cookies: dict[str, Any]

    def signed_in(self, who: str = READER, **options: Any) -> Any:
        """A visit of somebody who signed in."""
        return visit(self.browser, base_url=self.base, storage_state=self.cookies[who], **options)


@asynccontextmanager
async def gateway(directory: Path) -> AsyncIterator[Running]:
    scripted = {name: Scripted(name) for name in ("dmp", "mss", "dpi")}
    web = {"enabled": True, "port": 0, "open_pages": False, "accounts": CHEAP}
    one = Gateway(settings(web=web, indicators={"names": NAMES}), directory, scripted)
    await one.start()
    try:
        r = Running(one, scripted)
        await fed(one)
        await add(r, READER, Role.LECTEUR)
        await add(r, OPERATOR, Role.ADMINISTRATEUR)
        # something to show on the other pages: an exchange with a tolerance, and one that is refused
        await r.send(put(submit("M1", 1), "MSH^1^21", "2.1^ CISIS_CDA_HL7_V2"))
        await r.send(put(submit("M2", 2), "PID^1^8", ""))
        await r.settled("M1", 60)
        yield r
    finally:
        await one.stop()


async def fed(one: Gateway) -> None:
    """Facts come in, all months are computed, one of them again when a late fact makes a revision of it."""
    assert one.figures is not None
    told = hospital_facts(24, NOW)
    # a letter that was known late: its month is published without it first
    late = [f for f in told if f["fact"] == "delivery" and f["at"][:7] == BEFORE and f["finess"] == A][:1]
    await write(one, [f for f in told if f not in late])
    await computed(one)
    await write(one, late)
    await computed(one)
    revisions = await one.figures.revisions(A, BEFORE)
    assert [p.revision for p in revisions] == [2, 1] and revisions[0].changes


async def write(one: Gateway, told: list[dict[str, Any]]) -> None:
    rows = [store.row(facts.read(json.dumps(fact)), "import") for fact in told]
    await one.journal.write(lambda session: store.add_many(session, rows))


async def computed(one: Gateway) -> None:
    figures = one.figures
    assert figures is not None
    for n in range(15):
        await figures.current(shifted(NOW, -n), within=60)
    assert len(await figures.months(A)) == 15


def sign_in(page: Page, who: str) -> None:
    page.get_by_label("Identifiant").fill(who)
    page.get_by_label("Mot de passe").fill(PASSWORD)
    page.get_by_role("button", name="Se connecter").click()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("pages")
    with chromium() as browser, served(lambda: gateway(directory)) as running:
        base = f"http://127.0.0.1:{running.value.gateway.web_port}"
        cookies = {}
        for who in (READER, OPERATOR):
            with visit(browser, base_url=base) as one:
                one.page.goto("/connexion")
                sign_in(one.page, who)
                one.page.wait_for_url(lambda url: "/connexion" not in url)
                cookies[who] = one.page.context.storage_state()
        yield Place(base, browser, running, cookies)


def heading(month: str) -> str:
    return f"Indicateurs {words.of(words.month(month))}"


def title(page: Page) -> Any:
    return page.get_by_role("heading", level=1)


def test_a_reader_signs_in_and_sees_the_last_month(place: Place) -> None:
    with visit(place.browser, base_url=place.base) as one:
        one.page.goto("/indicateurs")
        expect(title(one.page)).to_have_text("Connexion")
        sign_in(one.page, READER)
        expect(title(one.page)).to_have_text(heading(NOW))
        assert (
            one.page.get_by_role("link", name="Indicateurs", exact=True).get_attribute("aria-current")
            == "page"
        )
        assert one.complaints == []


def test_another_month_is_shown_where_it_is_chosen_and_back_goes_back(place: Place) -> None:
    with place.signed_in() as one:
        page = one.page
        page.goto(MONTH)
        page.get_by_label("Mois", exact=True).select_option(BEFORE)
        expect(title(page)).to_have_text(heading(BEFORE))
        assert f"mois={BEFORE}" in page.url
        # who works by keyboard stays where they were, and hears what happened
        expect(page.locator("#mois")).to_be_focused()
        expect(page.locator("[data-live]")).to_contain_text(heading(BEFORE))
        page.get_by_role("link", name=words.month(LONG_BEFORE)).first.click()
        expect(title(page)).to_have_text(heading(LONG_BEFORE))
        page.go_back()
        expect(title(page)).to_have_text(heading(BEFORE))
        page.go_back()
        expect(title(page)).to_have_text(heading(NOW))
        page.get_by_label("Établissement").select_option("974000002")
        expect(page.locator(".eyebrow")).to_contain_text("Clinique du Lagon")
        assert one.complaints == []


def test_the_chart_has_a_value_for_every_month_and_says_it_to_who_cannot_see(place: Place) -> None:
    with place.signed_in(viewport={"width": 1000, "height": 800}) as one:
        page = one.page
        page.goto(MONTH)
        chart = page.locator("svg.chart:visible")
        expect(chart).to_have_count(1)
        points = chart.get_by_role("link")
        expect(points).to_have_count(13)
        # the months of the text table are those of the chart, with the same values
        page.get_by_text("Les mêmes valeurs en tableau").click()
        rows = page.locator("section[aria-labelledby=evolution] tbody tr")
        for n in range(13):
            month, value = rows.nth(n).locator("th, td").all_inner_texts()[:2]
            name = points.nth(n).get_attribute("aria-label") or ""
            assert name.startswith(f"{month} : ")
            absent = value.startswith("—")
            assert ("pas de valeur" in name) is absent and (absent or value in name)
        assert "pas de valeur" in (
            chart.locator(f"a[href*='mois={shifted(NOW, -9)}']").get_attribute("aria-label") or ""
        )
        assert chart.locator("polyline").count() == 2, "the line is broken where nothing is known"
        page.locator("#courbe").select_option("ALI-2")
        expect(page.locator("svg.chart:visible rect.column")).to_have_count(13)
        expect(page.locator("#courbe")).to_be_focused()
        assert page.locator("figcaption").inner_text() == "Nombre de documents transmis au DMP – réussi"
        # on a narrow screen a value is read by going to its month
        page.set_viewport_size({"width": 360, "height": 800})
        first = page.locator("svg.chart:visible").get_by_role("link").first
        expect(first.locator(".value")).to_be_hidden()
        first.focus()
        expect(first.locator(".value")).to_be_visible()
        assert one.complaints == []


FOCUS = "document.activeElement.closest('#tiroir') !== null"


def test_the_list_opens_by_keyboard_keeps_the_focus_and_gives_it_back(place: Place) -> None:
    with place.signed_in(viewport={"width": 1280, "height": 800}) as one:
        page = one.page
        page.goto(MONTH)
        opener = page.get_by_role("link", name="Expliquer ALI-1,")
        opener.focus()
        page.keyboard.press("Enter")
        drawer = page.get_by_role("dialog")
        expect(drawer).to_be_visible()
        expect(drawer.locator("#explication-titre")).to_be_focused()
        assert "au dénominateur seulement =" in drawer.locator(".sum").inner_text()
        assert page.url.endswith(f"mois={NOW}"), "the page is still that of the month"
        stops = set()
        for _ in range(drawer.locator("a:visible, button:visible, summary:visible").count() + 3):
            page.keyboard.press("Tab")
            assert page.evaluate(FOCUS)
            stops.add(page.evaluate("document.activeElement.outerHTML"))
        assert any("Fermer" in s for s in stops) and any("filtre=hors" in s for s in stops)
        page.keyboard.press("Shift+Tab")
        assert page.evaluate(FOCUS)
        drawer.get_by_role("link", name="Au dénominateur seulement").focus()
        page.keyboard.press("Enter")
        expect(drawer.locator(".filters [aria-current]")).to_contain_text("Au dénominateur seulement")
        assert violations(page) == []
        page.keyboard.press("Escape")
        expect(drawer).to_be_hidden()
        expect(opener).to_be_focused()
        looks = [row for row in place.running.do(trace(place.running.value)) if row["action"] == "explain"]
        assert len(looks) == 2 and "ALI-1" in str(looks[-1])
        assert one.complaints == []


def test_files_are_downloaded_under_their_names(place: Place) -> None:
    with place.signed_in() as one:
        page = one.page
        page.goto(MONTH)
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Télécharger (CSV)").click()
        assert waiting.value.suggested_filename == f"indicateurs-{A}-{NOW}-provisoire.csv"
        lines = list(csv.DictReader(io.StringIO(waiting.value.path().read_text("utf-8")), delimiter=";"))
        figure = (
            page.locator("article", has=page.get_by_role("heading", name="ALI-1 "))
            .locator(".fraction")
            .inner_text()
        )
        row = next(r for r in lines if r["indicator"] == "ALI-1" and r["document_code"] == "ALL")
        assert figure == f"{row['numerator']} sur {row['denominator']}"
        page.goto(PAGES["explication"])
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Télécharger la liste entière (CSV)").click()
        assert waiting.value.suggested_filename == f"liste-ALI-1-{A}-{NOW}-ALL.csv"
        lines = list(csv.DictReader(io.StringIO(waiting.value.path().read_text("utf-8-sig")), delimiter=";"))
        assert sum(int(line["numerateur"]) for line in lines) == int(row["numerator"])
        assert sum(int(line["denominateur"]) for line in lines) == int(row["denominator"])


SEEN = """() => {
  const e = document.activeElement, s = getComputedStyle(e);
  const hit = e.querySelector('.hit');
  const marked = s.outlineStyle !== 'none' || (hit && getComputedStyle(hit).strokeWidth !== '0px');
  return [e.id || e.getAttribute('aria-label') || e.textContent.trim(), marked];
}"""


def test_the_page_is_walked_through_without_a_mouse(place: Place) -> None:
    with place.signed_in(OPERATOR, viewport={"width": 1280, "height": 800}) as one:
        page = one.page
        page.goto(MONTH)
        walked: list[str] = []
        for _ in range(400):
            page.keyboard.press("Tab")
            name, marked = page.evaluate(SEEN)
            if page.evaluate("document.activeElement === document.body"):
                break
            assert marked, f"nothing shows that {name} has the focus"
            walked.append(name)
        order = [
            "Aller au contenu",
            "Indicateurs",
            "Se déconnecter",
            "Tableau",
            "etablissement",
            "mois",
            "Télécharger (CSV)",
            "Par nature de séjour : INF-1",
            "Tentatives d’envoi, à faire défiler",
            "courbe",
            "Les mêmes valeurs en tableau",
            "Recalculer ce mois",
        ]
        places = [walked.index(name) for name in order]
        assert places == sorted(places), walked
        months = [f"{words.month(shifted(NOW, -n))} : " for n in range(13)]
        assert all(any(name.startswith(m) for name in walked) for m in months), (
            "each month of the chart is a stop"
        )
        page.goto(MONTH)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        assert one.complaints == []


def test_everything_is_there_without_scripts(place: Place) -> None:
    with place.signed_in(java_script_enabled=False) as one:
        page = one.page
        page.goto(MONTH)
        page.get_by_label("Mois", exact=True).select_option(BEFORE)
        page.get_by_role("button", name="Afficher").click()
        expect(title(page)).to_have_text(heading(BEFORE))
        expect(page.locator(".status")).to_contain_text("Révision 2")
        page.locator("#courbe").select_option("ALI-2")
        page.get_by_role("button", name="Tracer").click()
        expect(page.locator("svg.chart:visible rect.column").first).to_be_visible()
        expect(title(page)).to_have_text(heading(BEFORE))
        page.get_by_role("link", name="Expliquer ALI-1,").click()
        expect(title(page)).to_contain_text("ALI-1")
        page.get_by_role("link", name="Comptés", exact=False).first.click()
        expect(page.locator(".filters [aria-current]")).to_contain_text("Comptés")
        page.get_by_role("link", name=heading(BEFORE)).click()
        expect(title(page)).to_have_text(heading(BEFORE))
        assert one.complaints == []


def test_an_operator_has_a_month_computed_again(place: Place) -> None:
    with place.signed_in(OPERATOR) as one:
        page = one.page
        page.goto(MONTH)
        page.get_by_role("button", name="Recalculer ce mois").click()
        expect(title(page)).to_have_text(heading(NOW))
        assert "refresh" in [row["action"] for row in place.running.do(trace(place.running.value))]
        assert one.complaints == []


def test_what_a_late_fact_changed_is_said(place: Place) -> None:
    with place.signed_in() as one:
        page = one.page
        page.goto(PAGES["revisions"])
        expect(page.get_by_role("heading", name="Révision 2")).to_be_visible()
        assert page.locator("details li").count() >= 1
        page.get_by_role("link", name="Voir ses chiffres (révision 1)").click()
        expect(page.locator(".status")).to_contain_text("Révision 1")
        assert one.complaints == []


def test_paper_has_figures_and_bars_and_no_navigation(place: Place) -> None:
    with place.signed_in(OPERATOR, color_scheme="dark") as one:
        page = one.page
        page.goto(MONTH)
        page.emulate_media(media="print")
        for hidden in ("nav", "form", ".links", ".skip"):
            assert page.locator(hidden).locator("visible=true").count() == 0, hidden
        assert page.locator(".bar .fill").first.is_visible()
        assert page.locator("svg.chart.wide").is_visible()
        body = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert body == "rgb(255, 255, 255)", "ink is for the figures"
        # a real printing: what is folded on the screen is there on paper
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert page.get_by_text("Compte rendu opératoire").first.is_visible()
        paper = page.pdf(format="A4")
        assert paper.startswith(b"%PDF")


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_for_everybody(place: Place, name: str) -> None:
    """axe-core, widths, console; light and dark, narrow and wide."""
    options: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce"}
    who = place.signed_in(OPERATOR, **options)
    if name == "connexion":
        who = visit(place.browser, base_url=place.base, **options)
    with who as one:
        page = one.page
        answer = page.goto(PAGES[name])
        assert answer is not None and answer.status in (200, 404)
        assert page.locator("html").get_attribute("lang") == "fr"
        # colours do not depend on the width: two ways see both schemes and both widths
        for width, scheme in ((1280, "light"), (360, "dark")):
            page.set_viewport_size({"width": width, "height": 800})
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            assert violations(page) == [], (width, scheme)
        for width in (360, 768, 1920):
            page.set_viewport_size({"width": width, "height": 800})
            assert too_wide(page) == 0, width
        said = [c for c in one.complaints if answer.status == 200 or "404" not in c]
        assert said == []
