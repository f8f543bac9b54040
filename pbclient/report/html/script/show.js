// Texts and elements. What models and data say enters the page as text and in no other way.

// Control characters, those that change the direction of what follows, and half surrogate pairs.
const UNSEEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\p{Cs}/gu;

const LONGEST = 4000; // characters of an answer that are shown at once

/** The text with what cannot be seen as its code point, such as [U+202E]. */
function visible(text) {
  const code = (letter) => letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
  return String(text).replace(UNSEEN, (letter) => `[U+${code(letter)}]`);
}

/** An element with these classes and children; a string becomes text. */
function element(tag, classes = "", ...children) {
  const made = document.createElement(tag);
  if (classes) made.className = classes;
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

function button(words, act, title = "") {
  const made = element("button", "", words);
  made.type = "button";
  if (title) made.title = title;
  made.addEventListener("click", act);
  return made;
}

/** A text of others, cut where it is long, with a button for the rest. */
function textBlock(text, classes = "text") {
  const block = element("div", classes, visible(text.slice(0, LONGEST)));
  if (text.length > LONGEST) {
    const more = button(`Show all ${text.length.toLocaleString("en")} characters`, () => {
      block.textContent = visible(text);
    });
    block.append("... ", more);
  }
  return block;
}

/** A labelled choice; `options` are [value, words]. */
function choice(label, options, change) {
  const select = element("select");
  for (const [value, words] of options) {
    const option = element("option", "", words);
    option.value = value;
    select.append(option);
  }
  select.addEventListener("change", change);
  const made = element("label", "", label, select);
  return { label: made, select };
}

const RESULTS = {
  right: ["good", "\u2713", "right"],
  wrong: ["bad", "\u2717", "wrong"],
  unscored: ["odd", "\u2013", "without a score"],
};

/** A mark for how an episode ended, with its turns. */
function resultMark(episode, label = "") {
  if (!episode) return element("span", "odd", label ? `${label} absent` : "absent");
  const [kind, sign, words] = RESULTS[episode.result];
  const turns = episode.turns.length;
  const made = element("span", kind, `${label ? `${label} ` : ""}${sign}\u00a0${turns}`);
  made.title = `${label} ${words}, ${turns} turn${turns === 1 ? "" : "s"}`.trim();
  return made;
}

/** Dollars with the digits that matter. */
function dollars(amount) {
  return `$${amount >= 0.1 ? amount.toFixed(2) : Number(amount.toPrecision(2)).toString()}`;
}

/** Copy a text, also where the page is a file. */
async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
