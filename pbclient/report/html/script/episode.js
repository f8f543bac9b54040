// One episode turn by turn, alone or beside that of another run.

// What the environment made of an answer, in the words of `pbclient score`.
const DID = {
  right: ["good", "named the right category"],
  wrong: ["bad", "named a category that is not right here"],
  accepted: ["good", "a suggestion that the environment took"],
  refused: ["bad", "a suggestion that the environment does not take here"],
  abstain: ["odd", "abstained"],
  mismatch: ["bad", "none of the options"],
};

/** The turns of `pairs`, each [run, episode or undefined]; `frames` gives addresses. */
function episodeView(pairs, frames) {
  const two = pairs.length > 1;
  const heads = element("div", "heads", ...pairs.map(([run, episode]) => headOf(run, episode, two)));
  const turns = element("div", "turns");
  const most = Math.max(...pairs.map(([, episode]) => episode?.turns.length ?? 0));
  for (let number = 0; number < most; number += 1) {
    for (const [run, episode] of pairs) {
      const turn = episode?.turns[number];
      if (turn || two) turns.append(turn ? turnView(run, episode, number, frames, two) : element("div", "turn gone"));
    }
  }
  const made = element("div", two ? "two" : "one", heads, turns);
  for (const [run, episode] of pairs) {
    if (episode?.verdicts) made.append(verdictsView(run, episode, two));
  }
  return made;
}

function headOf(run, episode, two) {
  const name = two ? element("strong", "", visible(run.label), " ") : null;
  if (!episode) return element("div", "odd", name, "This run has no such episode.");
  const [kind, , words] = RESULTS[episode.result];
  const said = [];
  if (episode.outcome !== "resolved") said.push(episode.outcome.replaceAll("_", " "));
  if (episode.suggestions !== undefined && run.mode === "mcqa") {
    said.push(`${episode.suggestions} suggestion${episode.suggestions === 1 ? "" : "s"}`);
  }
  if (episode.limited) said.push("hit the step limit");
  const paid = total(episode, "cost");
  if (paid) said.push(dollars(paid));
  const head = element("div", "", name, element("span", kind, words), said.length ? `, ${said.join(", ")}` : "");
  if (episode.error) head.append(element("div", "text bad", visible(episode.error)));
  return head;
}

function turnView(run, episode, number, frames, two) {
  const turn = episode.turns[number];
  const heading = `${two ? `${visible(run.label)} \u00b7 ` : ""}turn ${number + 1} of ${episode.turns.length}`;
  const view = element("div", "turn", element("h4", "", heading), frameView(turn, frames));
  view.dataset.turn = String(number + 1);
  if (turn.prompt) view.append(textBlock(turn.prompt, "text question"));
  if (turn.options) view.append(optionsView(turn));
  view.append(
    turn.answer === undefined
      ? element("p", "odd", "No answer was recorded.")
      : textBlock(turn.answer, "text said"),
  );
  if (turn.given !== undefined) {
    view.append(element("div", "numbers", `Taken by the environment as: ${visible(turn.given) || "nothing"}`));
  }
  if (turn.did) {
    const [kind, words] = DID[turn.did];
    view.append(element("div", `made ${kind}`, `Environment: ${words}`));
  }
  view.append(element("div", "numbers", numbersOf(turn)));
  return view;
}

function frameView(turn, frames) {
  const name = visible(turn.image ?? "no frame");
  const address = frames.address(turn.frame);
  const named = element("div", "no-frame", `Frame ${name} is not in this page.`);
  if (!address) return named;
  const image = element("img", "frame");
  image.decoding = "async";
  image.alt = `Frame ${name}`;
  image.title = name;
  image.addEventListener("error", () => image.replaceWith(named));
  image.src = address;
  return image;
}

function optionsView(turn) {
  const list = element("ul", "options");
  turn.options.forEach((option, number) => {
    const chosen = number === turn.chosen;
    const right = (turn.right ?? []).includes(number);
    const marks = [chosen ? "chosen" : null, right ? "valid here" : null].filter(Boolean);
    const letter = number < 26 ? `${String.fromCharCode(65 + number)}. ` : "";
    const item = element("li", `${chosen ? "chosen" : ""} ${right ? "right" : ""}`.trim());
    item.append(element("span", "text", letter, visible(option)), element("span", "marks", marks.join(", ")));
    list.append(item);
  });
  return list;
}

function numbersOf(turn) {
  const parts = [];
  if (turn.input || turn.output) parts.push(`${turn.input ?? 0} tokens in, ${turn.output ?? 0} out`);
  if (turn.cached) parts.push(turn.saved ? `cached, saved ${dollars(turn.saved)}` : "cached");
  else if (turn.cost) parts.push(dollars(turn.cost));
  if (turn.seconds) parts.push(`${turn.seconds.toFixed(2)} s`);
  if (turn.action || turn.category) parts.push(`action ${turn.action ?? "-"}, category ${turn.category ?? "-"}`);
  if (turn.key) parts.push(`key ${visible(turn.key)}`);
  return parts.join(" \u00b7 ");
}

/** What the judges said of an open-ended answer, side by side. */
function verdictsView(run, episode, two) {
  const list = element("div", "verdicts");
  for (const verdict of episode.verdicts) {
    const name = `${two ? `${visible(run.label)}: ` : ""}${visible(verdict.judge)}`;
    const box = element("div", "verdict", element("h3", "", name));
    const says = (figure) => (figure === null ? "unread" : figure ? "yes" : "no");
    const figures = `category ${says(verdict.category)} \u00b7 suggestion ${says(verdict.suggestion)}`;
    box.append(element("p", "note", verdict.own ? `${figures} (the run's judge)` : figures));
    for (const answer of verdict.answers) box.append(textBlock(answer, "text said"));
    list.append(box);
  }
  const valid = element("p", "note text", `Valid answers, as the judge was told: ${visible(episode.verdicts[0].valid)}`);
  return element("div", "", list, valid);
}
