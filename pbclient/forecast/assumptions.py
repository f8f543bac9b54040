"""The sentences under an estimate: what was learned, what is assumed, what was found on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pbclient.benchmark.open_ended import MANY
from pbclient.benchmark.package import MCQA
from pbclient.forecast.costs import ASSUMED_ACCURACY, ASSUMED_TURNS, ASSUMED_VERDICT, Forecaster, Range
from pbclient.forecast.longest import BYTES_A_TOKEN, KEPT_ANSWER, LONGEST_TOKEN, longest_answer
from pbclient.forecast.replay import Replayed
from pbclient.models.model import Model
from pbclient.money.amounts import dollars, format_dollars
from pbclient.money.prices import MILLION, Price
from pbclient.scheduler.plan import Plan


@dataclass
class Notes:
    """What going through the episodes showed besides money; `turns` is the most of any episode."""

    spent: int = 0
    finished: int = 0
    turns: int = 0
    hits: int = 0
    complete: int = 0
    missing: int = 0
    failed: int = 0
    failure: str = ""

    def note(self, replayed: Replayed) -> None:
        """An episode that was looked up in the cache."""
        self.hits += replayed.hits
        self.complete += replayed.complete
        self.missing += replayed.key is not None
        if replayed.failure is not None:
            self.failed += 1
            self.failure = self.failure or replayed.failure


def assumptions(plan: Plan, forecaster: Forecaster | None, notes: Notes, cost: Range) -> Iterator[str]:
    """A sentence each; `cost` is of all that is asked, in picodollars."""
    if forecaster is None:
        yield "Price: none; a baseline makes no call."
    else:
        yield f"Price: {_priced(forecaster.model.price)}."
        yield from _bounds(plan, forecaster, notes)
        if not forecaster.model.price.is_free and plan.config.mode == MCQA:
            yield _likely(forecaster, cost)
        if plan.config.mode == MCQA or plan.rules.turns == MANY:
            yield _turns(plan, forecaster)
        if not forecaster.model.price.is_free:
            yield _tokens(plan, forecaster)
        yield from _found(plan, forecaster, notes)
    own = forecaster.history.own if forecaster else {}
    correct = [f"{name} {100 * own[name].accuracy:.0f} %" for name in plan.counts if name in own]
    if correct:
        correct[-1] += " as this model's earlier runs lead to expect"
    unknown = [name for name in plan.counts if name not in own]
    if unknown:
        correct.append(
            f"{100 * ASSUMED_ACCURACY:.0f} % assumed for {', '.join(unknown)}: no interval is wider"
        )
    yield f"Correct: {', '.join(correct)}."
    yield (
        "+- acc: half of the 95 % interval of the accuracy; difference: the least one that 80 % of "
        "comparisons of two models with so many samples each find significant at 5 % (two proportions, "
        "normal approximation; pairs of samples find less). Both are in points."
    )


def _likely(forecaster: Forecaster, cost: Range) -> str:
    turns = ", ".join(f"{name} {count}" for name, count in forecaster.likely_turns.items())
    return (
        f"Likely at worst: {format_dollars(round(cost.likely))}, where each episode is as long as 19 of 20 "
        f"of a player who picks any option ({turns} turns), and calls cost what is expected. Most is "
        f"{cost.most / max(cost.likely, 1):,.0f} times that: all are asked for as long as they can be, at "
        "their holds."
    )


def _priced(price: Price) -> str:
    if price.is_free:
        return "free"
    tiers = []
    for rates in price.tiers:
        above = f" above {rates.above:,} input tokens" if rates.above else ""
        tiers.append(f"${rates.input / MILLION:g} in and ${rates.output / MILLION:g} out{above}")
    extras = (("an image", price.image), ("a call", price.request))
    fees = [f"besides ${dollars(fee):g} {name}" for name, fee in extras if fee]
    return f"per million tokens {', '.join([*tiers, *fees])} ({price.source})"


def _bounds(plan: Plan, forecaster: Forecaster, notes: Notes) -> Iterator[str]:
    model = forecaster.model
    turns = f" (up to {notes.turns} turns)" if notes.turns > 1 else ""
    yield (
        f"Most: each episode takes its longest way{turns} and each call costs its full hold (text by its "
        f"bytes, images by the provider's rule, {model.output_limit:,} output tokens). Retries are not "
        "foreseen."
    )
    if not model.price.is_free:
        least = "a token in and a token out at the lowest rates"
        if not forecaster.floor:
            least = "nothing, since this server may state the cost of a call itself"
        yield f"Least: each episode is over after its first turn, for {least}."
    if plan.rules.history:
        yield f"History: an answer that is kept has {KEPT_ANSWER} tokens, but {_read_again(model, model)}."
    if plan.judge is not None:
        yield (
            f"Judge: {plan.judge.title}, {_priced(plan.judge.price)}; one call an answer, at most two, of "
            f"{ASSUMED_VERDICT} tokens out; it reads the answer, and {_read_again(model, plan.judge)}."
        )


def _read_again(model: Model, reader: Model) -> str:
    """Why an answer that comes back as input, to the model or to a judge, makes the most so high."""
    context = f", up to the context of {reader.context:,}" if reader.context else ""
    return (
        f"the most counts {longest_answer(model):,} for it ({LONGEST_TOKEN} for each output token it may "
        f"have{context}), which is what makes it so high: --max-tokens lowers it"
    )


def _turns(plan: Plan, forecaster: Forecaster) -> str:
    history, parts = forecaster.history, []
    own = {name: history.own[name] for name in plan.counts if name in history.own}
    others = {name: history.others[name] for name in plan.counts if name in history.others.keys() - own}
    for records, whose in ((own, "this model"), (others, "other models")):
        if records:
            means = ", ".join(f"{name} {record.mean_turns:.2f}" for name, record in records.items())
            episodes = sum(record.episodes for record in records.values())
            runs = len(set[str]().union(*(record.runs for record in records.values())))
            parts.append(
                f"{means}, learned from {episodes} episodes of {runs} earlier run{'' if runs == 1 else 's'} "
                f"in ./results with {whose}"
            )
    unknown = [name for name in plan.counts if history.turns(name) is None]
    if unknown:
        parts.append(
            f"{ASSUMED_TURNS} assumed for {', '.join(unknown)}, since ./results holds no run that asked the "
            "same of these data"
        )
    return f"Turns an episode: {'; '.join(parts)}."


def _tokens(plan: Plan, forecaster: Forecaster) -> str:
    known = {name: record for name in plan.counts if (record := forecaster.history.tokens(name))}
    parts = []
    if known:
        means = ", ".join(
            f"{name} {of.mean_input:.0f} in {of.mean_output:.0f} out" for name, of in known.items()
        )
        parts.append(f"{means}, learned from this model's usage in ./results")
    unknown = [name for name in plan.counts if name not in known]
    if unknown:
        out, thinks = forecaster.output(unknown[0])
        parts.append(
            f"assumed for {', '.join(unknown)}: a token in for {BYTES_A_TOKEN} bytes of text, images by the "
            f"provider's rule, {out} out{' (it thinks)' if thinks else ''}"
        )
    return f"Tokens a call: {'; '.join(parts)}."


def _found(plan: Plan, forecaster: Forecaster, notes: Notes) -> Iterator[str]:
    if notes.hits:
        yield (
            f"Cache: {notes.hits:,} calls are answered there and cost nothing; they complete "
            f"{notes.complete:,} of {len(plan.order):,} episodes."
        )
    if notes.finished or notes.spent:
        yield (
            f"Continued: {plan.out} has {notes.finished:,} finished episodes, and "
            f"{format_dollars(notes.spent)} of the limit are spent or held."
        )
    if plan.config.offline and notes.missing:
        yield f"--offline asks nobody: {notes.missing:,} episodes will stay unresolved."
    if notes.failed:
        yield f"{notes.failed:,} episodes will fail without a call; the first: {notes.failure}"
    if forecaster.history.skipped:
        yield f"Run folders in ./results that cannot be read: {forecaster.history.skipped}, passed over."
