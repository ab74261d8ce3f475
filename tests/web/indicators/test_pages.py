"""The indicator pages over HTTP: rights, contents, downloads, empty states. The browser's part: test_browser.py."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from html import unescape
from typing import Any

import httpx
import jsonschema
import pytest

from gateway.web.guard import Role
from indicators import export
from indicators.engine import find
from indicators.world import World
from tests.web.indicators.guards import CSRF, OneCaller
from tests.web.indicators.hospital import A, B, ComputedFigures, hospital, whole_month
from tests.web.indicators.site import site

F, M = "750000001", "2025-02"


class Reader:
    """Somebody with a browser without scripts."""

    def __init__(self, figures: ComputedFigures | None = None, role: Role = Role.ADMINISTRATEUR) -> None:
        self.figures = figures or whole_month()
        self.guard = OneCaller(role)
        transport = httpx.ASGITransport(app=site(self.figures, self.guard))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://gateway")

    async def get(self, path: str = "", **query: Any) -> httpx.Response:
        return await self.client.get(f"/indicateurs{path}", params=query)


def text(answer: httpx.Response) -> str:
    """What is read, without markup, spaces made one."""
    return re.sub(r"[ \n\t]+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.text)))


async def test_the_figures_of_the_month_stand_on_its_page() -> None:
    answer = await Reader().get(etablissement=F, mois=M)
    assert answer.status_code == 200
    said = text(answer)
    assert "Indicateurs de février 2025" in said
    for title in (
        "Information du patient",
        "Alimentation du DMP",
        "MSSanté citoyenne",
        "Tableau de la vague 1",
    ):
        assert title in said
    assert "75,00\u202f% 3 sur 4" in said and "25,00\u202f% 1 sur 4" in said
    # HIS-1 has no rate: a dash and its reason
    assert "Pas de valeur. 0 sur 0 Le dénominateur est zéro" in said
    assert "Provisoire" in said and "11/03/2025 à 00:00" in said
    assert "11488-4 (Compte rendu ou fiche de consultation) : 1 envoi" in said


async def test_no_style_and_no_script_is_in_the_page_itself() -> None:
    reader = Reader(hospital(30))
    for path, query in (
        ("", {}),
        ("", {"vue": "tableau"}),
        ("/definitions", {}),
        ("/revisions", {"mois": M}),
        (
            "/explication",
            {"indicateur": "ALI-1", "periode": "2025-03", "ventilation": "document_type", "type": "ALL"},
        ),
    ):
        answer = await reader.get(path, **query)
        assert answer.status_code == 200, path
        assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?![^>]*\ssrc=)|javascript:", answer.text), (
            path
        )


async def test_without_a_month_the_last_one_and_without_an_establishment_the_first() -> None:
    said = text(await Reader(hospital(30)).get())
    assert "Indicateurs de mars 2025" in said and "Centre hospitalier de l’Essai FINESS 750000001" in said


async def test_a_published_month_says_its_revision() -> None:
    reader = Reader(hospital(30))
    said = text(await reader.get(etablissement=A, mois=M))
    assert "Révision 2 publiée le 11/03/2025 à 00:05, arrêtée au 11/03/2025 à 00:00." in said
    first = text(await reader.get(etablissement=A, mois=M, revision=1))
    assert "Révision 1 publiée le" in first


async def test_what_to_look_at_says_of_when_it_is_where_it_goes_on_after_publication() -> None:
    reader = Reader(hospital(30))
    said = text(await reader.get(etablissement=A, mois=M))
    assert "Situation au 02/04/2025 à 09:30" in said and "les chiffres non" in said
    assert "Situation au" not in text(await reader.get(etablissement=A, mois="2025-03"))


async def test_what_changed_between_revisions_is_said_in_sentences() -> None:
    reader = Reader(hospital(30))
    said = text(await reader.get("/revisions", etablissement=A, mois=M))
    assert "Révision 2" in said and "au lieu de 1, des succès sont arrivés plus tard." in said
    assert "Première publication." in said
    said = text(await reader.get("/revisions", etablissement=A, mois="2025-03"))
    assert "Rien n’est encore publié" in said


async def test_the_table_shows_numbers_of_every_row() -> None:
    said = text(await Reader().get(etablissement=F, mois=M, vue="tableau", lignes="toutes"))
    assert "Lettre de liaison à la sortie février 2025 3 4 75,00\u202f% 3" in said
    assert "Tout montrer" in text(await Reader().get(etablissement=F, mois=M, vue="tableau"))


async def test_establishments_without_adt_have_dashes_and_say_what_to_do() -> None:
    said = text(await Reader(hospital(30)).get(etablissement=B))
    assert (
        "Aucun mouvement (ADT) n’est connu" in said and "Faites envoyer par le DPI ses messages ADT" in said
    )
    assert "Clinique du Lagon" in said


# --- downloads ------------------------------------------------------------------------------------------------------


async def test_csv_and_json_are_the_published_formats() -> None:
    reader = Reader()
    published = await reader.figures.month(F, M)
    assert published is not None
    answer = await reader.get("/telecharger", etablissement=F, mois=M, format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    name = 'attachment; filename="indicateurs-750000001-2025-02-provisoire.csv"'
    assert answer.headers["content-disposition"] == name
    assert answer.text == export.to_csv(published.rows)
    lines = list(csv.DictReader(io.StringIO(answer.text), delimiter=";"))
    letter = next(r for r in lines if r["indicator"] == "ALI-1" and r["document_code"] == "11490-0")
    assert (letter["numerator"], letter["denominator"], letter["rate"]) == ("3", "4", "0.7500")
    answer = await reader.get("/telecharger", etablissement=F, mois=M, format="json")
    assert answer.headers["content-disposition"].endswith('-provisoire.json"')
    body = answer.json()
    jsonschema.validate(body, export.schema())
    assert body["rows"] == [json.loads(json.dumps(asdict(r))) for r in published.rows]
    answer = await Reader(hospital(30)).get("/telecharger", etablissement=A, mois=M)
    assert 'filename="indicateurs-750000001-2025-02-r2.csv"' in answer.headers["content-disposition"]


# --- the list behind a figure ---------------------------------------------------------------------------------------


async def test_every_figure_leads_to_its_list_and_every_look_is_in_the_trace() -> None:
    reader = Reader()
    published = await reader.figures.month(F, M)
    assert published is not None
    page = await reader.get(etablissement=F, mois=M)
    links = {
        h.replace("&amp;", "&") for h in re.findall(r'href="(/indicateurs/explication[^"]+)"', page.text)
    }
    row = find(published.rows, "ALI-1", document_code="ALL")
    (link,) = [h for h in links if "indicateur=ALI-1&" in h and h.endswith("type=ALL")]
    answer = await reader.client.get(link)
    said = text(answer)
    assert "75,00\u202f% 3 sur 4" in said and "3 comptés + 1 au dénominateur seulement = 4" in said
    assert "Séjour C Au dénominateur seulement Envoyé, mais en échec" in said
    assert "@patient.mssante.fr" not in said or "…@patient.mssante.fr" in said
    ((action, subject, details),) = reader.guard.trace
    assert (action, subject) == ("explain", "ALI-1 750000001 2025-02")
    assert details["members"] == 6 and details["row"] == f"{row.period}/document_type/ALL"
    # the inside of the drawer has no page around it
    part = await reader.client.get(link + "&fragment=1")
    assert "<html" not in part.text and "data-explanation" in part.text and len(reader.guard.trace) == 2
    for one in sorted(links):
        assert (await reader.client.get(one)).status_code == 200, one


async def test_the_list_is_filtered_and_downloaded_whole() -> None:
    reader = Reader()
    row = {"indicateur": "ALI-1", "periode": M, "ventilation": "document_type", "type": "ALL"}
    said = text(await reader.get("/explication", etablissement=F, mois=M, **row, filtre="comptes"))
    assert "Séjour A" in said and "Séjour C" not in said and "Séjour E" not in said
    answer = await reader.get("/explication", etablissement=F, mois=M, **row, filtre="comptes", format="csv")
    assert (
        answer.headers["content-disposition"]
        == 'attachment; filename="liste-ALI-1-750000001-2025-02-ALL.csv"'
    )
    lines = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig")), delimiter=";"))
    assert sorted(line["stay"] for line in lines) == ["A", "B", "C", "E", "F", "G"]
    assert [details["format"] for _, _, details in reader.guard.trace] == ["page", "csv"]


async def test_who_may_not_explain_sees_no_link_to_a_list_and_no_list() -> None:
    reader = Reader(role=Role.EXPLOITANT)
    page = await reader.get(etablissement=F, mois=M)
    assert page.status_code == 200 and "explication" not in page.text
    row = {"indicateur": "ALI-1", "periode": M, "ventilation": "document_type", "type": "ALL"}
    assert (await reader.get("/explication", etablissement=F, mois=M, **row)).status_code == 403
    assert reader.guard.trace == []


@pytest.mark.parametrize("row", [{}, {"indicateur": "ALI-1"}, {"indicateur": "X", "periode": "2025"}])
async def test_a_row_that_there_is_not_is_404_and_no_look(row: dict[str, str]) -> None:
    reader = Reader()
    answer = await reader.get("/explication", etablissement=F, mois=M, **row)
    assert answer.status_code == 404 and "Pas de liste" in answer.text
    assert reader.guard.trace == []


# --- nothing to show ------------------------------------------------------------------------------------------------


async def test_without_any_fact_the_page_says_how_to_feed_it() -> None:
    answer = await Reader(ComputedFigures(World(), [])).get()
    said = text(answer)
    assert answer.status_code == 200 and "Aucun chiffre pour l’instant" in said
    for word in ("ADT", "événements du DPI", "historique", "[indicators]"):
        assert word in said


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ({"etablissement": "999999999"}, 404, "Établissement inconnu"),
        ({"etablissement": F, "mois": "2026-01"}, 404, "Le mois de janvier 2026 n’est pas commencé."),
        ({"etablissement": F, "mois": "2025-01"}, 404, "Aucun chiffre n’est calculé pour janvier 2025"),
        ({"etablissement": F, "mois": "02/2025"}, 400, "Un mois s’écrit AAAA-MM"),
        ({"etablissement": F, "mois": M, "revision": 7}, 404, "Il n’y a pas de révision 7 de février 2025."),
    ],
)
async def test_what_there_is_not_is_said_and_ways_out_are_offered(
    query: dict[str, Any], status: int, sentence: str
) -> None:
    reader = Reader()
    for path in ("", "/telecharger", "/revisions"):
        answer = await reader.get(path, **query)
        assert answer.status_code == status, path
        assert sentence in text(answer) and 'href="/indicateurs?etablissement=750000001' in answer.text


async def test_what_is_asked_for_is_escaped() -> None:
    answer = await Reader().get(etablissement="<script>x", mois="<b>")
    assert "<script>x" not in answer.text and "&lt;script&gt;x" in answer.text


# --- computing ------------------------------------------------------------------------------------------------------


async def test_a_computation_under_way_and_one_that_failed_are_said() -> None:
    reader = Reader()
    for state, sentence in (
        ("computing", "Un calcul est en cours"),
        ("failed", "Le dernier calcul a échoué"),
    ):
        reader.figures.now = state  # type: ignore[assignment]
        for path in ("", "/revisions"):
            assert sentence in text(await reader.get(path, etablissement=F, mois=M))
    reader.figures.now = "idle"
    assert "calcul est en cours" not in text(await reader.get(etablissement=F, mois=M))


async def test_an_operator_asks_for_a_new_computation() -> None:
    reader = Reader()
    form = {"csrf": CSRF, "etablissement": F, "mois": M}
    answer = await reader.client.post("/indicateurs/recalculer", data=form)
    assert answer.status_code == 303
    assert answer.headers["location"] == f"/indicateurs?etablissement={F}&mois={M}"
    assert reader.figures.asked == [M]
    assert reader.guard.trace[0][:2] == ("refresh", "indicators 2025-02")
    answer = await reader.client.post("/indicateurs/recalculer", data=form | {"mois": "x"})
    assert answer.status_code == 400 and reader.figures.asked == [M]
    reading = Reader(role=Role.LECTEUR)
    assert "recalculer" not in (await reading.get(etablissement=F, mois=M)).text
    assert (await reading.client.post("/indicateurs/recalculer", data=form)).status_code == 403


async def test_the_definitions_are_those_of_the_catalogue() -> None:
    said = text(await Reader().get("/definitions"))
    assert "séjours d'hospitalisation clôturés avec au moins un document du type versé au DMP" in said
    assert "hospital_classes = I" in said and "cutoff_days = 10" in said
    assert "no_adt_feed" in said and "[S 410-424]" in said


def test_the_clock_of_these_tests_is_in_april_2025() -> None:
    from tests.web.indicators.hospital import NOW

    assert datetime.fromtimestamp(NOW, UTC).isoformat()[:7] == "2025-04"
