// A table of one's own texts: read here, explained in parts, sorted by how sure the model is.

import { postPatiently } from "./api.js";
import { decoded, parsed } from "./csv.js";
import { element, find, latest, percent, shortened, tell } from "./dom.js";
import * as form from "./form.js";

const TOGETHER = 32; // texts of a request, so that rows appear while others wait
const ROWS = 5000;
const LABELS = ["label", "class", "category", "sentiment", "target", "gold", "y"];
const TEXTS = ["text", "sentence", "review", "content", "message", "body"];

let limits = null;
let open = null;
let names = [];
let rows = [];

/** Return the place of a label among the model's, by name or number; -1 if it has none such. */
function placeOf(label) {
  const { labels } = form.model();
  const found = labels.findIndex((name) => name.toLowerCase() === label.trim().toLowerCase());
  if (found >= 0) return found;
  return /^\d+$/.test(label.trim()) && Number(label) < labels.length ? Number(label) : -1;
}

function guessed() {
  const length = (column) => rows.reduce((sum, row) => sum + (row[column] ?? "").length, 0);
  const named = (wanted) => names.findIndex((name) => wanted.includes(name.trim().toLowerCase()));
  const longest = names.map((_, n) => n).reduce((a, b) => (length(b) > length(a) ? b : a), 0);
  const text = named(TEXTS) >= 0 ? named(TEXTS) : longest;
  const fits = (column) => column !== text && rows.every((row) => placeOf(row[column] ?? "") >= 0);
  const label = named(LABELS) >= 0 ? named(LABELS) : names.findIndex((_, n) => fits(n));
  return { text, label: label === text ? -1 : label };
}

async function choose() {
  const [file] = find("file").files;
  clear({ keepFile: true });
  if (!file) return;
  try {
    [names, ...rows] = parsed(decoded(await file.arrayBuffer()));
    if (!rows.length) throw new Error(`${file.name} has no rows below its heading. Choose another.`);
    if (rows.length > ROWS) {
      throw new Error(
        `${file.name} has ${rows.length} rows, and this page takes ${ROWS}. Use normxlogit corpus for more.`
      );
    }
  } catch (error) {
    tell(error.message, { isError: true });
    return;
  }
  const options = () => names.map((name, n) => element("option", { value: n }, name || `column ${n + 1}`));
  find("text-column").replaceChildren(...options());
  find("label-column").replaceChildren(element("option", { value: -1 }, "none"), ...options());
  const { text, label } = guessed();
  find("text-column").value = text;
  find("label-column").value = label;
  find("columns").hidden = false;
  tell(`${rows.length} rows. Check the columns, then explain them.`);
}

/** Yield items in parts that a request may hold. */
function* inParts(items) {
  let part = [];
  let size = 0;
  for (const item of items) {
    // JSON takes six bytes for a character at most.
    const bytes = 6 * item.text.length + 8;
    if (part.length && (part.length === Math.min(TOGETHER, limits.items) || size + bytes > limits.body / 2)) {
      yield part;
      [part, size] = [[], 0];
    }
    part.push(item);
    size += bytes;
  }
  if (part.length) yield part;
}

const explain = latest(async (signal) => {
  const [textColumn, labelColumn] = ["text-column", "label-column"].map((id) => Number(find(id).value));
  const { method } = form.values();
  const items = rows.map((row, n) => ({
    number: n + 1,
    text: row[textColumn] ?? "",
    label: labelColumn < 0 ? null : row[labelColumn] ?? "",
  }));
  const [body] = find("rows").tBodies;
  body.replaceChildren();
  find("rows").hidden = false;
  find("rows").classList.toggle("app-no-labels", labelColumn < 0);
  const tooLong = ({ text }) => Array.from(text).length > limits.characters || 6 * text.length > limits.body / 2;
  const refused = items.filter((item) => !item.text.trim() || tooLong(item));
  for (const item of refused) {
    body.append(failed(item, item.text.trim() ? "This text is too long for this server." : "This row has no text."));
  }
  find("stop").hidden = false;
  let done = refused.length;
  try {
    for (const part of inParts(items.filter((item) => !refused.includes(item)))) {
      tell(`Explained ${done} of ${items.length} …`);
      const asked = { model: form.values().model, text: part.map(({ text }) => text), unit: "word" };
      const results = await postPatiently("v1/explain", { ...asked, ...(method && { method }) }, signal);
      results.forEach((result, n) => {
        body.append(result.error ? failed(part[n], result.error) : explained(part[n], result));
      });
      done += part.length;
    }
  } finally {
    find("stop").hidden = true;
    sort(labelColumn < 0 ? "confidence" : "disagreement", labelColumn < 0 ? 1 : -1);
  }
  const wrong = body.querySelectorAll(".app-wrong").length;
  const agrees = labelColumn < 0 ? "" : `; the model disagrees with the label of ${wrong}`;
  tell(`${done} of ${items.length} rows${agrees}.`);
});

function opener({ text }) {
  const button = element("button", { type: "button", dir: "auto", title: shortened(text, 600) }, shortened(text, 120));
  button.addEventListener("click", () => open(text));
  return element("td", {}, text.trim() ? button : "");
}

function failed(item, why) {
  return element("tr", {},
    element("td", { className: "nx-number" }, String(item.number)), opener(item),
    element("td", { className: "nx-quiet" }, why),
    ...["", "app-label", "app-label", ""].map((className) => element("td", { className })));
}

/** Return the word whose score is the largest by size. */
function strongest({ scores, special, offsets, segments, texts }) {
  let best = -1;
  scores.forEach((score, n) => {
    if (score === null || special[n]) return;
    if (best < 0 || Math.abs(score) > Math.abs(scores[best])) best = n;
  });
  if (best < 0) return "";
  return Array.from(texts[segments[best]]).slice(...offsets[best]).join("").trim();
}

function explained(item, result) {
  const { predicted, outputs, problem } = result.prediction;
  const isChance = predicted.length > 0 && predicted[0].probability !== null;
  const sure = predicted.length ? Math.max(...predicted.map((p) => p.probability ?? p.logit)) : 0;
  const said = problem === "regression" ? "" : predicted.map(({ label }) => label).join(", ") || "no label";
  const place = item.label === null ? -1 : placeOf(item.label);
  const given = outputs.find(({ label }) => label === form.model().labels[place]);
  const disagreement = given?.probability === undefined || given.probability === null ? null : 1 - given.probability;
  const isWrong = Boolean(given) && !predicted.some(({ label }) => label === given.label);
  const cell = (text, key, className = "") => {
    const node = element("td", { className }, text);
    if (key !== undefined) node.dataset.sort = key ?? "";
    return node;
  };
  return element("tr", { className: isWrong ? "app-wrong" : "" },
    cell(String(item.number), item.number, "nx-number"), opener(item), cell(said),
    cell(isChance ? percent(sure) : sure.toFixed(2), sure, "nx-number"),
    cell(item.label ?? "", undefined, "app-label"),
    cell(disagreement === null ? "–" : percent(disagreement), disagreement, "nx-number app-label"),
    cell(shortened(strongest(result), 30)));
}

/** Sort as pressing the heading would, in this direction. */
function sort(by, sign) {
  const head = find(`by-${by}`);
  head.removeAttribute("aria-sort");
  head.dataset.first = sign < 0 ? "descending" : "ascending";
  head.querySelector("button").click();
}

export function clear({ keepFile = false } = {}) {
  explain.cancel();
  [names, rows] = [[], []];
  if (!keepFile) find("file").value = "";
  find("columns").hidden = true;
  find("rows").hidden = true;
  tell("");
}

export function listen(given, opening) {
  [limits, open] = [given, opening];
  find("file").addEventListener("change", choose);
  find("columns").addEventListener("submit", (event) => {
    event.preventDefault();
    explain();
  });
  find("stop").addEventListener("click", () => {
    explain.cancel();
    tell("Stopped.");
  });
}
