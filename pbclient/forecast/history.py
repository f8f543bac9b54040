"""Learn from earlier runs: turns an episode, tokens a call, the accuracy.

Read from the run folders under ./results that put the same questions to a model (mode, hint,
reference and whatever else changes them) over the same samples; of the model's runs under other
conditions only the length of its answers. Folders that are broken, and lines that are none, are passed
over and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pbclient.benchmark.package import OEG
from pbclient.data.folder import Sample
from pbclient.episodes.episode import open_state
from pbclient.scheduler.plan import BASELINE, DEFAULTS, Plan
from runs import Episode, Episodes, NotARun, RunError, RunFolder

RESULTS = Path("results")

# These say who was asked, how often and how many; the rest of a run's `config` says what.
_WHO = frozenset({"provider", "model", "endpoint", "params", "datasets", "limit", "seed", "repeat"})


@dataclass
class Record:
    """What was seen of one data set; tokens are of the calls that said how many they had."""

    turns: Counter[int] = field(default_factory=Counter)
    correct: int = 0
    calls: int = 0
    input: int = 0
    output: int = 0
    reasoning: int = 0
    runs: set[str] = field(default_factory=set)

    @property
    def episodes(self) -> int:
        return self.turns.total()

    @property
    def mean_turns(self) -> float:
        return sum(turns * count for turns, count in self.turns.items()) / self.episodes

    @property
    def mean_input(self) -> float:
        """Tokens a call."""
        return self.input / self.calls

    @property
    def mean_output(self) -> float:
        return self.output / self.calls

    @property
    def accuracy(self) -> float:
        """Probably correct; drawn towards one half, so that a few episodes never promise certainty.

        A. Agresti, B. A. Coull, The American Statistician 52 (1998) 119-126.
        """
        return (self.correct + 2) / (self.episodes + 4)

    def add(self, run: str, episode: Episode) -> None:
        """A resolved episode. Raises `KeyError`, `TypeError` or `ValueError` when it is not one."""
        turns = episode["turns"]
        usages = [turn["usage"] for turn in turns if turn["usage"] is not None]
        counts = [(of["input_tokens"], of["output_tokens"], of.get("reasoning_tokens", 0)) for of in usages]
        if not all(isinstance(count, int) and count >= 0 for each in counts for count in each):
            raise ValueError("no counts of tokens")
        if not turns or not isinstance(episode["correct"], bool):
            raise ValueError("no resolved episode")
        self.runs.add(run)
        self.turns[len(turns)] += 1
        self.correct += episode["correct"]
        self.calls += len(counts)
        self.input += sum(into for into, _, _ in counts)
        self.output += sum(out for _, out, _ in counts)
        self.reasoning += sum(thought for _, _, thought in counts)


@dataclass
class History:
    """Records by data set: `own` of the model to be asked, `others` of all other models.

    `conditions` are of the model under other conditions, which say only how long its answers are.
    `skipped` counts the run folders that could not be read.
    """

    own: dict[str, Record] = field(default_factory=dict)
    others: dict[str, Record] = field(default_factory=dict)
    conditions: dict[str, Record] = field(default_factory=dict)
    skipped: int = 0

    def turns(self, dataset: str) -> Record | None:
        """Where to look for the turns of an episode: the model's own record before the others'."""
        return self.own.get(dataset, self.others.get(dataset))

    def tokens(self, dataset: str) -> Record | None:
        """What calls of this model needed in this data set, if any of them said."""
        record = self.own.get(dataset)
        return record if record and record.calls else None

    def output(self) -> Record | None:
        """What calls of this model had as output in any data set, or under other conditions, if any said."""
        own = (self.own or self.conditions).values()
        calls, output = sum(of.calls for of in own), sum(of.output for of in own)
        return (
            Record(calls=calls, output=output, reasoning=sum(of.reasoning for of in own)) if calls else None
        )


def read_history(plan: Plan, results: Path = RESULTS) -> History:
    """From all run folders in `results`, and from the plan's own when it is being continued."""
    history = History()
    samples = {(sample.dataset, sample.id): sample for of in plan.data.samples.values() for sample in of}
    paths = {path.resolve(): path for path in [plan.out, *(results.iterdir() if results.is_dir() else ())]}
    for path in (paths[resolved] for resolved in sorted(paths) if resolved.is_dir()):
        try:
            folder = RunFolder.read(path)
            was, now = ({**DEFAULTS, **of["config"]} for of in (folder.manifest, plan.manifest))
            names = (was.keys() | now.keys()) - _WHO
            own = all(was.get(name) == now[name] for name in ("provider", "model"))
            if was.get("provider") == BASELINE:
                continue
            if all(was.get(name) == now.get(name) for name in names):
                _read(folder, plan, samples, history.own if own else history.others)
            elif own and all(was.get(name) == now[name] for name in ("mode", "params")):
                _read(folder, plan, None, history.conditions)
        except NotARun:
            continue
        except (RunError, OSError):
            history.skipped += 1
    return history


def _read(
    folder: RunFolder,
    plan: Plan,
    samples: Mapping[tuple[str, str], Sample] | None,
    records: dict[str, Record],
) -> None:
    """Add what a run recorded; with `samples` only of data sets that began with what these show."""
    same_data: dict[str, bool] = {}
    for episode in Episodes(folder.episodes).read():
        if episode["outcome"] != "resolved":
            continue
        name = episode["dataset"]
        if samples is None:
            same_data[name] = True
        elif name not in same_data:
            same_data[name] = _is_of(plan, samples.get((name, episode["sample"])), episode)
        if same_data[name]:
            record = records.get(name, Record())
            with suppress(KeyError, TypeError, ValueError):
                record.add(str(folder.path), episode)
                records[name] = record


def _is_of(plan: Plan, sample: Sample | None, episode: Episode) -> bool:
    """Whether the episode began with what these data show: other data have equal ids too."""
    if sample is None:
        return False
    try:
        environment = plan.rules.environment(sample, plan.row(sample))
        rules, open_ended = plan.rules, plan.config.mode == OEG
        state = open_state(environment, rules) if open_ended else rules.state(environment)
        first = episode["turns"][0]
        return (first["image"], first["prompt"]) == (state["image_path"], state["prompt"])
    except Exception:
        # The package's code on an untrusted row, and a line that somebody may have written by hand.
        return False
