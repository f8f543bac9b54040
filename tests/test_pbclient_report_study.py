"""A study's report: what is printed, and files that programs and LaTeX read as they stand."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_run import answer, played, record

from pbclient.benchmark.package import STEMS
from pbclient.cli.app import main
from pbclient.compare.study import StudyCell, StudyFigures, study_figures
from pbclient.report.html.study import write_study
from pbclient.report.latex import escaped, latex
from pbclient.report.study import parts, sheets
from pbclient.report.study_files import report_study, tables, write_study_report
from pbclient.report.terminal import Grid, plain

ODD = r'[50%] of_my\model & {co} $#~^<|>--``é"Åř中ð'


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[StudyCell]:
    folder = tmp_path_factory.mktemp("cells")
    made = []
    asked: dict[str, dict[str, Any]] = {
        "plain": {},
        "hint": {"hint": True},
        "random": {"options": "random"},
        "open": {"mode": "oeg"},
        "open-hint": {"mode": "oeg", "hint": True},
    }
    for number, (model, name) in enumerate((("qwen", "Qwen/Qwen2.5-VL-7B-Instruct"), (ODD, ODD))):
        for condition, options in asked.items():
            lines = []
            for dataset in STEMS:
                for sample in range(6):
                    good = (sample + number) % 3 == 0
                    lines.append(
                        answer(dataset, sample, good, sample % 2)
                        if "open" in condition
                        else played(dataset, sample, "s" * (sample % 3) + ("r" if good else "a"))
                    )
            path = folder / f"{number}-{condition}"
            record(path, lines, **{"model": name, **options})
            made.append(StudyCell(model, condition, path))
    return made


@pytest.fixture(scope="module")
def figures(cells: list[StudyCell]) -> StudyFigures:
    return study_figures(cells)


def test_what_is_printed(figures: StudyFigures) -> None:
    text = plain(parts(figures))
    assert text.startswith(
        "Cells: 10, models: 2. The paper: De Min et al., arXiv 2603.19466 v2, 26 June 2026.\n"
    )
    for title in (
        "Results: zero-shot, filtered (Table 1 of the paper)",
        "Results: open-ended, one turn, filtered (Table 2 of the paper)",
        "Figure 4: actions, zero-shot",
        "Figure 5: actions, random-options",
        "Figure 6: hint against zero-shot",
        "Figure 6: oeg-hint against oeg",
        "Figures 10 and 11: samples and first-turn accuracy by the filter's threshold",
    ):
        assert f"\n\n{title}\n\n" in text
    assert re.search(r"^qwen +33.3 +33.3 .* 33.3$", text, re.MULTILINE)
    assert re.search(r"^  paper +0.0\* +0.0\*? +4.3\*? +40.5 ", text, re.MULTILINE)
    assert text.count(f"\n{ODD} is no name of a model in the paper's tables.") == 1
    assert text.count("The paper has no table for this condition (random-options).") == 1
    assert "By model and data set in the files that --out writes: hint, oeg-hint, random-options." in text


def test_a_mark_is_where_chance_does_not_reach(figures: StudyFigures) -> None:
    (sheet,) = [sheet for sheet in sheets(figures) if sheet.name == "table-zero-shot"]
    rows = {row[0]: row for row in sheet.grids[0].rows[:3]}
    marked = [column for column, cell in zip(figures.tables[0].columns, rows["  paper"][1:], strict=True)
              if cell.endswith("*")]  # fmt: skip
    by_name = figures.tables[0].rows[0].figures["acc"]
    held = {name: cell.paper.p_holm for name, cell in by_name.items() if cell.paper is not None}
    assert marked == [name for name, p in held.items() if p is not None and p < 0.05]
    assert 0 < len(marked) < len(held)


def test_the_files(figures: StudyFigures, tmp_path: Path) -> None:
    out = tmp_path / "a" / "report"
    written = write_study_report(figures, out)
    assert sorted(out.iterdir()) == sorted(written)
    stems = {path.stem for path in written} - {"study"}
    assert stems == {
        *("table-zero-shot", "table-hint", "table-oeg", "table-oeg-hint", "table-random-options"),
        *("figure-4-actions", "figure-5-actions", "figure-6-hint", "figure-6-oeg-hint", "figure-7-actions"),
        "figure-10-filter",
    }
    assert {path.suffix for path in written if path.stem in stems} == {".csv", ".tex"}
    assert json.loads((out / "study.json").read_text()) == figures.to_json()
    before = {path: path.read_bytes() for path in written}
    assert write_study_report(figures, out) == written
    assert {path: path.read_bytes() for path in written} == before


def test_a_csv_has_every_value_of_its_table(figures: StudyFigures, tmp_path: Path) -> None:
    write_study_report(figures, tmp_path)
    for name, lines in tables(figures).items():
        with (tmp_path / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            read = list(csv.DictReader(file))
        assert read == [
            {key: "" if value is None else str(value) for key, value in line.items()} for line in lines
        ]
    lines = tables(figures)["table-zero-shot"]
    assert len(lines) == 3 * 2 * 8  # models and their average, acc and ps, data sets and their average
    odd = next(
        line for line in lines if (line["model"], line["figure"], line["dataset"]) == (ODD, "ps", "IN-C")
    )
    assert (odd["value"], odd["paper"], odd["differs"]) == (1.0, None, None)


def test_the_command_prints_or_writes(
    cells: list[StudyCell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report_study(cells[:2], tmp_path / "report")
    printed = capsys.readouterr().out
    assert f"Written to {tmp_path / 'report'}: study.json" in printed
    report_study(cells[:2], None, as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "report" / "study.json").read_text())


SPECIAL = re.compile(r"(?<!\\)[&%$#_]|[~^<>|\"]|--")
COMMANDS = re.compile(r"\\(text(backslash|asciitilde|asciicircum|less|greater|bar)|char34)\{\}")


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_no_character_of_a_name_commands_anything(text: str) -> None:
    made = escaped(text)
    bare = COMMANDS.sub("", made).replace("-{}-", "").replace("`{}`", "").replace("'{}'", "")
    assert SPECIAL.search(bare) is None
    assert re.search(r"\\(?![&%$#_{}])", bare) is None
    assert re.search(r"(?<!\\)[{}]", bare.replace("{}", "")) is None
    assert "\n" not in made


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.text(max_size=8), min_size=3, max_size=3), min_size=1, max_size=4),
    st.booleans(),
)
def test_every_row_has_a_cell_for_every_column(rows: list[list[str]], total: bool) -> None:
    made = latex("A title", "tab:a b", [Grid(["a", "b", "c"], rows, (1,), total=total)])
    body = made.partition("\\toprule\n")[2].partition("\\bottomrule")[0]
    lines = [line for line in body.splitlines() if line != "\\midrule"]
    assert len(lines) == len(rows) + 1
    for line in lines:
        assert line.endswith(" \\\\")
        assert len(re.findall(r"(?<!\\)&", line)) == 2
        assert not line.startswith(("[", "*"))
    assert "\\begin{tabular}{lrr}" in made
    assert "\\label{tab:a-b}" in made


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a LaTeX")
def test_latex_sets_the_files_as_they_stand(figures: StudyFigures, tmp_path: Path) -> None:
    names = [path.name for path in write_study_report(figures, tmp_path) if path.suffix == ".tex"]
    inputs = "\n".join(f"\\input{{{name}}}\\clearpage" for name in names)
    document = "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n%s\n\\end{document}"
    (tmp_path / "all.tex").write_text(document % inputs)
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert "Overfull" not in log
    assert "Missing character" not in log


def test_the_page_of_a_study_shows_every_sheet_and_marks_the_papers_values(figures, tmp_path):
    size = write_study(figures, "Mine", tmp_path / "study.html")
    page = (tmp_path / "study.html").read_text(encoding="utf-8")
    assert size == len(page.encode())
    for sheet in sheets(figures):
        assert f'id="{sheet.name}"' in page
    assert page.count("<svg") >= len(sheets(figures))
    assert "the paper" in page
    assert "&amp; {co}" in page  # what a user calls a model is shown, not obeyed
    write_study(figures, "Mine", tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (tmp_path / "study.html").read_bytes()


def test_the_command_reports_all_runs_below_a_folder(cells, tmp_path):
    folder = cells[0].folder.parent
    made = ["--out", str(tmp_path / "out"), "--html", str(tmp_path / "study.html")]
    result = CliRunner().invoke(main, ["study", "report", str(folder), *made])
    assert result.exit_code == 0, result.output
    assert "Cells: 10, models: 2." in result.stdout
    assert (tmp_path / "study.html").stat().st_size > 10_000
    assert json.loads((tmp_path / "out" / "study.json").read_text())["schema"] == 1
    nothing = CliRunner().invoke(main, ["study", "report", str(tmp_path / "out")])
    assert nothing.exit_code == 2
    assert "There is no run folder" in nothing.stderr
