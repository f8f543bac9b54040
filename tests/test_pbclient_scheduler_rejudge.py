"""Judging recorded answers again: what is repaired, what is never lost, and what it may cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner
from loopback_faults import Ask, Fault, LoopbackServer
from test_pbclient_open_ended import config, in_turn, lines_of

from cache import Store
from pbclient import RunConfig, evaluate
from pbclient.calls.key import request_json, response_json
from pbclient.cli.app import main
from pbclient.cli.live import ending
from pbclient.config import JudgeConfig
from pbclient.episodes.judge import Judged
from pbclient.errors import InputError
from pbclient.models.choice import DIRECT, judge_named
from pbclient.models.model import resolve
from pbclient.money.prices import describe as described
from pbclient.money.prices import price_of, stated_in
from pbclient.report.summary import as_judged_by, table
from pbclient.report.terminal import plain
from pbclient.scheduler.rejudge import Rejudged, Verdicts, own_judge, rejudge
from pbclient.scheduler.workers import Interrupts
from pbclient.scores.rescore import rescore_run
from providers import Message, Request, Response
from runs import Balance, Ledger, RunBusy, RunFolder

ASKS, RAMBLES = "1", "Who can say?"


def reopened(path: Path) -> RunFolder:
    """The run that is there, open for writing."""
    return RunFolder.start(path, RunFolder.read(path).manifest)


def judgement(said: str, ask: Ask) -> str:
    """A figure for each accepted answer: `said` for the first, zeros for the others."""
    accepted = ask.text.partition("### Correct Answers (List):\n")[2].splitlines()[0]
    return said + ",0" * accepted.count("', '") if said != RAMBLES else said


class Server(LoopbackServer):
    """The model, and judges of any name that say what `said` holds, or fail as `fails` says."""

    def __init__(self, said: str = ASKS, fails: str | None = None) -> None:
        super().__init__(self._policy, faults=self._fault, keep_asks=True)
        self.said, self.fails = said, fails

    def _policy(self, ask: Ask) -> str:
        return judgement(self.said, ask) if ask.model != "glance" else in_turn(ask)

    def _fault(self, ask: Ask, attempt: int) -> Fault | None:
        return Fault(self.fails) if self.fails and ask.model != "glance" else None  # type: ignore[arg-type]

    def asked(self, model: str) -> int:
        return sum(each.model == model for each in self.served)


def with_server(work: Callable[[Server], Awaitable[None]], **options) -> None:
    async def run() -> None:
        async with Server(**options) as server:
            await work(server)

    asyncio.run(run())


def asking(folder: Path, data: Path, server: Server, **options) -> RunConfig:
    return config(folder, data, server, **{"datasets": ("ROD",), "wire": DIRECT, **options})


def judging(folder: Path, server: Server | None = None, name: str = "judge", **options) -> JudgeConfig:
    """The run's own judge, or with a server one that is named."""
    named = {"provider": "openai", "model": name, "base_url": server.url, "price": "3,4"} if server else {}
    return judge_config(**{**named, "cache_dir": folder / "answers", **options})


def judge_config(**options) -> JudgeConfig:
    judge = {"provider", "model", "base_url", "price", "max_tokens", "grammar"}
    return JudgeConfig(**{f"judge_{name}" if name in judge else name: options[name] for name in options})


def bytes_of(folder: Path) -> bytes:
    return (folder / "run" / "episodes.jsonl").read_bytes()


def booked(folder: Path) -> float:
    lines = lines_of(folder).values()
    return sum(call["cost"] for each in lines for call in [*each["turns"], *each["verdict"]["turns"]])


def test_each_repair_makes_new_draws_and_forgets_none(samples, tmp_path):
    async def work(server: Server) -> None:
        first = await evaluate(asking(tmp_path, samples, server))
        assert first.outcomes == {"judge_failed": 6}
        questions = server.asked("judge") // 2
        for draws in (4, 6):
            again = await rejudge(tmp_path / "run", judging(tmp_path, only_failed=True))
            assert (again.planned, again.outcomes.get("resolved", 0), again.exit_code) == (6, 0, 4)
            assert server.asked("judge") == draws * questions
        server.said = ASKS
        mended = await rejudge(tmp_path / "run", judging(tmp_path, only_failed=True))
        assert (mended.outcomes.get("resolved", 0), mended.exit_code) == (6, 0)
        assert server.asked("judge") == 7 * questions
        assert mended.summary["average"]["official"]["ps"] == 0
        assert mended.summary["average"]["ps"] == 100

    with_server(work, said=RAMBLES)
    for line in lines_of(tmp_path).values():
        assert len({call["key"] for call in line["verdict"]["turns"]}) == 7
    settled = Balance.read(tmp_path / "run" / "ledger.jsonl").settled
    assert booked(tmp_path) == pytest.approx(settled / 1e12)
    summary = (tmp_path / "run" / "summary.json").read_bytes()
    rescore_run(tmp_path / "run")
    assert (tmp_path / "run" / "summary.json").read_bytes() == summary


def test_what_is_shown_is_of_the_judge_that_was_asked(samples, tmp_path):
    async def work(server: Server) -> None:
        own = await evaluate(asking(tmp_path, samples, server))
        assert as_judged_by(own.summary, "") == own.summary
        server.said = ASKS
        other = await rejudge(tmp_path / "run", judging(tmp_path, server, "other"))
        shown = as_judged_by(other.summary, other.beside)
        assert (other.summary["average"]["ps"], shown["average"]["ps"]) == (0, 100)
        assert shown["datasets"]["ROD"]["n"] == 6
        assert "100.0" in plain([table(shown)])
        again = await rejudge(tmp_path / "run", judging(tmp_path))
        assert again.beside == ""

    with_server(work, said="0")


def test_an_attempt_that_was_cut_short_is_finished_first(samples, tmp_path):
    async def work(server: Server) -> None:
        fails = {"count": 0}

        def second_draw(ask: Ask, attempt: int) -> Fault | None:
            if ask.model == "glance" or attempt < 2:
                return None
            fails["count"] += 1
            return Fault("bad_request")

        server.faults = second_draw
        await evaluate(asking(tmp_path, samples, server))
        assert all(len(line["verdict"]["turns"]) == 1 for line in lines_of(tmp_path).values())
        server.faults = lambda ask, attempt: None
        await rejudge(tmp_path / "run", judging(tmp_path, only_failed=True))
        # As an uninterrupted run: two draws and no verdict.
        assert {len(line["verdict"]["turns"]) for line in lines_of(tmp_path).values()} == {2}

    with_server(work, said=RAMBLES)


@pytest.mark.parametrize("only_failed", [False, True])
@pytest.mark.parametrize("how", ["hits", "rejected", "wrong key", "offline", "no money"])
def test_what_is_judged_is_never_lost(samples, tmp_path, how, only_failed):
    async def work(server: Server) -> None:
        await evaluate(asking(tmp_path, samples, server))
        before, calls = bytes_of(tmp_path), server.calls
        summary = (tmp_path / "run" / "summary.json").read_bytes()
        server.fails = {"rejected": "bad_request", "wrong key": "authentication"}.get(how)
        cold = {} if how == "hits" else {"cache_dir": tmp_path / "cold"}
        options = {"offline": how == "offline", **({"max_cost": 0} if how == "no money" else {}), **cold}
        again = await rejudge(tmp_path / "run", judging(tmp_path, only_failed=only_failed, **options))
        code = {"wrong key": 2, "no money": 3, "hits": 0}.get(how, 4)
        assert again.exit_code == (0 if only_failed else code)
        assert again.planned == (0 if only_failed else 6)
        assert bytes_of(tmp_path) == before
        assert how != "hits" or server.calls == calls
        if how != "no money":
            assert (tmp_path / "run" / "summary.json").read_bytes() == summary

    with_server(work)


def test_a_judge_that_never_answered_is_none_of_the_runs(samples, tmp_path):
    async def work(server: Server) -> None:
        await evaluate(asking(tmp_path, samples, server, judge="none"))
        before = bytes_of(tmp_path)
        wrong = await rejudge(tmp_path / "run", judging(tmp_path, server, "jugde"))
        assert (wrong.outcomes.get("resolved", 0), wrong.exit_code) == (0, 2)
        assert "401" in wrong.unusable
        assert server.asked("jugde") == 1
        assert bytes_of(tmp_path) == before
        server.fails = None
        right = await rejudge(tmp_path / "run", judging(tmp_path, server))
        assert right.exit_code == 0
        assert right.summary["average"]["ps"] == 100
        assert not (tmp_path / "run" / "judges").exists()
        server.fails = "authentication"
        other = await rejudge(tmp_path / "run", judging(tmp_path, server, "other"))
        assert (other.exit_code, "judges" in other.summary) == (2, False)

    with_server(work, fails="authentication")


def test_only_failed_needs_a_judge_that_may_have_failed(samples, tmp_path):
    async def work(server: Server) -> None:
        await evaluate(asking(tmp_path, samples, server))
        with pytest.raises(InputError, match="openai/other has judged nothing of this run yet"):
            await rejudge(tmp_path / "run", judging(tmp_path, server, "other", only_failed=True))
        server.said = RAMBLES
        failed = await rejudge(tmp_path / "run", judging(tmp_path, server, "other"))
        own, (file,) = bytes_of(tmp_path), (tmp_path / "run" / "judges").iterdir()
        assert (failed.outcomes.get("resolved", 0), failed.exit_code) == (0, 4)
        server.said = ASKS
        calls = server.calls
        mended = await rejudge(tmp_path / "run", judging(tmp_path, server, "other", only_failed=True))
        assert (mended.planned, mended.outcomes.get("resolved", 0)) == (6, 6)
        assert {len(json.loads(line)["verdict"]["turns"]) for line in file.read_text().splitlines()} == {3}
        nothing = await rejudge(tmp_path / "run", judging(tmp_path, server, "other", only_failed=True))
        assert (nothing.planned, nothing.exit_code) == (0, 0)
        assert server.calls <= calls + 6
        assert bytes_of(tmp_path) == own

    with_server(work)


def test_a_run_that_only_records_leaves_verdicts_alone(samples, tmp_path):
    async def work(server: Server) -> None:
        recording = asking(tmp_path, samples, server, judge="none")
        await evaluate(recording)
        await rejudge(tmp_path / "run", judging(tmp_path, server))
        before, calls = bytes_of(tmp_path), server.calls
        again = await evaluate(recording)
        assert again.outcomes == {"judge_failed": 6}
        assert again.exit_code == 4
        assert (bytes_of(tmp_path), server.calls) == (before, calls)
        said = ending(again, ["pbclient", "run"])
        assert said[-1].endswith("run --only-failed")
        assert not any(line.startswith("To continue") for line in said)
        # The price that was stated for the judge is remembered through the run that went on.
        server.said = ASKS
        assert (await rejudge(tmp_path / "run", judging(tmp_path, only_failed=True))).exit_code == 0

    with_server(work, said=RAMBLES)


def test_judges_of_another_default_output_limit_go_on_under_their_own(samples, tmp_path):
    """`gpt-4o` was given 8,192 tokens by default, and is given 1,024: as the run's judge, and beside it."""

    async def work(server: Server) -> None:
        for name in ("own", "beside"):
            options = {"judge_model": "gpt-4o", "judge_max_tokens": 8192} if name == "own" else {}
            first = asking(tmp_path, samples, server, out=tmp_path / name, **options)
            await evaluate(first)
            before = judging(tmp_path, server, "gpt-4o", max_tokens=8192)
            again = judging(tmp_path, server, "gpt-4o")
            await rejudge(tmp_path / name, before)
            calls, files = server.calls, sorted(tmp_path.glob(f"{name}/**/*"))
            assert (await evaluate(replace(first, judge_max_tokens=None))).exit_code == 0
            assert (await rejudge(tmp_path / name, replace(again, only_failed=True))).planned == 0
            assert (await rejudge(tmp_path / name, again)).outcomes["resolved"] == 6
            assert (server.calls, sorted(tmp_path.glob(f"{name}/**/*"))) == (calls, files)
            await rejudge(tmp_path / name, replace(again, judge_max_tokens=1024))
            assert set(tmp_path.glob(f"{name}/judges/*")) - set(files)

    with_server(work)


def test_a_cut_verdict_names_the_option_that_leaves_more_room(samples, tmp_path):
    async def work(server: Server) -> None:
        server.fails = "length"
        first = await evaluate(asking(tmp_path, samples, server))
        assert first.outcomes == {"judge_failed": 6}
        assert "raise --judge-max-tokens" in first.reasons[0][0]

    with_server(work)


def test_a_killed_first_judge_is_made_whole_by_only_failed(samples, tmp_path):
    """Killed after the manifest said who judges and before the verdicts were written."""

    async def work(server: Server) -> None:
        await evaluate(asking(tmp_path, samples, server, judge="none"))
        before = bytes_of(tmp_path)
        await rejudge(tmp_path / "run", judging(tmp_path, server))
        calls = server.calls
        (tmp_path / "run" / "episodes.jsonl").write_bytes(before)
        again = await rejudge(tmp_path / "run", judging(tmp_path, only_failed=True))
        assert (again.planned, again.outcomes.get("resolved", 0), server.calls) == (6, 6, calls)

    with_server(work)
    # What it paid before the kill is booked as paid.
    settled = Balance.read(tmp_path / "run" / "ledger.jsonl").settled
    assert booked(tmp_path) == pytest.approx(settled / 1e12)


def test_interrupted_judging_keeps_what_it_has(samples, tmp_path):
    async def work(server: Server) -> None:
        await evaluate(asking(tmp_path, samples, server, judge="none"))
        interrupts = Interrupts()
        policy = server.policy

        def interrupting(ask: Ask) -> str:
            if server.asked("judge") == 1:
                interrupts()
            return policy(ask)

        server.policy = interrupting
        options = judging(tmp_path, server, concurrency=1)
        stopped = await rejudge(tmp_path / "run", options, interrupts=interrupts)
        assert stopped.exit_code == 130
        assert 0 < stopped.outcomes.get("resolved", 0) < 6
        calls = server.asked("judge")
        whole = await rejudge(tmp_path / "run", judging(tmp_path, only_failed=True))
        assert whole.planned == 6 - stopped.outcomes.get("resolved", 0)
        assert whole.exit_code == 0
        # The call that was on the wire at the interrupt is not made again.
        assert server.asked("judge") <= calls + whole.planned - 1

    with_server(work)


def test_the_limit_is_the_runs_with_every_judge(samples, tmp_path):
    async def work(server: Server) -> None:
        await evaluate(asking(tmp_path, samples, server, judge="none", max_cost=Decimal("0.02")))
        dear = judging(tmp_path, server, price="3,4000", max_tokens=2)
        for options in (dear, judging(tmp_path, server, "other", price="3,2000", max_tokens=2)):
            stopped = await rejudge(tmp_path / "run", options)
            assert stopped.exit_code == 3
            assert stopped.summary["cost"]["settled"] + stopped.summary["cost"]["held"] <= 0.02
        raised = JudgeConfig(**{**vars(dear), "max_cost": 0.2, "only_failed": True})
        assert (await rejudge(tmp_path / "run", raised)).exit_code == 0
        manifest = RunFolder.read(tmp_path / "run").manifest
        assert manifest["settings"]["max_cost"] == 0.2
        assert stated_in(manifest["judge_prices"]) == "3,4000"

    with_server(work)


def test_the_judge_may_be_the_model_under_test(samples, tmp_path):
    async def work(server: Server) -> None:
        server.policy = lambda ask: judgement(ASKS, ask) if "### Correct" in ask.text else "I would wait."
        same = {"judge_model": "glance", "judge_price": "1,2"}
        found = await evaluate(asking(tmp_path, samples, server, **same))
        assert found.exit_code == 0
        assert found.summary["cost"]["held"] == 0
        assert found.summary["calls"]["wire"] == server.calls

    with_server(work)


def test_release_holds_frees_nothing_that_another_judge_has_answered(samples, tmp_path):
    async def work(server: Server) -> None:
        recording = asking(tmp_path, samples, server, judge="none")
        await evaluate(recording)
        with reopened(tmp_path / "run") as folder, Ledger.open(folder.ledger) as ledger:
            ledger.keep(ledger.hold(7_000_000))
            answered = ledger.hold(5_000_000)
            asked = Request((Message("user", ("?",)),), {"max_tokens": 1})
            identity = {"provider": "openai", "endpoint": server.url, "model": "judge"}
            with Store(tmp_path / "answers") as store:
                answer = response_json(Response("1", "stop"), folder.manifest["id"], answered)
                await store.put("ab" * 32, request_json(identity, asked), answer)
        released = await evaluate(RunConfig(**{**vars(recording), "release_holds": True}))
        assert released.summary["cost"]["held"] == pytest.approx(5e-6)

    with_server(work)


def test_a_grammar_makes_another_judge():
    plain = {"provider": "openai", "model": "m", "base_url": "http://127.0.0.1:1/v1", "price": "0,0"}
    held = resolve(judge_named(**plain, grammar=True), lambda sentence: None)
    assert held.described == {
        **resolve(judge_named(**plain), lambda sentence: None).described,
        "grammar": True,
    }


def test_what_the_user_stated_is_remembered_and_nothing_else():
    assert stated_in(described(price_of("openai", "x", stated="2.50,10"))) == "2.50,10"
    assert stated_in(described(price_of("openai", "gpt-4o"))) is None
    assert stated_in(None) is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout": float("nan")}, "--timeout"),
        ({"timeout": 0}, "--timeout"),
        ({"max_tokens": 0}, "--judge-max-tokens"),
        ({"concurrency": 0}, "--concurrency"),
        ({"rpm": 1.5}, "--rpm"),
        ({"max_cost": -1}, "--max-cost"),
        ({"max_cost": "much"}, "--max-cost"),
        ({"model": "x"}, "--judge-provider"),
        ({"base_url": "http://127.0.0.1:1"}, "--judge-provider"),
        ({"device": "cpu", "provider": "openai"}, "--device"),
    ],
)
def test_values_that_cannot_be_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        judge_config(**options)


def changed(**fields) -> Callable[[dict], None]:
    return lambda line: line.update(fields)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (changed(turns=[]), "'turns'"),
        (changed(valid=["a"]), "'valid'"),
        (changed(dataset="XYZ"), "'dataset'"),
        (lambda line: line["turns"][0].update(answer=None), "'turns'"),
        (lambda line: line["turns"][0].pop("prompt"), "'turns'"),
    ],
)
def test_damaged_answers_are_named_before_anything_is_bought(samples, tmp_path, change, words):
    async def work(server: Server) -> None:
        await evaluate(asking(tmp_path, samples, server, judge="none", limit=2))
        file = tmp_path / "run" / "episodes.jsonl"
        first, *rest = file.read_text().splitlines(keepends=True)
        line = json.loads(first)
        change(line)
        file.write_text("".join([json.dumps(line) + "\n", *rest]))
        with pytest.raises(InputError, match=words):
            await rejudge(tmp_path / "run", judging(tmp_path, server))
        assert server.asked("judge") == 0

    with_server(work)


def test_a_damaged_judges_file_costs_no_money_and_no_traceback(samples, tmp_path):
    async def work(server: Server) -> None:
        await evaluate(asking(tmp_path, samples, server))
        await rejudge(tmp_path / "run", judging(tmp_path, server, "other"))
        (file,) = (tmp_path / "run" / "judges").iterdir()
        whole, calls = file.read_bytes(), server.calls
        file.write_bytes(b"\x00?\n[1]\n" + whole[: len(whole) * 2 // 3])
        # What is torn or no line is judged again, out of the cache.
        again = await rejudge(tmp_path / "run", judging(tmp_path, server, "other"))
        assert again.outcomes == {"resolved": 6}
        assert server.calls == calls
        file.write_bytes(whole.replace(b'"aggregate": 1', b'"aggregate": 7', 1))
        with pytest.raises(InputError, match="damaged"):
            await rejudge(tmp_path / "run", judging(tmp_path, server, "other"))
        assert server.calls == calls

    with_server(work)


def test_what_cannot_be_judged_is_refused_in_a_sentence(samples, tmp_path):
    async def work(server: Server) -> None:
        multiple = asking(
            tmp_path, samples, server, mode="mcqa", judge_provider=None, judge_model=None,
            judge_base_url=None, judge_price=None, limit=1, out=tmp_path / "multiple",
        )  # fmt: skip
        await evaluate(multiple)
        with pytest.raises(InputError, match="multiple choice"):
            await rejudge(tmp_path / "multiple", judging(tmp_path, server))
        await evaluate(asking(tmp_path, samples, server, judge="none", limit=1))
        with pytest.raises(InputError, match="no judge of its own yet"):
            await rejudge(tmp_path / "run", judging(tmp_path))
        with reopened(tmp_path / "run"), pytest.raises(RunBusy):
            await rejudge(tmp_path / "run", judging(tmp_path, server))
        assert server.asked("judge") == 0

    with_server(work)


def test_older_run_folders_are_continued_and_judged(samples, tmp_path):
    """Before there were conditions and judges: none of their options, and the data as a digest."""

    async def work(server: Server) -> None:
        recording = asking(tmp_path, samples, server, judge="none", limit=2)
        await evaluate(recording)
        file = tmp_path / "run" / "run.json"
        manifest = json.loads(file.read_text())
        for name in ("judge", "history", "resize", "shots", "cot", "options", "foreign_options"):
            del manifest["config"][name]
        file.write_text(json.dumps({**manifest, "data": manifest["data"]["digest"]}))
        calls = server.calls
        assert (await evaluate(recording)).exit_code == 0
        assert server.calls == calls
        assert (await rejudge(tmp_path / "run", judging(tmp_path, server))).exit_code == 0

    with_server(work)


def test_the_ending_says_how_it_ended():
    def ended(**fields) -> Rejudged:
        return Rejudged(Path("run"), {}, **{"planned": 2, **fields})

    assert ended(verdicts={"resolved": 2}).exit_code == 0
    assert ended(verdicts={"resolved": 1, "judge_failed": 1}).exit_code == 4
    assert ended(verdicts={"resolved": 1, "budget": 1}).exit_code == 3
    assert ended(unusable="wrong key").exit_code == 2
    assert ended(unusable="gone", verdicts={"resolved": 1}).exit_code == 4
    assert ended(interrupted=True, unusable="gone").exit_code == 130


def test_a_first_judge_without_an_answer_writes_nothing(samples, tmp_path):
    async def work(server: Server) -> None:
        await evaluate(asking(tmp_path, samples, server, judge="none", limit=1))
        judge = judge_named("openai", model="m", base_url=server.url, price="0,0")
        with reopened(tmp_path / "run") as folder:
            verdicts = Verdicts.of(folder, resolve(judge, lambda sentence: None))
            (owed,) = verdicts.owed(only_failed=False)
            verdicts.write({owed.which: Judged("budget", {"turns": []})})
            assert own_judge(folder.manifest) is None

    with_server(work)


def test_the_command_line_ends_in_a_sentence(tmp_path):
    for arguments in (["--timeout", "nan"], ["--judge-model", "x"], ["--judge-max-tokens", "0"], []):
        result = CliRunner().invoke(main, ["judge", str(tmp_path), *arguments])
        assert result.exit_code == 2
        assert "Traceback" not in result.output
