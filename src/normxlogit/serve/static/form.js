// The fields: what a model takes, and what was filled in.

import { element, find } from "./dom.js";

const FIELDS = ["text", "pair", "choices", "question", "documents"];
const PAIRS = { "question-answering": "The text that answers it" };

let served = [];

export const model = () => served.find((each) => each.name === find("model").value);

export function fillModels(models) {
  served = models;
  find("model").replaceChildren(...models.map(({ name }) => element("option", { value: name }, name)));
}

/** A menu of labels, or where a model has too many of them (tokens) a field. */
function replaceChoice(id, labels, empty) {
  const old = find(id);
  const node = labels.length
    ? element("select", { id })
    : element("input", { id, type: "text", placeholder: empty, autocomplete: "off" });
  if (labels.length) {
    node.append(element("option", { value: "" }, empty));
    node.append(...labels.map((label) => element("option", { value: label }, label)));
  }
  old.replaceWith(node);
}

/** Show the fields that the model takes. */
export function adapt() {
  const { task, labels, endpoints } = model();
  replaceChoice("target", labels, "the prediction");
  replaceChoice("contrast", labels, "nothing");
  if (labels.length > 1) find("target").append(element("option", { value: "all" }, "all labels"));
  const takesChoices = task === "multiple-choice";
  find("choices-field").hidden = !takesChoices;
  find("pair-field").hidden = takesChoices || !["text-classification", ...Object.keys(PAIRS)].includes(task);
  find("pair-label").textContent = PAIRS[task] ?? "Second text, for models of pairs";
  const views = { text: "explain", compare: "compare", table: "explain", chat: "generate", sources: "sources" };
  for (const button of document.querySelectorAll("nav button")) {
    button.hidden = !endpoints.includes(views[button.value]);
  }
  find("view-table").hidden ||= task !== "text-classification";
}

const chosen = () =>
  Array.from(document.querySelectorAll("#methods input:checked"), (box) => box.value);

/** Return what is filled in, as the address holds it. */
export function values() {
  const filled = Object.fromEntries(FIELDS.map((id) => [id, find(id).value]));
  const set = { model: find("model").value, method: find("method").value };
  for (const id of ["target", "contrast"]) set[id] = find(id).value;
  return { ...filled, ...set, methods: chosen().join(",") };
}

/** Fill in what an address holds. */
export function fill(state) {
  if (served.some(({ name }) => name === state.model)) find("model").value = state.model;
  adapt();
  for (const id of [...FIELDS, "method", "target", "contrast"]) {
    find(id).value = state[id];
    if (find(id).tagName === "SELECT" && find(id).selectedIndex < 0) find(id).value = "";
  }
  if (state.methods) {
    const names = state.methods.split(",");
    for (const box of document.querySelectorAll("#methods input")) {
      box.checked = names.includes(box.value);
    }
  }
  if (state.pair) find("pair-field").open = true;
}

/** Return a request of the API for what is filled in, of these texts in place of the fields'. */
export function request({ text, pair } = {}) {
  const state = values();
  const asked = { model: state.model, text: text ?? state.text };
  const second = pair ?? state.pair;
  if (!find("pair-field").hidden && second) asked.pair = second;
  if (!find("choices-field").hidden) {
    asked.choices = state.choices.split("\n").filter((line) => line.trim());
  }
  for (const name of ["target", "contrast"]) if (state[name]) asked[name] = state[name];
  return asked;
}
