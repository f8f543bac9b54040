// Which episodes are listed, and in which order.

const ANY = "";

/** Whether a pair of episodes of the same sample is what is asked for; `other` may be absent. */
const PAIRS = {
  differ: (one, other) => other !== undefined && one.result !== other.result,
  first: (one, other) => one.result === "right" && other?.result === "wrong",
  second: (one, other) => one.result === "wrong" && other?.result === "right",
  both: (one, other) => one.result === "right" && other?.result === "right",
  neither: (one, other) => one.result === "wrong" && other?.result === "wrong",
  turns: (one, other) => other !== undefined && one.turns.length !== other.turns.length,
};

const RESULT_TESTS = {
  right: (episode) => episode.result === "right",
  wrong: (episode) => episode.result === "wrong",
  unscored: (episode) => episode.result === "unscored",
  limited: (episode) => episode.limited,
  first: (episode) => episode.result === "right" && episode.turns.length === 1,
  asked: (episode) => (episode.suggestions ?? 0) > 0,
  judges: (episode) => judgesDiffer(episode),
};

/** Greater first; equal ones stay in the order of the run. */
const ORDERS = {
  turns: (episode) => episode.turns.length,
  cost: (episode) => total(episode, "cost") + total(episode, "saved"),
  seconds: (episode) => total(episode, "seconds"),
  length: (episode) => episode.turns.reduce((sum, turn) => sum + (turn.answer ?? "").length, 0),
};

/** Whether two judges read an answer differently. */
function judgesDiffer(episode) {
  const read = new Set();
  for (const verdict of episode.verdicts ?? []) {
    if (verdict.category !== null) read.add(`${verdict.category}${verdict.suggestion}`);
  }
  return read.size > 1;
}

/** The episodes of `run` that fit what is `asked`, beside those of `other`. */
function filtered(run, other, asked) {
  const tests = [];
  if (asked.dataset) tests.push((each) => each.dataset === asked.dataset);
  if (asked.outcome) tests.push((each) => each.outcome === asked.outcome);
  if (asked.result) tests.push(RESULT_TESTS[asked.result]);
  if (asked.turns) tests.push((each) => each.turns.length === Number(asked.turns));
  if (asked.pair && other) tests.push((each) => PAIRS[asked.pair](each, other.byName.get(each.name)));
  const words = asked.text.toLowerCase();
  if (words) tests.push((each) => textOf(each).includes(words));
  const found = run.episodes.filter((each) => tests.every((test) => test(each)));
  const weight = ORDERS[asked.order];
  if (!weight) return found;
  const weights = new Map(found.map((each) => [each, weight(each)]));
  return found.toSorted((one, another) => weights.get(another) - weights.get(one));
}

/** [value, "value (count)"] of what there is, for a choice. */
function counted(episodes, of, words = (value) => value) {
  const counts = new Map();
  for (const episode of episodes) counts.set(of(episode), (counts.get(of(episode)) ?? 0) + 1);
  const found = [...counts];
  if (found.every(([value]) => typeof value === "number")) found.sort(([one], [another]) => one - another);
  return found.map(([value, count]) => [String(value), `${words(value)} (${count.toLocaleString("en")})`]);
}

/** How the result of an episode may be asked for: only what the run has. */
function resultChoices(run) {
  const words = {
    right: "right",
    wrong: "wrong",
    unscored: "without a score",
    limited: "hit the step limit",
    first: "right at the first turn",
    asked: "made a suggestion",
    judges: "judges differ",
  };
  return Object.entries(words)
    .map(([value, said]) => [value, said, run.episodes.filter(RESULT_TESTS[value]).length])
    .filter(([, , count]) => count)
    .map(([value, said, count]) => [value, `${said} (${count.toLocaleString("en")})`]);
}
