"""Whatever is read back is checked once, where it is read, and refused by file, line and field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_type_hints

import pytest

from runs import Episodes, RunBroken, RunFolder
from runs.schema import Call, Config, EpisodeLine, Judge, Manifest, Settings, Turn, Usage, complaint

PAGE = (Path(__file__).parent.parent / "docs" / "run-folder.md").read_text(encoding="utf-8")
LINE = {"dataset": "ROD", "sample": "1", "repeat": 0, "outcome": "resolved", "turns": []}


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ({"turns": ["answer"]}, "turns[0]: expected"),
        ({"turns": "\ud800"}, "half a surrogate pair"),
        ({"turns": [{"key": 3}]}, "turns[0].key: expected `str | null`, got `int`"),
        ({"turns": [{}, {"saved": "much"}]}, "turns[1].saved"),
        ({"turns": [{"cost": 10**400}]}, "turns[0].cost"),
        ({"turns": [{"usage": {"input_tokens": -1}}]}, "turns[0].usage.input_tokens"),
        ({"turns": [{"options": "A"}]}, "turns[0].options"),
        ({"correct": 1}, "correct"),
        ({"suggestions": True}, "suggestions"),
        ({"suggestions": -2}, "suggestions"),
        ({"repeat": -1}, "repeat"),
        ({"verdict": "yes"}, "verdict"),
        ({"verdict": {"turns": [7]}}, "verdict.turns[0]"),
        ({"valid": "ab"}, "valid"),
        ({"error": ["x"]}, "error"),
    ],
)
def test_a_damaged_line_is_refused_by_number_and_field(tmp_path, damage, named):
    file = tmp_path / "episodes.jsonl"
    file.write_text(json.dumps(LINE) + "\n" + json.dumps({**LINE, "sample": "2", **damage}) + "\n")
    with pytest.raises(RunBroken, match=re.escape(f"Line 2 of {file} is damaged ({named}")) as caught:
        list(Episodes(file).read())
    assert "\n" not in str(caught.value)
    with pytest.raises(RunBroken):
        Episodes(file).keep()
    assert len(file.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ({"config": {"filter": True}}, "config.filter"),
        ({"config": {"filter": []}}, "config.filter"),
        ({"config": {"judge": "openai"}}, "config.judge"),
        ({"config": {"judge": {"provider": "openai"}}}, "config.judge"),
        (
            {"config": {"judge": {"provider": "o", "model": "m", "params": {}, "endpoint": 1}}},
            "config.judge.endpoint",
        ),
        ({"settings": None}, "settings"),
        ({"settings": {"max_cost": "much"}}, "settings.max_cost"),
        ({"planned": {"QD": "all"}}, "planned"),
        ({"planned": [6]}, "planned"),
        ({"holds_raised": "junk"}, "holds_raised"),
        ({"holds_raised": ["1", -1]}, "holds_raised"),
        ({"holds_raised": ["much", 0]}, "holds_raised"),
        ({"holds_raised": ["1/0", 0]}, "holds_raised"),
        ({"dropped": ["temperature"]}, "dropped"),
        ({"versions": {"python": 3}}, "versions"),
    ],
)
def test_a_damaged_manifest_is_refused_by_field(tmp_path, damage, named):
    manifest = {"schema": 1, "id": "x", "config": {}, "settings": {}, **damage}
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    with pytest.raises(RunBroken, match=rf"run\.json is damaged \({re.escape(named)}"):
        RunFolder.read(tmp_path)


def test_what_a_later_version_may_add_passes():
    assert complaint({**LINE, "mood": 3, "turns": [{"gaze": []}]}, EpisodeLine) is None
    later = {"id": "x", "config": {"new": 1}, "settings": {"mood": 1}, "place": {}}
    assert complaint(later, Manifest) is None


@pytest.mark.parametrize("form", [Manifest, EpisodeLine, Call, Turn, Usage, Settings, Config, Judge])
def test_every_field_is_in_the_docs(form):
    missing = [name for name in get_type_hints(form) if f"`{name}`" not in PAGE]
    assert missing == []
