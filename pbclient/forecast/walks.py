"""How long episodes become when the player picks at random: walks through the environments themselves."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from pbclient.benchmark.package import OEG
from pbclient.data.folder import Sample
from pbclient.errors import PbclientError
from pbclient.scheduler.plan import Plan

WALKS = 60  # of each data set
QUANTILE = 0.95


def likely_turns(plan: Plan) -> Mapping[str, int]:
    """By data set the turns that 19 of 20 episodes do not exceed when any option is as likely."""
    by_name: dict[str, list[Sample]] = {name: [] for name in plan.counts}
    for sample in plan.order.samples:
        if len(by_name[sample.dataset]) < WALKS:
            by_name[sample.dataset].append(sample)
    return {name: _quantile([_walk(plan, sample) for sample in of]) for name, of in by_name.items()}


def _walk(plan: Plan, sample: Sample) -> int:
    """The turns of one walk; 1 where there is only one, or where the row makes no environment."""
    if plan.config.mode == OEG:
        return 1
    rules, rng = plan.rules, random.Random(f"{plan.config.seed}/{sample.dataset}/{sample.id}/walk")
    try:
        environment = rules.environment(sample, plan.row(sample))
        while not environment.stop:
            answer = rng.choice(rules.state(environment)["options"])
            rules.evaluate(environment, sample, 0, answer)
        return int(environment.get_statistics()["num_turns"])
    except PbclientError:
        return 1


def _quantile(turns: Sequence[int]) -> int:
    return sorted(turns)[min(len(turns) - 1, int(QUANTILE * len(turns)))] if turns else 1
