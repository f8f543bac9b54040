"""The sentences under an estimate: what was learned, what was assumed, what was found on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pbclient.benchmark.package import MCQA
from pbclient.forecast.costs import ASSUMED_SHARE, ASSUMED_TURNS, ASSUMED_VERDICT, Forecaster
from pbclient.forecast.history import History, Record
from pbclient.forecast.longest import BYTES_A_TOKEN, KEPT_ANSWER, LONGEST_TOKEN
from pbclient.forecast.replay import Replayed
from pbclient.money.amounts import dollars
from pbclient.money.prices import MILLION, Price
from pbclient.scheduler.plan import Plan


@dataclass
class Notes:
    """What going through the episodes showed besides money."""

    spent: int = 0
    finished: int = 0
    hits: int = 0
    complete: int = 0
    missing: int = 0
    failed: int = 0
    failure: str = ""

    def note(self, rehearsed: Replayed) -> None:
        """An episode that was looked up in the cache."""
        self.hits += rehearsed.hits
        self.complete += rehearsed.complete
        self.missing += rehearsed.key is not None
        if rehearsed.failure is not None:
            self.failed += 1
            self.failure = self.failure or rehearsed.failure


def assumptions(plan: Plan, forecaster: Forecaster | None, seen: Notes) -> Iterator[str]:
    """A sentence each."""
    if forecaster is None:
        yield "Price: none; a baseline makes no call."
    else:
        yield f"Price: {priced(forecaster.price)}."
        yield from _bounds(forecaster)
        yield from _read_again(plan)
        if plan.config.mode == MCQA:
            yield from _turns(forecaster.learned, list(plan.counts))
        yield from _tokens(forecaster, list(plan.counts))
        yield from _found(plan, seen)
    yield from _statistics(forecaster, list(plan.counts))
    if forecaster is not None and forecaster.learned.skipped:
        yield f"Run folders in ./results that cannot be read: {forecaster.learned.skipped}, passed over."


def priced(price: Price) -> str:
    """A price in words."""
    if price.is_free:
        return "free"
    tiers = []
    for rates in price.tiers:
        above = f" above {rates.above:,} input tokens" if rates.above else ""
        tiers.append(f"${rates.input / MILLION:g} in and ${rates.output / MILLION:g} out{above}")
    each = (("an image", price.image), ("a call", price.request))
    fees = [f"besides ${dollars(fee):g} {name}" for name, fee in each if fee]
    return f"per million tokens {', '.join([*tiers, *fees])} ({price.source})"


def _bounds(forecaster: Forecaster) -> Iterator[str]:
    yield (
        "Most: each episode takes its longest way and each call costs its full hold (text by its bytes, "
        f"images by the provider's rule, {forecaster.limit:,} output tokens). Retries are not foreseen."
    )
    least = (
        "nothing, since this server may state the cost of a call itself"
        if not forecaster.floor
        else "a token in and a token out at the lowest rates"
    )
    if not forecaster.price.is_free:
        yield f"Least: each episode is over after its first turn, for {least}."


def _read_again(plan: Plan) -> Iterator[str]:
    """Answers that come back as input, to the model or to a judge."""
    bound = (
        f"counts {LONGEST_TOKEN} tokens for each output token that it may have, as long as the context holds "
        "them: --max-tokens lowers the most"
    )
    if plan.rules.history:
        yield f"History: an answer that is kept has {KEPT_ANSWER} tokens; at most it {bound}."
    if plan.judge is not None:
        yield (
            f"Judge: {plan.judge.title}, {priced(plan.judge.price)}; one call an answer with "
            f"{ASSUMED_VERDICT} tokens out, and at most two. At most the answer that it reads {bound}."
        )


def _turns(learned: History, names: Sequence[str]) -> Iterator[str]:
    own = {name: learned.own[name] for name in names if name in learned.own}
    others = {
        name: learned.others[name] for name in names if name in learned.others and name not in learned.own
    }
    if own:
        yield f"Turns an episode: {_means(own)}, learned from {_source(own)} with this model."
    if others:
        yield f"Turns an episode: {_means(others)}, learned from {_source(others)} with other models."
    unknown = [name for name in names if name not in own and name not in others]
    if unknown:
        yield (
            f"Turns an episode: {ASSUMED_TURNS} assumed for {', '.join(unknown)}; ./results holds no run "
            "that asked the same of these data."
        )


def _means(records: Mapping[str, Record]) -> str:
    return ", ".join(
        f"{name} {sum(turns * count for turns, count in record.turns.items()) / record.episodes:.2f}"
        for name, record in records.items()
    )


def _source(records: Mapping[str, Record]) -> str:
    runs = set[str]().union(*(record.runs for record in records.values()))
    episodes = sum(record.episodes for record in records.values())
    return f"{episodes} episodes of {len(runs)} earlier run{'' if len(runs) == 1 else 's'} in ./results"


def _tokens(forecaster: Forecaster, names: Sequence[str]) -> Iterator[str]:
    if forecaster.price.is_free:
        return
    known = {name: tokens for name in names if (tokens := forecaster.learned.tokens(name))}
    if known:
        each = ", ".join(f"{name} {of.input:.0f} in {of.output:.0f} out" for name, of in known.items())
        yield f"Tokens a call: {each}, learned from this model's usage in ./results."
    unknown = [name for name in names if name not in known]
    if not unknown:
        return
    pooled = forecaster.learned.output()
    out = (
        f"{pooled.output:.0f} out as in this model's other answers"
        if pooled
        else f"{forecaster.assumed_output} out"
    )
    yield (
        f"Tokens a call: assumed for {', '.join(unknown)}: a token in for {BYTES_A_TOKEN} bytes of text, "
        f"images by the provider's rule, {out}{'' if pooled or not forecaster.thinks else ' (it thinks)'}."
    )


def _found(plan: Plan, seen: Notes) -> Iterator[str]:
    if seen.hits:
        yield (
            f"Cache: {seen.hits:,} calls are answered there and cost nothing; they complete "
            f"{seen.complete:,} of {len(plan.order):,} episodes."
        )
    if seen.finished or seen.spent:
        yield (
            f"Continued: {plan.out} has {seen.finished:,} finished episodes, and ${dollars(seen.spent):.4f} "
            "of the limit are spent or held."
        )
    if plan.config.offline and seen.missing:
        yield f"--offline asks nobody: {seen.missing:,} episodes will stay unresolved."
    if seen.failed:
        yield f"{seen.failed:,} episodes will fail without a call; the first: {seen.failure}"


def _statistics(forecaster: Forecaster | None, names: Sequence[str]) -> Iterator[str]:
    own = forecaster.learned.own if forecaster else {}
    known = [f"{name} {100 * own[name].share():.0f} %" for name in names if name in own]
    unknown = [name for name in names if name not in own]
    if known:
        yield f"Correct: {', '.join(known)}, as this model's earlier runs lead to expect."
    if unknown:
        yield f"Correct: {100 * ASSUMED_SHARE:.0f} % assumed for {', '.join(unknown)}: no interval is wider."
    yield "+- acc: half of the 95 % interval of the accuracy, in points."
    yield (
        "difference: the least one, in points, that 80 % of comparisons of two models with so many samples "
        "each find significant at 5 % (two proportions, normal approximation); pairs of samples find less."
    )
