"""Processor time of a run whose answers are all in the cache, and of scoring it again.

    python benchmarks/warm.py [--episodes 7557] [--repeats 3] [--json]

All data sets in their published proportions, three turns an episode, images of about 40 KB. The cache
is filled once, in another process; then whole processes are measured as a person starts them, the
median of several. A small run of the same kind tells what starting alone takes, so that the time a
hit takes is the slope between the two. `environments` is the benchmark's own code, playing the same
episodes: no run of ours can be below it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from material import TURNS, alone, asking, draw, median_seconds, play, rows

type Command = tuple[str, ...]

PBCLIENT = (sys.executable, "-m", "pbclient")
FEW = 1  # episodes a data set, for what starting takes
_ENVIRONMENTS = """
import json, pathlib, sys
from pbclient.benchmark.package import DATA_SETS, environment_class
for each in DATA_SETS:
    make = environment_class(each.acronym)
    for line in (pathlib.Path(sys.argv[1]) / each.file_name).open():
        environment = make(json.loads(line), "")
        while not environment.stop:
            environment.get_state()
            environment.evaluate_generated_answer("A")
"""


def measure(folder: Path, episodes: int, repeats: int) -> dict[str, float]:
    """Draw, fill, and time: seconds of processor time, and microseconds a hit."""
    data, answers = folder / "data", folder / "answers"
    alone(draw, data, episodes)
    config = asking(data=data, cache_dir=answers, out=folder / "filled")
    hits = alone(play, config)
    run: Command = (*PBCLIENT, "run", "--provider", "openai", "--model", "glance")
    run += ("--base-url", str(config.base_url), "--price", "1,2", "--max-cost", "none")
    run += ("--data", str(data), "--cache-dir", str(answers))
    warm = median_seconds((*run, "--out", str(folder / f"warm-{each}")) for each in range(repeats))
    few = [(*run, "--limit", str(FEW), "--out", str(folder / f"few-{each}")) for each in range(repeats)]
    started = median_seconds(few)
    few_hits = TURNS * len((folder / "few-0" / "episodes.jsonl").read_bytes().splitlines())
    environments = (sys.executable, "-c", _ENVIRONMENTS, str(data))
    floor = median_seconds([environments] * repeats) - median_seconds(
        [(sys.executable, "-c", "import json, pathlib")] * repeats
    )
    return {
        "hits": hits,
        "run_s": warm,
        "start_s": started,
        "us_a_hit": round(1e6 * (warm - started) / max(hits - few_hits, 1), 1),
        "environments_us_a_hit": round(1e6 * floor / hits, 1),
        "score_s": median_seconds([(*PBCLIENT, "score", str(folder / "warm-0"))] * repeats),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--episodes", type=int, default=7557)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), options.episodes, options.repeats)
    print(json.dumps(figures) if options.json else rows("warm", figures))


if __name__ == "__main__":
    main()
