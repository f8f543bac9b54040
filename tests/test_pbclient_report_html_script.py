"""The report's script: linted as the one script that it becomes, and nothing in it ends its element."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pbclient.report.html import page

RULES = {
    "env": {"browser": True, "es2024": True},
    "categories": {"correctness": "error", "suspicious": "error", "perf": "error"},
    "rules": {
        "no-undef": "error",
        "eqeqeq": "error",
        "no-eval": "error",
        "no-var": "error",
        "no-control-regex": "off",  # those are what is looked for
        "unicorn/consistent-function-scoping": "off",
    },
}
FOLDER = Path(page.__file__).parent


def test_every_file_of_the_script_is_put_together():
    assert sorted(page.SCRIPTS) == sorted(path.name for path in (FOLDER / "script").glob("*.js"))


def test_the_script_is_free_of_what_a_linter_finds(tmp_path):
    linter = shutil.which("oxlint", path=str(Path(sys.executable).parent))
    if linter is None:
        pytest.skip("no linter here: install the package `oxlint`")
    script = tmp_path / "report.js"
    script.write_text(page.script_source(), encoding="utf-8")
    (tmp_path / ".oxlintrc.json").write_text(json.dumps(RULES), encoding="utf-8")
    done = subprocess.run([linter, "."], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_texts_enter_the_page_as_text_alone():
    script, style = page.script_source(), page.source("style.css")
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function", script) == []
    )
    assert not re.search(r"</script|<!--", script, re.IGNORECASE)
    assert "</style" not in style
    assert "url(" not in style
    template = page.source("page.html.j2")
    assert re.findall(r"\sstyle=|\son\w+=|\|safe", template) == []
