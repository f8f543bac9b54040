// The explorer: filters, list and episode, held together by the address.

const KEYS = [
  ["j, k", "next and previous episode"],
  ["\u2190, \u2192", "previous and next turn"],
  ["\u2191, \u2193", "move in the list, when it has the focus"],
  ["/", "search"],
  ["?", "these keys"],
  ["Esc", "leave search or this window"],
];

class Explorer {
  constructor(place, runs, frames) {
    this.place = place;
    this.runs = runs;
    this.frames = frames;
    this.first = runs[0];
    this.second = runs[1] ?? null;
    this.episode = null;
    this.turn = 1;
    this.list = new List((item) => this.rowOf(item), (item) => this.go(item, 1));
    this.pane = element("div", "episode");
    this.pane.setAttribute("aria-live", "polite");
    this.count = element("span");
    this.count.id = "count";
    this.count.setAttribute("role", "status");
    this.help = this.helpWindow();
    this.tools = element("div", "tools");
    const status = element("div", "status", this.count, button("Keys", () => this.help.showModal()));
    place.append(this.tools, status, element("div", "panes", this.list.node, this.pane), this.help);
    this.makeTools();
    this.refresh();
    prepareSearch(this.first.episodes);
    addEventListener("hashchange", () => this.open());
    addEventListener("keydown", (event) => this.key(event));
    place.hidden = false;
    this.open();
  }

  /** The choices above the list, made from what the first run has. */
  makeTools() {
    const asked = this.asked;
    const changed = () => this.refresh();
    const { episodes } = this.first;
    this.search = element("input");
    this.search.type = "search";
    this.search.id = "search";
    this.search.placeholder = "Prompts and answers";
    this.search.addEventListener("input", changed);
    const any = (words, options) => [[ANY, words], ...options];
    const outcome = (value) => value.replaceAll("_", " ");
    this.choices = {
      dataset: choice("Data set", any("all", counted(episodes, (each) => each.dataset)), changed),
      outcome: choice("Outcome", any("all", counted(episodes, (each) => each.outcome, outcome)), changed),
      result: choice("Result", any("all", resultChoices(this.first)), changed),
      turns: choice("Turns", any("all", counted(episodes, (each) => each.turns.length)), changed),
    };
    if (this.second) this.choices.pair = choice("Both runs", any("all", this.pairChoices()), changed);
    this.choices.order = choice(
      "Order",
      any("data set, sample", [
        ["turns", "most turns"],
        ["cost", "dearest"],
        ["seconds", "slowest"],
        ["length", "longest answers"],
      ]),
      changed,
    );
    const labels = Object.entries(this.choices).map(([name, { label, select }]) => {
      select.id = `by-${name}`;
      if (asked?.[name] && [...select.options].some((each) => each.value === asked[name])) select.value = asked[name];
      return label;
    });
    if (asked) this.search.value = asked.text;
    this.tools.replaceChildren(...this.runChoices(), ...labels, element("label", "search", "Search", this.search));
  }

  pairChoices() {
    const [one, other] = [visible(this.first.label), visible(this.second.label)];
    return [
      ["differ", "they differ"],
      ["first", `only ${one} right`],
      ["second", `only ${other} right`],
      ["both", "both right"],
      ["neither", "both wrong"],
      ["turns", "other number of turns"],
    ];
  }

  /** Which two of several runs stand side by side. */
  runChoices() {
    if (this.runs.length < 2) return [];
    const options = this.runs.map((run, number) => [String(number), visible(run.label)]);
    const changed = () => {
      const { episode } = this;
      const beside = second.select.value === ANY ? null : this.runs[Number(second.select.value)];
      this.chooseRuns(this.runs[Number(first.select.value)], beside);
      const same = episode && this.first.byName.get(episode.name);
      if (same) this.go(same, 1);
    };
    const first = choice("Run", options, changed);
    const second = choice("Beside", [[ANY, "none"], ...options], changed);
    first.select.id = "run-first";
    second.select.id = "run-second";
    first.select.value = String(this.runs.indexOf(this.first));
    second.select.value = this.second ? String(this.runs.indexOf(this.second)) : ANY;
    return [first.label, second.label];
  }

  chooseRuns(first, second) {
    this.first = first;
    this.second = second === first ? null : second;
    this.episode = null;
    this.makeTools();
    this.refresh();
  }

  refresh() {
    const values = Object.entries(this.choices).map(([name, { select }]) => [name, select.value]);
    this.asked = { ...Object.fromEntries(values), text: this.search.value };
    const found = filtered(this.first, this.second, this.asked);
    const number = (count) => count.toLocaleString("en");
    this.count.textContent = `${number(found.length)} of ${number(this.first.episodes.length)} episodes`;
    this.list.show(found, this.episode);
    if (!this.episode) this.showNothing(found.length);
  }

  showNothing(found) {
    const words = found ? "Choose an episode, or press j." : "No episode fits.";
    this.pane.replaceChildren(element("p", "empty", this.first.episodes.length ? words : "The run has no episodes."));
  }

  rowOf(episode) {
    const results = [resultMark(episode, this.second ? visible(this.first.label) : "")];
    if (this.second) results.push(resultMark(this.second.byName.get(episode.name), visible(this.second.label)));
    const last = episode.turns.at(-1)?.answer ?? episode.error ?? "";
    return [
      element("span", "id", titleOf(episode)),
      element("span", "results", ...results),
      element("span", "answer text", visible(last.slice(0, 120).replaceAll("\n", " ")) || "\u00a0"),
    ];
  }

  /** The address of an episode at a turn. */
  address(episode, turn) {
    const runs = [this.first, this.second].filter(Boolean).map((run) => encoded(run.label));
    return `#${runs.join(",")}/${episode.name}/${turn}`;
  }

  /** Show an episode and write its address; Back leads to the one before. */
  go(episode, turn) {
    const before = this.episode;
    this.show(episode, turn);
    const address = this.address(episode, this.turn);
    if (address !== location.hash) history[before === episode ? "replaceState" : "pushState"](null, "", address);
    if (before !== episode && (narrow() || this.pane.getBoundingClientRect().top < 0)) this.pane.scrollIntoView();
  }

  /** Show what the address names; another address is one of the page's own anchors. */
  open() {
    const [names, dataset, sample, turn = "1"] = location.hash.slice(1).split("/");
    if (sample === undefined) return;
    const labels = names.split(",").map(decoded);
    const [one, other] = labels.map((label) => this.runs.find((run) => run.label === label));
    const first = one ?? this.first;
    const second = labels.length > 1 ? (other ?? null) : this.runs.length > 1 && !one ? this.second : null;
    if (first !== this.first || second !== this.second) this.chooseRuns(first, second);
    const episode = first.byName.get(`${decoded(dataset)}/${encoded(decoded(sample))}`);
    if (!episode) {
      this.episode = null;
      this.list.select(null);
      this.pane.replaceChildren(element("p", "empty", `This page has no episode ${visible(decoded(location.hash))}.`));
    } else {
      this.show(episode, Number(turn) || 1);
    }
    (narrow() ? this.pane : this.place).scrollIntoView();
  }

  show(episode, turn) {
    const pairs = [[this.first, episode]];
    if (this.second) pairs.push([this.second, this.second.byName.get(episode.name)]);
    const most = Math.max(1, ...pairs.map(([, each]) => each?.turns.length ?? 0));
    if (episode !== this.episode || !this.pane.querySelector(".turn")) {
      this.pane.replaceChildren(this.barOf(episode, pairs), episodeView(pairs, this.frames));
      this.list.select(episode);
    }
    this.episode = episode;
    this.turn = Math.min(Math.max(1, turn), most);
    for (const view of this.pane.querySelectorAll(".turn")) {
      view.classList.toggle("here", view.dataset.turn === String(this.turn));
    }
    if (this.turn > 1) this.pane.querySelector(".here")?.scrollIntoView({ block: "nearest" });
  }

  barOf(episode, pairs) {
    const copy = button("Copy JSON", async () => {
      const value = pairs.map(([run, each]) => ({ run: run.label, model: run.model, ...plainEpisode(each) }));
      copy.textContent = (await copied(JSON.stringify(value.length > 1 ? value : value[0], null, 2))) ? "Copied" : "Failed";
    });
    const buttons = element(
      "div",
      "buttons",
      button("Previous", () => this.step(-1), "k"),
      button("Next", () => this.step(1), "j"),
      copy,
    );
    return element("div", "bar-of-episode", element("h3", "", titleOf(episode)), buttons);
  }

  /** The episode so many places on in the list. */
  step(by) {
    const { items } = this.list;
    const at = this.episode ? items.indexOf(this.episode) : -1;
    const next = at < 0 ? (by > 0 ? 0 : items.length - 1) : at + by;
    if (items[next]) this.go(items[next], 1);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest?.("input, select, textarea");
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (this.help.open) return;
    const inList = document.activeElement === this.list.node;
    const acts = {
      j: () => this.step(1),
      k: () => this.step(-1),
      ArrowRight: () => this.episode && this.go(this.episode, this.turn + 1),
      ArrowLeft: () => this.episode && this.go(this.episode, this.turn - 1),
      "/": () => this.search.focus(),
      "?": () => this.help.showModal(),
      ...(inList ? { ArrowDown: () => this.step(1), ArrowUp: () => this.step(-1) } : {}),
    };
    const act = Object.hasOwn(acts, event.key) ? acts[event.key] : null;
    if (!act) return;
    event.preventDefault();
    act();
  }

  helpWindow() {
    const rows = KEYS.map(([keys, words]) => element("tr", "", element("th", "", element("kbd", "", keys)), element("td", "", words)));
    const made = element("dialog", "", element("h3", "", "Keys"), element("table", "keys", element("tbody", "", ...rows)));
    made.setAttribute("aria-label", "Keys");
    made.append(button("Close", () => made.close()));
    return made;
  }
}

/** Whether the episode stands below the list, as the style has it. */
const narrow = () => matchMedia("(max-width: 760px)").matches;

function titleOf(episode) {
  return `${episode.dataset} ${visible(episode.sample)}${episode.repeat ? ` (repeat ${episode.repeat})` : ""}`;
}

/** An episode as it lies in the page, without what the explorer has added. */
function plainEpisode(episode) {
  const { name: _name, result: _result, ...plain } = episode ?? {};
  return plain;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** Dark or light, by a button; at first as the system has it. */
function themeButton(node) {
  const dark = () => matchMedia("(prefers-color-scheme: dark)").matches;
  const now = () => document.documentElement.dataset.theme ?? (dark() ? "dark" : "light");
  const label = () => {
    node.textContent = now() === "dark" ? "Light" : "Dark";
  };
  node.addEventListener("click", () => {
    document.documentElement.dataset.theme = now() === "dark" ? "light" : "dark";
    label();
  });
  node.hidden = false;
  label();
}

async function start() {
  themeButton(document.getElementById("theme"));
  const place = document.getElementById("explorer");
  if (!place) return;
  try {
    const runs = await readRuns();
    window.explorer = new Explorer(place, runs, new Frames(document.getElementById("frames")));
  } catch (error) {
    place.replaceChildren(element("p", "", `The episodes cannot be opened in this browser (${error.name}).`));
    place.hidden = false;
    throw error;
  }
}

start();
