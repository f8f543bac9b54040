"""The report in a real Chromium: from disk and over loopback, what it shows, does and never does."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import chromium
import pytest
from recorded_run import record
from reported_runs import ATTACKS, episode, hostile, thousands
from test_pbclient_scores_oeg import judged

from pbclient import RunConfig, run
from pbclient.report.html.report import write_report
from runs import Episodes

chromium.skip_module_without_it()
pytestmark = pytest.mark.slow
EMPTY = "<!doctype html><html lang=en><title>Empty</title><p>Nothing."


class Opened:
    """A page, and all that it has asked for, complained of or been refused."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.error(event.violatedDirective))"
        )

    def open(self, address: Path | str, hash: str = "", wait: bool = True) -> Opened:
        self.page.goto(f"{address.as_uri() if isinstance(address, Path) else address}{hash}")
        if wait:
            self.page.wait_for_selector("#explorer:not([hidden])")
        return self

    def kept_to_itself(self, *own: str) -> bool:
        fetched = [url for url in self.requests if not url.startswith(("data:", "file:", *own))]
        return fetched == [] and self.complaints == []

    def count(self) -> int:
        return int(self.page.text_content("#count").split()[0].replace(",", ""))

    def by(self, name: str, value: str) -> int:
        self.page.select_option(f"#by-{name}", value)
        count = self.count()
        self.page.select_option(f"#by-{name}", "")
        return count

    def search(self, text: str) -> int:
        self.page.fill("#search", text)
        count = self.count()
        self.page.fill("#search", "")
        return count


type Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.launched() as launched:
        yield launched


@pytest.fixture
def opened(browser) -> Iterator[Open]:
    contexts = []

    def new(**options: Any) -> Opened:
        contexts.append(browser.new_context(**options))
        return Opened(contexts[-1].new_page())

    yield new
    for context in contexts:
        context.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder)
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def baselines(samples, tmp_path_factory) -> Path:
    """Two baselines on the samples: `one.html`, `two.html`, and `all.html` with a folder of frames."""
    folder = tmp_path_factory.mktemp("baselines")
    for name in ("random", "always-ask"):
        run(RunConfig(provider="baseline", model=name, data=samples, out=folder / name))
    write_report([folder / "random"], folder / "one.html", data=samples)
    both = [folder / "random", folder / "always-ask"]
    write_report(both, folder / "two.html", data=samples)
    write_report(both, folder / "all.html", data=samples, images="all")
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> tuple[Path, dict[str, dict[tuple[str, str], Any]]]:
    """Two runs of 7,557 episodes, and their episodes by data set and sample."""
    folder = tmp_path_factory.mktemp("many")
    runs = {name: {(line["dataset"], line["sample"]): line for line in thousands(name)} for name in "ab"}
    paths = [record(folder / name, runs[name].values()) for name in runs]
    write_report(paths, folder / "report.html")
    return folder / "report.html", runs


def test_from_disk_and_over_loopback_it_asks_nobody_for_anything(opened, baselines):
    for name in ("one.html", "two.html", "all.html"):
        from_disk = opened().open(baselines / name)
        from_disk.page.keyboard.press("j")
        from_disk.page.wait_for_function("document.querySelector('img.frame')?.naturalWidth > 0")
        assert from_disk.kept_to_itself()
        with served(baselines) as address:
            over = opened().open(f"{address}{name}")
            over.page.keyboard.press("j")
            over.page.wait_for_function("document.querySelector('img.frame')?.naturalWidth > 0")
            assert over.kept_to_itself(address)


def test_an_injected_script_does_not_run_and_asks_nobody(opened, baselines):
    page = opened().open(baselines / "one.html").page
    ran = page.evaluate(
        """async () => {
            const outcomes = [];
            try { document.body.innerHTML = "<img src=x onerror='window.pwned=1'>"; outcomes.push("html"); }
            catch (error) { outcomes.push(error.name); }
            const script = document.createElement("script");
            try { script.text = "window.pwned = 1"; outcomes.push("script"); }
            catch (error) { outcomes.push(error.name); }
            try { await fetch("https://example.org/"); outcomes.push("fetched"); }
            catch (error) { outcomes.push(error.name); }
            return [...outcomes, window.pwned ?? null];
        }"""
    )
    assert ran == ["TypeError", "TypeError", "TypeError", None]


def test_hostile_texts_are_shown_and_never_obeyed(opened, tmp_path):
    path = record(tmp_path / "hostile", hostile())
    write_report([path], tmp_path / "report.html")
    report = opened().open(tmp_path / "report.html")
    seen = ""
    for _ in range(2 * len(ATTACKS) + 1):
        report.page.keyboard.press("j")
        seen += report.page.inner_text(".episode")
    assert report.kept_to_itself()
    assert report.page.evaluate("window.pwned") is None
    for attack in (ATTACKS[0], ATTACKS[1], ATTACKS[5], ATTACKS[13]):
        assert attack in seen
    for code in ("[U+202E]", "[U+001B]", "[U+2028]", "[U+0000]", "[U+D83D]", "[U+DC4D]"):
        assert code in seen
    assert "\u202e" not in seen
    report.page.select_option("#by-dataset", "QD")
    report.page.keyboard.press("j")
    report.page.click(".row")
    assert len(report.page.inner_text(".said")) < 5_000
    report.page.get_by_text("Show all 1,000,003 characters").click()
    assert len(report.page.inner_text(".said")) > 1_000_000
    assert report.kept_to_itself()


def test_the_counts_of_filters_are_those_of_the_run(opened, many):
    path, runs = many
    one, other = runs["a"], runs["b"]
    report = opened().open(path)
    assert report.count() == len(one) == 7_557
    for dataset, count in Counter(dataset for dataset, _ in one).items():
        assert report.by("dataset", dataset) == count
    for turns, count in Counter(len(line["turns"]) for line in one.values()).items():
        assert report.by("turns", str(turns)) == count
    right = sum(line["correct"] for line in one.values())
    assert report.by("result", "right") == right
    assert report.by("result", "wrong") == len(one) - right
    pairs = Counter((line["correct"], other[which]["correct"]) for which, line in one.items())
    assert report.by("pair", "first") == pairs[True, False]
    assert report.by("pair", "second") == pairs[False, True]
    assert report.by("pair", "differ") == pairs[True, False] + pairs[False, True]
    assert report.by("pair", "both") == pairs[True, True]
    assert report.by("pair", "neither") == pairs[False, False]
    word = "FISH occluded"
    texts = ["\n".join(turn["prompt"] for turn in line["turns"]).lower() for line in one.values()]
    assert report.search(word) == sum(word.lower() in text for text in texts) > 0
    report.page.select_option("#by-order", "turns")
    report.page.select_option("#by-dataset", "ROD")
    most = max(len(line["turns"]) for (dataset, _), line in one.items() if dataset == "ROD")
    assert report.page.text_content(".row .results").startswith(f"a \u2717\u00a0{most}") or most == 3
    assert report.kept_to_itself()


def test_thousands_of_episodes_are_first_painted_like_an_empty_page(opened, many, tmp_path, record_property):
    path, _ = many
    (tmp_path / "empty.html").write_text(EMPTY, encoding="utf-8")
    paint = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    times = []
    for address in (tmp_path / "empty.html", path):
        report = opened().open(address, wait=address == path)
        report.page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        times.append(report.page.evaluate(paint))
    filtered = report.page.evaluate(
        """() => {
            const start = performance.now();
            explorer.search.value = "mug tree";
            explorer.refresh();
            return performance.now() - start;
        }"""
    )
    print(f"first paint {times[1]:.0f} ms, of an empty page {times[0]:.0f} ms; a filter {filtered:.0f} ms")
    assert report.page.locator(".row").count() < 60
    report.page.fill("#search", "")
    report.page.evaluate("explorer.list.node.scrollTop = 1e9")
    report.page.wait_for_selector(".row[aria-posinset='7557']")
    assert report.page.locator(".row").count() < 60


def test_addresses_keys_and_back_lead_to_episodes(opened, baselines):
    report = opened().open(baselines / "two.html", "#random,always-ask/QD/0/2")
    page = report.page
    title = ".bar-of-episode h3"
    assert page.text_content(title) == "QD 0"
    assert page.locator(".turn.here").first.get_attribute("data-turn") == "2"
    assert page.locator(".turn h4").first.text_content().startswith("random")
    page.keyboard.press("j")
    assert page.text_content(title) == "QD 2"
    assert page.evaluate("location.hash") == "#random,always-ask/QD/2/1"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("location.hash") == "#random,always-ask/QD/2/2"
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert page.evaluate("location.hash") == "#random,always-ask/QD/2/8"
    page.keyboard.press("k")
    assert page.text_content(title) == "QD 0"
    page.go_back()
    page.wait_for_function("document.querySelector('.bar-of-episode h3').textContent === 'QD 2'")
    page.keyboard.press("/")
    page.keyboard.type("mug?")
    assert page.input_value("#search") == "mug?"
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.is_visible("dialog")
    page.keyboard.press("Escape")
    assert not page.is_visible("dialog")
    page.evaluate("location.hash = '#random/COCO/nowhere/1'")
    page.wait_for_function("document.querySelector('.episode').textContent.includes('no episode')")
    assert report.kept_to_itself()


def test_either_run_may_stand_alone_or_beside_the_other(opened, baselines):
    report = opened().open(baselines / "two.html", "#random,always-ask/QD/0/1")
    assert report.page.locator(".heads > div").count() == 2
    report.page.select_option("#run-second", "")
    assert report.page.locator(".heads > div").count() == 1
    report.page.select_option("#run-first", "1")
    assert report.page.evaluate("location.hash") == "#always-ask/QD/0/1"
    report.page.select_option("#run-second", "0")
    assert report.page.locator(".heads > div").all_inner_texts()[1].startswith("random")
    report.page.go_back()
    report.page.wait_for_function("document.querySelectorAll('.heads > div').length === 1")
    assert report.kept_to_itself()


def test_an_episode_is_copied_as_json(opened, baselines):
    report = opened(permissions=["clipboard-read", "clipboard-write"])
    report.open(baselines / "one.html", "#random/ROD/0/1")
    report.page.get_by_text("Copy JSON").click()
    report.page.wait_for_function(
        "[...document.querySelectorAll('button')].some((b) => b.textContent === 'Copied')"
    )
    copied = json.loads(report.page.evaluate("navigator.clipboard.readText()"))
    [line] = [
        each
        for each in Episodes(baselines / "random" / "episodes.jsonl").read()
        if each["dataset"] == "ROD" and each["sample"] == "0"
    ]
    assert (copied["dataset"], copied["sample"], copied["outcome"]) == ("ROD", "0", "resolved")
    assert [turn["answer"] for turn in copied["turns"]] == [turn["answer"] for turn in line["turns"]]


def test_it_is_readable_without_scripts_and_in_print(opened, baselines):
    plain = opened(java_script_enabled=False).open(baselines / "two.html", wait=False)
    text = plain.page.inner_text("body")
    assert "Differences" in text
    assert "needs JavaScript" in text
    assert plain.page.locator("svg[role=img]").count() >= 6
    printed = opened().open(baselines / "two.html")
    printed.page.emulate_media(media="print")
    assert not printed.page.is_visible(".tools")
    assert printed.page.is_visible("table")
    assert len(printed.page.pdf()) > 20_000


def test_a_phone_scrolls_down_and_never_aside(opened, baselines):
    report = opened(viewport={"width": 390, "height": 844}, has_touch=True)
    report.open(baselines / "two.html", "#random,always-ask/QD/0/1")
    assert report.page.evaluate("document.documentElement.scrollWidth") == 390
    report.page.tap(".row >> nth=3")
    assert report.page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_rules_of_accessibility_are_kept(opened, baselines, theme):
    from axe_playwright_python.sync_playwright import Axe

    report = opened(color_scheme=theme).open(baselines / "two.html", "#random,always-ask/QD/0/1")
    found = Axe().run(report.page).response["violations"]
    assert [
        (each["id"], each["nodes"][0]["html"]) for each in found if each["impact"] in ("serious", "critical")
    ] == []


def test_two_judges_stand_side_by_side(opened, tmp_path):
    lines = [judged(1, "0, 1"), judged(2, "1, 0"), judged(3, "no verdict", "none again")]
    path = record(tmp_path / "open", lines, mode="oeg", judge={"provider": "p", "model": "m"})
    (path / "judges").mkdir()
    others = [judged(1, "1, 0"), judged(2, "1, 0")]
    keys = ("dataset", "sample", "repeat", "outcome", "verdict")
    rows = [{key: line[key] for key in keys} for line in others]
    (path / "judges" / "q-n.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    write_report([path], tmp_path / "report.html")
    report = opened().open(tmp_path / "report.html")
    assert report.by("result", "judges") == 1
    report.page.keyboard.press("j")
    boxes = report.page.locator(".verdict")
    assert boxes.count() == 2
    assert "the run's judge" in boxes.nth(0).inner_text()
    assert "0, 1" in boxes.nth(0).inner_text()
    assert "1, 0" in boxes.nth(1).inner_text()
    assert report.kept_to_itself()


def test_an_empty_and_a_torn_run_are_pages_too(opened, tmp_path):
    empty = record(tmp_path / "empty", [])
    write_report([empty], tmp_path / "empty.html")
    report = opened().open(tmp_path / "empty.html")
    assert "The run has no episodes." in report.page.inner_text("#explorer")
    assert report.kept_to_itself()
    torn = record(tmp_path / "torn", [episode("ROD", "1", True), episode("QD", "2", False)])
    lines = (torn / "episodes.jsonl").read_bytes()
    (torn / "episodes.jsonl").write_bytes(lines[:-40])
    write_report([torn], tmp_path / "torn.html")
    report = opened().open(tmp_path / "torn.html")
    assert report.count() == 1
    assert "1 torn" in report.page.inner_text("#about")
