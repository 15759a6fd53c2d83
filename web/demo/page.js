/** The page: what is typed goes to the worker, and what it says of the text is shown. */

import { number, oneLine, percent, scale, steps, strongestFirst } from "./figures.js";

const PAUSE = 150; // how many milliseconds nothing is typed before the text is explained
const LISTED = 10; // how many words are listed before the others are asked for
const IN_SUM = 3; // how many words have a term of their own in the sum on a line

const byId = (id) => document.getElementById(id);
const box = byId("box");
const worker = new Worker("worker.js", { type: "module" });
let isBusy = true; // until the model is there
let timer;

for (const section of byId("methods").children) section.append(byId("scores").content.cloneNode(true));
byId("status").replaceChildren("Loading the model …");
box.addEventListener("input", () => {
  byId("page").ariaBusy = "true";
  clearTimeout(timer);
  timer = setTimeout(ask, PAUSE);
});
worker.onmessage = ({ data: { text, explanation, failure } }) => {
  if (text === undefined && failure) return say(failure); // the model did not load, so it stays busy
  isBusy = false;
  if (text === box.value) show(explanation, failure);
  else ask();
};
worker.onerror = () => say("The model could not be loaded. Reload the page, in a browser from 2024 or later.");

function ask() {
  clearTimeout(timer);
  if (isBusy) return;
  if (!box.value.trim()) return say("Type a text to see the model’s prediction, and the words that it rests on.");
  isBusy = true;
  worker.postMessage(box.value);
}

/** Say something instead of a result. */
function say(...nodes) {
  byId("status").replaceChildren(...nodes);
  byId("methods").hidden = byId("unlike").hidden = true;
  byId("page").ariaBusy = "false";
}

function show(explanation, failure) {
  if (failure) return say(failure);
  const { outputs, pieces, names, scores, base, distance } = explanation;
  const [first, next] = outputs;
  say(
    "Prediction: ",
    element("strong", {}, first.label),
    ` ${percent(first.probability)} `,
    element("span", { class: "nx-quiet" }, `next ${next.label} ${percent(next.probability)}`),
  );
  byId("unlike").hidden = distance <= 1;
  byId("unlike").textContent =
    "This text is unlike those that the attribution head was fitted on (distance " +
    `${distance.toFixed(2)}, where 99 of 100 such texts are below 1): trust its scores less.`;
  const shown = names.map(oneLine);
  fill(byId("normxlogit"), first.label, pieces, shown, scores.normxlogit);
  fill(byId("head"), first.label, pieces, shown, scores.head, base);
  byId("methods").hidden = false;
}

/** Fill the section of a method; `base` is what its scores add up from, if they do. */
function fill(section, label, pieces, names, scores, base) {
  const part = (selector) => section.querySelector(selector);
  const order = strongestFirst(scores);
  const rows = scoreRows(order, names, scores);
  part(".nx-text").replaceChildren(...marked(pieces, scores, label));
  part(".nx-legend").replaceChildren(...legend(scores, label));
  part(".strongest").replaceChildren(...rows.slice(0, LISTED));
  part(".others").hidden = rows.length <= LISTED;
  part(".others summary").textContent = `Show all ${rows.length} words`;
  part(".others tbody").replaceChildren(...rows.slice(LISTED));
  part(".fall").hidden = base === undefined;
  if (base === undefined) return;
  const total = scores.reduce((sum, score) => sum + score, base);
  const goal = `the centred logit of ${label}`;
  part(".fall summary").replaceChildren(...sum(base, changes(order.slice(0, IN_SUM), names, scores), total, goal));
  part(".fall tbody").replaceChildren(
    ...fallRows(base, changes(order.slice(0, LISTED), names, scores), total, goal),
  );
}

/** The text, its words in the colours of their scores. */
function marked(pieces, scores, label) {
  const largest = scale(scores);
  return pieces.map(({ text, word }) => {
    if (word === null) return text;
    const mark = element("mark", { title: `${number(scores[word], largest)}, ${label}` }, text);
    mark.classList.toggle("nx-against", scores[word] < 0);
    mark.style.setProperty("--share", Math.abs(scores[word] / largest).toFixed(2));
    return mark;
  });
}

function legend(scores, label) {
  const above = scores.some((score) => score > 0);
  const below = scores.some((score) => score < 0);
  const signs = [];
  if (above || !below) signs.push(element("span", {}, element("mark", {}, "+"), ` supports ${label}`));
  if (below || !above) signs.push(element("span", {}, element("mark", { class: "nx-against" }, "−"), " opposes it"));
  return signs;
}

function scoreRows(order, names, scores) {
  const largest = scale(scores);
  const [low, high] = [Math.min(0, ...scores), Math.max(0, ...scores)];
  return order.map((i) => row(names[i], scores[i], largest, track(0, scores[i], low, high)));
}

/** What words add, in this order, and at the end what all others add together. */
function changes(order, names, scores) {
  const named = order.map((i) => [names[i], scores[i]]);
  const rest = scores.filter((_, i) => !order.includes(i));
  if (rest.length) {
    const together = rest.reduce((sum, score) => sum + score);
    named.push([`${rest.length} other word${rest.length > 1 ? "s" : ""}`, together]);
  }
  return named;
}

function sum(base, terms, total, goal) {
  const largest = scale([base, total, ...terms.map(([, size]) => size)]);
  const term = ([name, size]) => [
    element("bdi", {}, name),
    element("span", { class: "nx-note" }, `\u00a0${number(size, largest)}`),
  ];
  return [
    ...[["base value", base], ...terms].flatMap((each, i) => (i ? [", ", ...term(each)] : term(each))),
    ` = ${number(total, largest)}, ${goal}`,
  ];
}

function fallRows(base, terms, total, goal) {
  const way = steps(base, terms);
  const ends = [base, ...way.map(({ end }) => end)];
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const largest = scale([base, total, ...way.map(({ size }) => size)]);
  return [
    row("base value", base, largest, element("td")),
    ...way.map(({ name, size, start, end }) => row(name, size, largest, track(start, end, low, high, base))),
    row("all of these", total - base, largest, track(base, total, low, high, base)),
    row(goal, total, largest, element("td")),
  ];
}

function row(name, score, largest, bar) {
  return element(
    "tr",
    {},
    element("th", { scope: "row", dir: "auto" }, name),
    element("td", { class: "nx-number" }, element("data", { value: score }, number(score, largest))),
    bar,
  );
}

/** A table's cell with a bar from one value to another, on a scale from `low` to `high`. */
function track(from, to, low, high, zero = 0) {
  const percentage = (value) => `${(100 * value) / (high - low || 1)}%`;
  const bar = element("i", { class: to < from ? "nx-against" : "" });
  bar.style.left = percentage(Math.min(from, to) - low);
  bar.style.width = percentage(Math.abs(to - from));
  const line = element("b");
  line.style.left = percentage(zero - low);
  return element("td", { "aria-hidden": "true" }, element("span", { class: "nx-track" }, bar, line));
}

/** An element with attributes and children; texts become text nodes, whatever is in them. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
