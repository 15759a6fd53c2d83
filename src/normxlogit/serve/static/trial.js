// Words taken away from a text, and what the model says then beside what the scores claimed.

import { post } from "./api.js";
import { element, find, latest, percent, shortened, signed, tell } from "./dom.js";

const STRONGEST = 6;
const SMALL = 0.005; // a probability that moves by less is said not to move

let trial = null;

/** Special words, such as sinks, have no rank and stay. */
const canTake = (word) => typeof word?.rank === "number";

/** Return a text without these words, [start, end] by character, and without the space of each. */
export function without(text, spans) {
  const signs = Array.from(text);
  for (const [start, end] of [...spans].sort((a, b) => b[0] - a[0])) {
    const isSpace = (n) => /[^\S\n]/.test(signs[n] ?? "");
    const before = start === 0 || isSpace(start - 1) || signs[start - 1] === "\n";
    if (before && isSpace(end)) signs.splice(start, end - start + 1);
    else if (isSpace(start - 1) && /[.,;:!?)]/.test(signs[end] ?? "")) signs.splice(start - 1, end - start + 1);
    else signs.splice(start, end - start);
  }
  return signs.join("").trim();
}

/** What the model says of what is explained: a probability, or else an output. */
function measured(result) {
  const [target] = result.targets;
  const foil = result.provenance.contrast;
  const of = (label) => result.prediction.outputs?.find((output) => output.label === label);
  if (foil !== null) return { name: `${target.label} rather than ${foil}`, value: of(target.label).logit - of(foil).logit };
  const isChance = target.probability !== null;
  return { name: target.label, value: isChance ? target.probability : target.logit, isChance };
}

const shown = ({ value, isChance }) => (isChance ? percent(value) : signed(value));

function canTry(result, given) {
  if (!given?.words.length || !["text", "pair"].includes(result.kind) || result.targets.length !== 1) return false;
  if (result.messages.length || result.targets[0].position !== null) return false;
  const foil = result.provenance.contrast;
  return foil === null || Boolean(result.prediction.outputs?.some(({ label }) => label === foil));
}

/**
 * Let words of a drawn result be taken away.
 *
 * `asked` is the request that it answers, `given` what the server says of its words, `taken` the
 * numbers of those that are away from the start; `changed` is told which are.
 */
export function begin(place, { result, asked, given, taken, changed }) {
  trial = null;
  const words = given?.words ?? [];
  const panel = find("trial");
  const marks = Array.from(place.querySelectorAll(".nx-text mark[title]"));
  panel.hidden = !canTry(result, given) || marks.length !== words.length;
  for (const id of ["tried", "trial-outcome", "trial-summary"]) find(id).replaceChildren();
  find("tried-table").hidden = true;
  find("put-back").disabled = true;
  if (panel.hidden) return;
  const total = words.reduce((sum, { score }) => sum + Math.abs(score ?? 0), 0);
  const { claims } = given;
  trial = { result, asked, claims, words, marks, total, taken: new Set(), changed, whole: measured(result) };
  find("trial-measure").textContent = trial.whole.name;
  marks.forEach((mark, n) => {
    if (!canTake(words[n])) return;
    mark.setAttribute("role", "button");
    mark.setAttribute("aria-pressed", "false");
    mark.title += ". Press to take it away, or put it back.";
    mark.tabIndex = -1;
    mark.addEventListener("click", (event) => {
      event.preventDefault(); // of a summary, which it would open
      focusOn(n);
      toggle(n);
    });
    mark.addEventListener("keydown", (event) => pressed(event, n));
  });
  const first = words.findIndex(canTake);
  if (first >= 0) marks[first].tabIndex = 0;
  const again = taken.filter((n) => canTake(words[n]));
  again.forEach((n) => mark(n, true));
  if (again.length) update();
}

function pressed(event, n) {
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
  if (event.key === "Enter" || event.key === " ") toggle(n);
  else if (event.key in steps) {
    let next = n + steps[event.key];
    while (trial.words[next] && !canTake(trial.words[next])) next += steps[event.key];
    if (trial.marks[next]) focusOn(next);
  } else return;
  event.preventDefault();
}

/** One word can be reached by the Tab key; arrows lead on from it. */
function focusOn(n) {
  trial.marks.forEach((mark, m) => {
    if (canTake(trial.words[m])) mark.tabIndex = m === n ? 0 : -1;
  });
  trial.marks[n].focus();
}

function mark(n, isTaken) {
  trial.taken[isTaken ? "add" : "delete"](n);
  trial.marks[n].setAttribute("aria-pressed", String(isTaken));
  trial.marks[n].classList.toggle("app-taken", isTaken);
}

function toggle(n) {
  mark(n, !trial.taken.has(n));
  update();
}

export function putBack() {
  if (!trial) return;
  [...trial.taken].forEach((n) => mark(n, false));
  update();
}

function update() {
  const taken = [...trial.taken].sort((a, b) => a - b);
  trial.changed(taken);
  tryTogether(trial, taken);
}

/** Return the request for a text without words; of the same output, whatever is predicted then. */
function requestWithout(tried, sets) {
  const texts = tried.result.texts;
  const edited = sets.map((set) =>
    texts.map((text, segment) => {
      const spans = set.map((n) => tried.words[n]).filter((word) => word.segment === segment);
      return without(text, spans.map(({ start, end }) => [start, end]));
    })
  );
  const empty = edited.findIndex((parts) => parts.some((text) => !text));
  if (empty >= 0) throw new Error("Nothing would be left of the text. Put a word back.");
  const asked = { ...tried.asked, text: edited.map(([text]) => text) };
  if (texts.length > 1) asked.pair = edited.map(([, text]) => text);
  if (tried.result.prediction.problem !== "regression") asked.target = tried.result.targets[0].id;
  return asked;
}

async function outcomes(tried, sets, signal) {
  const results = await post("v1/explain", requestWithout(tried, sets), signal);
  const failed = results.find((result) => result.error);
  if (failed) throw new Error(failed.error);
  return results.map((result, n) => outcome(tried, sets[n], result));
}

/** What the scores claim of words, what happened without them, and whether the two agree. */
function outcome(tried, set, result) {
  const words = set.map((n) => tried.words[n]);
  const texts = words.map(({ segment, start, end }) =>
    Array.from(tried.result.texts[segment]).slice(start, end).join("")
  );
  const score = words.reduce((sum, word) => sum + word.score, 0);
  const now = measured(result);
  const moved = now.value - tried.whole.value;
  const hardly = Math.abs(moved) < (now.isChance ? SMALL : 0.05);
  const predicted = ({ prediction }) => prediction.predicted.map(({ label }) => label).join(", ");
  const agrees = moved < 0 === score > 0 ? "as claimed" : "not as claimed";
  const verdict = hardly ? "hardly moves" : tried.claims === "sides" ? agrees : "moves";
  const turned = predicted(result) === predicted(tried.result) ? "" : predicted(result);
  return { names: texts, words, score, now, moved, verdict, turned };
}

const change = ({ moved, now }) =>
  now.isChance ? `${signed(100 * moved, 1)} points` : signed(moved);

const quoted = (names) => names.map((name) => `“${shortened(name, 30)}”`).join(" ");

function claim(tried, { words, score }) {
  if (tried.claims === "order") {
    const count = tried.words.filter(canTake).length;
    return `rank ${words.map(({ rank }) => rank).sort((a, b) => a - b).join(", ")} of ${count}`;
  }
  const isSided = tried.claims === "sides";
  const part = isSided
    ? Math.abs(score) / (tried.total || 1)
    : words.reduce((sum, { share }) => sum + share, 0);
  const side = score > 0 ? "for it" : "against it";
  return `${isSided ? `${side}, ` : ""}${(100 * part).toFixed(0)}% of all scores`;
}

const tryTogether = latest(async (signal, tried, taken) => {
  const place = find("trial-outcome");
  find("put-back").disabled = !taken.length;
  if (!taken.length) {
    place.replaceChildren();
    return;
  }
  const [tested] = await outcomes(tried, [taken], signal);
  if (tried !== trial) return;
  const strong = (text) => element("strong", {}, text);
  place.replaceChildren(
    `Without ${quoted(tested.names)}: ${tried.whole.name} `,
    strong(`${shown(tried.whole)} → ${shown(tested.now)}`),
    ` (${change(tested)}). The scores claim: ${claim(tried, tested)}. `,
    strong(`${tested.verdict.charAt(0).toUpperCase()}${tested.verdict.slice(1)}.`),
    tested.turned ? ` The prediction is now ${tested.turned}.` : ""
  );
  addRows(tried, [tested]);
  tell("");
});

function addRows(tried, tested) {
  const body = find("tried");
  for (const each of tested) {
    const name = quoted(each.names);
    for (const row of body.rows) if (row.cells[0].textContent === name) row.remove();
    body.prepend(
      element("tr", {},
        element("th", { scope: "row", dir: "auto" }, name),
        element("td", {}, claim(tried, each)),
        element("td", { className: "nx-number" }, shown(each.now)),
        element("td", { className: "nx-number" }, change(each)),
        element("td", { className: each.verdict === "not as claimed" ? "app-refuted" : "" }, each.verdict))
    );
  }
  find("tried-table").hidden = false;
}

/** Take away each of the strongest words, one by one. */
export const tryStrongest = latest(async (signal) => {
  const tried = trial;
  const ranked = [...tried.words.keys()]
    .filter((n) => canTake(tried.words[n]))
    .sort((a, b) => tried.words[a].rank - tried.words[b].rank)
    .slice(0, STRONGEST);
  const tested = await outcomes(tried, ranked.map((n) => [n]), signal);
  if (tried !== trial) return;
  addRows(tried, tested.reverse());
  const isSided = tried.claims === "sides";
  const held = tested.filter(({ verdict }) => verdict === (isSided ? "as claimed" : "moves")).length;
  find("trial-summary").textContent = `Of the ${tested.length} strongest words, ${held} move the prediction${isSided ? " as the scores claim" : ""}.`;
});
