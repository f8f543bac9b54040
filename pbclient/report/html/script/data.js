// The runs and frames that lie in the page.

/** The value in an island: JSON, gzip, base64. */
async function unpacked(base64) {
  const letters = atob(base64);
  const bytes = new Uint8Array(letters.length);
  for (let at = 0; at < letters.length; at += 1) bytes[at] = letters.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** All runs, each with its episodes in order and by name. */
async function readRuns() {
  const islands = [...document.querySelectorAll("script.run")];
  const runs = await Promise.all(islands.map((island) => unpacked(island.textContent)));
  for (const run of runs) {
    run.byName = new Map();
    for (const episode of run.episodes) {
      episode.turns ??= [];
      episode.name = nameOf(episode);
      episode.result = resultOf(episode);
      run.byName.set(episode.name, episode);
    }
  }
  return runs;
}

/** What names an episode in its run and in an address: data set and sample, and the repeat where it is one. */
function nameOf({ dataset, sample, repeat }) {
  return `${dataset}/${encoded(sample)}${repeat ? `~${repeat}` : ""}`;
}

/** A text as a part of an address; half surrogate pairs have no place there. */
const encoded = (text) => encodeURIComponent(text.toWellFormed());

/** "right" or "wrong", or "unscored" where it has no score. */
function resultOf(episode) {
  if (episode.correct === undefined) return "unscored";
  return episode.correct ? "right" : "wrong";
}

const texts = new Map();

/** What can be searched of an episode: its prompts, options, answers and verdicts. */
function textOf(episode) {
  let text = texts.get(episode);
  if (text === undefined) {
    const parts = [episode.dataset, episode.sample, episode.error ?? ""];
    for (const turn of episode.turns) parts.push(turn.prompt ?? "", turn.answer ?? "", ...(turn.options ?? []));
    for (const verdict of episode.verdicts ?? []) parts.push(...verdict.answers);
    text = parts.join("\n").toLowerCase();
    texts.set(episode, text);
  }
  return text;
}

/** Make the texts to search while nothing else is to be done. */
function prepareSearch(episodes, at = 0) {
  if (at >= episodes.length) return;
  (window.requestIdleCallback ?? setTimeout)(() => {
    for (const episode of episodes.slice(at, at + 250)) textOf(episode);
    prepareSearch(episodes, at + 250);
  });
}

const total = (episode, key) => episode.turns.reduce((sum, turn) => sum + (turn[key] ?? 0), 0);

/** The frames: a line each in the page, or a file each in a folder beside it. */
class Frames {
  constructor(island) {
    this.island = island;
    this.folder = island?.dataset.folder;
    this.lines = null;
  }

  /** The address of a frame, or null where the page has none. */
  address(name) {
    if (!name || !this.island) return null;
    if (this.folder) return `${encodeURIComponent(this.folder)}/${name}.webp`;
    this.lines ??= new Map(this.island.textContent.split("\n").map((line) => line.split(" ")));
    const data = this.lines.get(name);
    return data ? `data:image/webp;base64,${data}` : null;
  }
}
