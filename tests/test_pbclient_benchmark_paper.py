"""The published figures agree with themselves."""

from __future__ import annotations

import pytest

from pbclient.benchmark.package import STEMS, kept_ids
from pbclient.benchmark.paper import table

MODELS = table()["models"]


def test_fourteen_models_on_seven_data_sets() -> None:
    assert len(MODELS) == 14
    assert all(list(found["datasets"]) == list(STEMS) for found in MODELS.values())
    assert MODELS["InternVL3-1B"]["datasets"]["ROD"] == {"acc": 61.4, "ps": 2.1}
    assert MODELS["Phi-4-Multimodal"]["average"] == {"acc": 42.4, "ps": 0.3}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("figure", ["acc", "ps"])
def test_each_average_is_that_of_its_row(model: str, figure: str) -> None:
    values = [found[figure] for found in MODELS[model]["datasets"].values()]
    assert MODELS[model]["average"][figure] == pytest.approx(sum(values) / len(values), abs=0.051)


@pytest.mark.parametrize("model", MODELS)
def test_the_shares_are_whole_samples_from_before_the_filter(model: str) -> None:
    shares = {name: MODELS[model]["datasets"][name]["acc"] for name in ("ROD", "VSOD")}
    assert shares["ROD"] in {round(100 * right / 88, 1) for right in range(89)}
    assert shares["VSOD"] in {round(100 * right / 63, 1) for right in range(64)}


def test_the_filter_keeps_fewer_samples_of_vsod() -> None:
    kept = len(kept_ids("VSOD"))
    assert kept == 42
    assert MODELS["LLaVA-1.5-7B"]["datasets"]["VSOD"]["acc"] not in {
        round(100 * right / kept, 1) for right in range(kept + 1)
    }


def test_it_says_where_it_is_from() -> None:
    assert "arXiv 2603.19466, first version, Table 1" in table()["source"]
    assert "nothing is paired with them" in table()["note"]
