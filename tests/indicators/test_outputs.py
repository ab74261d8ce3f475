"""Catalogue, exports, explanation and the command."""

from __future__ import annotations

import csv
import gc
import io
import json
import os
import sys
import threading
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.errors import BadInput, ConfigurationFault, EnvironmentFault
from indicators import export, facts, periods
from indicators.catalogue import default, load
from indicators.engine import Result, compute, find, rounded
from indicators.explain import explain
from indicators.files import FileFaults, read_file
from indicators.lines import BATCH, CONTRADICTION
from indicators.rules import RULES
from indicators.sheet import Cell
from indicators.why import Why
from indicators.world import World
from tests.indicators.scenario import FINESS, Case, cases

WHOLE = next(c for c in cases() if c.name == "fevrier-2025")


def world_of(case: Case) -> World:
    return World().add_all(facts.read(json.dumps(f)) for f in case.facts())


@pytest.fixture
def month() -> Result:
    return compute(world_of(WHOLE), "2025-02")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "facts.jsonl"
    path.write_text("".join(json.dumps(f) + "\n" for f in WHOLE.facts()) + "\n", encoding="utf-8")
    return path


# --- catalogue ------------------------------------------------------------------------------------------------------


def test_every_rule_is_in_the_catalogue_and_the_other_way_round() -> None:
    catalogue = default()
    assert list(catalogue.indicators) == list(RULES)
    for indicator in catalogue.indicators.values():
        assert indicator.title and indicator.numerator and indicator.source
    assert len(catalogue.matrix) == 108
    for type_ in catalogue.types:
        assert type_.source and type_.title


def test_every_zone_of_the_catalogue_is_known_here() -> None:
    for name in default().time_zones.values():
        assert periods.zone(name)
    assert periods.zone_of("974000001", default().time_zones) == "Indian/Reunion"
    assert periods.zone_of("2A0000001", default().time_zones) == "Europe/Paris"


def test_wrong_options_are_all_named() -> None:
    with pytest.raises(ConfigurationFault) as e:
        load(
            overrides={
                "nothing": 1,
                "cutoff_days": -1,
                "deleted_documents": "burn",
                "hospital_classes": ["Z"],
            }
        )
    for name in ("nothing", "cutoff_days", "deleted_documents", "hospital_classes"):
        assert name in str(e.value)


def test_a_catalogue_that_is_not_one(tmp_path: Path) -> None:
    for text in ("- x", "a: [", "version: 1"):
        path = tmp_path / "catalogue.yaml"
        path.write_text(text)
        with pytest.raises(ConfigurationFault):
            load(path)


def test_a_type_may_become_active_from_a_month_on(tmp_path: Path) -> None:
    text = Path("indicators/catalogue.yaml").read_text(encoding="utf-8")
    path = tmp_path / "catalogue.yaml"
    before = "{code: 34112-3, system: LOINC, active: false"
    assert before in text
    path.write_text(text.replace(before, before[:-5] + "true, from: 2025-03"), encoding="utf-8")
    changed = load(path)
    assert "34112-3" not in changed.rows("2025-02") and "34112-3" in changed.rows("2025-03")


def test_every_reason_has_its_sentence() -> None:
    for why in Why:
        assert why.sentence.endswith(".")


@pytest.mark.parametrize("label", ["2025-13", "2025-2", "2025", "x", ""])
def test_a_month_that_is_none(label: str) -> None:
    with pytest.raises(BadInput):
        compute(World(), label)


# --- rows -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numerator", "denominator", "rate"),
    [
        (1, 3, 0.3333),
        (2, 3, 0.6667),
        (1, 8, 0.125),
        (1, 32, 0.0313),
        (1, 160000, 0.0),
        (1, 20000, 0.0001),
        (3, 3, 1.0),
    ],
)
def test_rates_are_rounded_half_up(numerator: int, denominator: int, rate: float) -> None:
    assert rounded(numerator, denominator) == rate


def test_a_row_tells_its_cutoff_and_what_was_known() -> None:
    told = World(datetime.fromisoformat("2025-03-10T00:00:00+01:00"))
    told.add_all(facts.read(json.dumps(f)) for f in WHOLE.facts())
    row = find(compute(told, "2025-02", revision=3).rows, "ALI-1", document_code="ALL")
    assert (row.cutoff, row.as_of) == ("2025-03-11T00:00:00+01:00", "2025-03-10T00:00:00+01:00")
    assert (row.revision, row.rule_version, row.document_system) == (3, default().rule_version, None)
    assert find(compute(told, "2025-02").rows, "ALI-1", document_code="11490-0").document_system == (
        "2.16.840.1.113883.6.1"
    )


def test_an_establishment_that_no_fact_names_has_its_rows_with_the_reason() -> None:
    rows = compute(world_of(WHOLE), "2025-02", finess="990000001").rows
    assert find(rows, "ALI-1", document_code="ALL").reason == "no_adt_feed"
    assert find(rows, "ALI-2", document_code="ALL").numerator == 0


def test_what_a_hospital_should_look_at() -> None:
    lines = [
        *WHOLE.facts(),
        {**WHOLE.facts()[0], "fact_id": "x", "stay": {"value": "Z"}, "event": "A03"},
    ]
    world = World().add_all(facts.read(json.dumps(f)) for f in lines)
    (quality,) = compute(world, "2025-02").quality
    assert quality.unknown_types == {"11488-4": 1} and quality.adt_feed
    assert quality.closed_without_admission == 1


# --- exports --------------------------------------------------------------------------------------------------------


def test_csv_has_the_published_columns_and_nulls_are_empty(month: Result) -> None:
    text = export.to_csv(month.rows)
    assert text.splitlines()[0] == (
        "finess;period;indicator;breakdown_type;document_code;document_system;profession;channel;stay_kind;result;"
        "numerator;denominator;rate;documents;as_of;cutoff;revision;rule_version;reason;details"
    )
    rows = list(csv.DictReader(io.StringIO(text), delimiter=";"))
    assert len(rows) == len(month.rows)
    (row,) = [r for r in rows if r["indicator"] == "ALI-1" and r["document_code"] == "11490-0"]
    assert (row["numerator"], row["denominator"], row["rate"], row["reason"]) == ("3", "4", "0.7500", "")
    (row,) = [r for r in rows if r["indicator"] == "HIS-1"]
    assert (row["denominator"], row["rate"], row["reason"]) == ("0", "", "zero_denominator")


def test_a_code_that_a_spreadsheet_would_run_is_text(month: Result) -> None:
    row = replace(month.rows[0], profession="=cmd()")
    assert "'=cmd()" in export.to_csv([row])


def test_json_holds_the_same(month: Result) -> None:
    told = json.loads(export.to_json(month))
    assert told["month"] == "2025-02" and len(told["rows"]) == len(month.rows)
    assert set(told["rows"][0]) == set(export.COLUMNS)


# --- explanation ----------------------------------------------------------------------------------------------------


def test_why_each_stay_counts_or_not() -> None:
    told = explain(world_of(WHOLE), "2025-02", FINESS, Cell("ALI-1", "2025-02", "document_type", "11490-0"))
    why = {m.subject["stay"]: (m.numerator, m.denominator, m.why) for m in told.members}
    assert why == {
        "A": (True, True, "counts"),
        "B": (True, True, "counts"),
        "C": (False, True, "failed"),
        "G": (True, True, "counts"),
        "E": (False, False, "cancelled"),
        "F": (False, False, "other_class"),
    }
    assert told.members[0].evidence[0]["set_id"] == "LA"


def test_what_was_taken_back_is_said() -> None:
    told = explain(world_of(WHOLE), "2025-02", FINESS, Cell("MSP-1", "2025-02", "document_type", "11490-0"))
    (b,) = [m for m in told.members if m.subject["stay"] == "B"]
    assert b.why == "taken_back" and b.evidence[0]["outcome"] == "taken_back"


def test_no_list_shows_the_address_of_a_patient() -> None:
    """It is the national identifier; facts of others may hold it."""
    ins = "279035121518989"
    told = [
        f if "recipient" not in f else f | {"recipient": f"{ins}@patient.mssante.fr"} for f in WHOLE.facts()
    ]
    world = World().add_all(facts.read(json.dumps(f)) for f in told)
    cells = [r.cell for r in compute(world, "2025-02").rows if r.numerator]
    shown = [str(explain(world, "2025-02", FINESS, cell)) for cell in cells]
    assert any("@patient.mssante.fr" in text for text in shown)
    assert not any(ins in text for text in shown)


def test_users_that_do_not_count_are_told() -> None:
    told = explain(
        world_of(WHOLE), "2025-02", FINESS, Cell("CON-2", "2025-02", "profession", profession="infirmier")
    )
    assert [m.why for m in told.members] == ["context_call"]


def test_a_document_of_another_month_is_told() -> None:
    case = next(c for c in cases() if c.name == "mois-de-la-premiere-reussite")
    told = explain(world_of(case), "2025-03", FINESS, Cell("ALI-2", "2025-03", "document_type", "11490-0"))
    assert [(m.subject["set_id"], m.why) for m in told.members] == [("D1", "other_month")]


def test_a_row_that_is_not_there() -> None:
    for cell in (Cell("XXX", "2025-02"), Cell("ALI-1", "2025-02", "document_type", "nothing")):
        with pytest.raises(LookupError):
            explain(World(), "2025-02", FINESS, cell)


# --- the command ----------------------------------------------------------------------------------------------------


def command(*arguments: str) -> int:
    try:
        return main(["indicators", *arguments])
    finally:
        # the command is the last thing that its process does; here more comes
        gc.unfreeze()


def test_compute_prints_a_table_in_french(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compute", "--facts", str(file), "--month", "2025-02") == 0
    out = capsys.readouterr().out
    assert (
        "3 / 4  75,00 %" in out
        and "Lettre de liaison à la sortie" in out
        and "Le dénominateur est zéro" in out
    )


def test_compute_prints_csv_and_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compute", "--facts", str(file), "--month", "2025-02", "--format", "csv") == 0
    assert capsys.readouterr().out == export.to_csv(compute(world_of(WHOLE), "2025-02").rows)
    arguments = ("--as-of", "2025-02-03T00:00:00+01:00", "--finess", FINESS, "--format", "json")
    assert command("compute", "--facts", str(file), "--month", "2025-02", *arguments) == 0
    told = json.loads(capsys.readouterr().out)
    (row,) = [r for r in told["rows"] if r["indicator"] == "ALI-1" and r["document_code"] == "ALL"]
    assert (row["numerator"], row["denominator"]) == (0, 1)


def test_explain_prints_the_list(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    which = ("--finess", FINESS, "--indicator", "ALI-1", "--document-code", "11490-0")
    assert command("explain", "--facts", str(file), "--month", "2025-02", *which) == 0
    out = capsys.readouterr().out
    assert "3 / 4" in out and "Séjour annulé." in out and "seuls les succès comptent" in out
    assert command("explain", "--facts", str(file), "--month", "2025-02", *which, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out)["row"]["numerator"] == 3
    assert command("explain", "--facts", str(file), "--month", "2025-02", *which[:-1], "nothing") == 1


def test_a_file_with_faults_gives_no_figure_and_all_faults(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    other = {**first, "finess": "750000009"}
    with file.open("a", encoding="utf-8") as f:
        f.write('{"fact": "SECRET"}\n' + json.dumps(first) + "\n" + json.dumps(other) + "\nnot json\n")
    assert command("compute", "--facts", str(file), "--month", "2025-02") == 1
    said = capsys.readouterr()
    assert said.out == "" and "SECRET" not in said.err
    assert [line.split(" : ")[1] for line in said.err.splitlines()] == [
        "nature de fait inconnue",
        "la ligne n'est pas un objet JSON",
        "« fact_id » déjà donné, avec un autre contenu",
    ]


def test_the_process_that_checks_the_lines_is_lost(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is computed from the lines that came before."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(EnvironmentFault):
        read_file(file)
    monkeypatch.setattr(sys, "executable", "/bin/echo")  # not our wire
    with pytest.raises(EnvironmentFault):
        read_file(file)


@pytest.mark.parametrize("twice", [False, True])
def test_what_a_pipe_gives_is_a_file_too(file: Path, tmp_path: Path, twice: bool) -> None:
    """`zcat … | segur-gateway indicators compute --facts /dev/stdin`: a pipe is not to be read a second time."""
    content = file.read_bytes()
    if twice:
        first = json.loads(content.splitlines()[0])
        content += json.dumps({**first, "finess": "750000009"}).encode() + b"\n"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    try:
        if twice:
            with pytest.raises(FileFaults, match="1 faulty"):
                read_file(pipe)
        else:
            assert read_file(pipe).facts == read_file(file).facts
    finally:
        writer.join()


def test_modules_of_the_directory_of_who_calls_are_none_of_ours(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts_ = read_file(file).facts
    (tmp_path / "hashlib.py").write_text("raise SystemExit(1)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert read_file(file).facts == facts_


@pytest.mark.parametrize(("option", "most"), [("cutoff_days", 3_650), ("history_years", 150)])
def test_an_option_beyond_all_dates_is_a_fault_and_the_most_is_computed(
    month: Result, option: str, most: int
) -> None:
    with pytest.raises(ConfigurationFault):
        load(overrides={option: most + 1})
    catalogue = load(overrides={option: most})
    assert len(compute(world_of(WHOLE), "2025-02", catalogue=catalogue).rows) == len(month.rows)


def test_a_mark_of_utf_8_before_the_first_line_is_none_of_its_content(file: Path) -> None:
    facts_ = read_file(file).facts
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_file(file).facts == facts_


def test_a_big_file_comes_in_several_batches(file: Path, tmp_path: Path) -> None:
    line = json.loads(file.read_text(encoding="utf-8").splitlines()[0])
    told = [{**line, "fact_id": f"f-{n}"} for n in range(2 * BATCH + 1)]
    path = tmp_path / "big.jsonl"
    path.write_text("".join(json.dumps(fact) + "\n" for fact in told), encoding="utf-8")
    assert read_file(path).facts == len(told)
    with path.open("a", encoding="utf-8") as f:
        f.write(json.dumps({**told[0], "finess": "750000009"}) + "\n")
    with pytest.raises(FileFaults) as e:
        read_file(path)
    assert e.value.faults == [f"ligne {len(told) + 1} : {CONTRADICTION}"] and e.value.count == 1


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("compute", "--facts", str(tmp_path / "none"), "--month", "2025-02") == 2
    assert command("compute", "--facts", str(tmp_path), "--month", "2025-02") == 2
    assert "none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "fault"),
    [("10/03/2025", "no instant"), ("2025-03-10T00:00:00", "an offset is needed")],
)
def test_an_instant_that_is_none(
    file: Path, capsys: pytest.CaptureFixture[str], told: str, fault: str
) -> None:
    with pytest.raises(SystemExit) as e:
        command("compute", "--facts", str(file), "--month", "2025-02", "--as-of", told)
    assert e.value.code == 2 and fault in capsys.readouterr().err
