// The page as a whole: its views, what it shows of a text, and its address.

import * as address from "./address.js";
import { get, post } from "./api.js";
import * as chat from "./chat.js";
import { draw, find, latest, tell } from "./dom.js";
import * as form from "./form.js";
import * as table from "./table.js";
import * as trial from "./trial.js";

const VIEWS = ["text", "compare", "table", "chat", "sources"];
let view = "text";
let taken = [];

function save(isNew) {
  const state = { ...form.values(), view };
  // Of each view what it shows.
  if (view === "compare") state.method = "";
  else state.methods = "";
  if (view === "text") state.without = taken.join(",");
  address.write(state, isNew);
}

function show(name) {
  const wanted = document.querySelector(`nav button[value="${CSS.escape(name)}"]`);
  const possible = document.querySelector("nav button:not([hidden])");
  view = VIEWS.includes(name) && !wanted.hidden ? name : possible?.value ?? "text";
  document.body.dataset.view = view;
  for (const button of document.querySelectorAll("nav button")) {
    if (button.value === view) button.setAttribute("aria-current", "page");
    else button.removeAttribute("aria-current");
  }
  for (const part of document.querySelectorAll("[data-views]")) {
    part.hidden = !part.dataset.views.split(" ").includes(view);
  }
  tell("");
}

function clear() {
  for (const id of ["result", "comparison"]) find(id).replaceChildren();
  find("trial").hidden = true;
}

const explain = latest(async (signal, again = []) => {
  tell("Explaining …");
  const { method } = form.values();
  const asked = { ...form.request(), ...(method && { method }) };
  const result = await post("v1/explain", asked, signal);
  const drawn = await draw(result, find("result"), signal);
  taken = again;
  const changed = (words) => {
    taken = words;
    save(false);
  };
  trial.begin(find("result"), { result, asked, given: drawn.trial, taken, changed });
  tell("");
});

const compare = latest(async (signal) => {
  const methods = form.values().methods.split(",").filter(Boolean);
  if (!methods.length) throw new Error("No method is chosen. Tick two or more.");
  tell("Comparing …");
  const result = await post("v1/compare", { ...form.request(), methods }, signal);
  await draw(result, find("comparison"), signal);
  tell("");
});

function run(again) {
  if (!form.values().text.trim()) {
    tell("Type a text, or pick one.", { isError: true });
    find("text").focus();
    return;
  }
  clear();
  if (view === "compare") compare();
  else explain(again);
}

/** Show what the address says; "Back" and a colleague's link both end here. */
function restore() {
  const state = address.read();
  form.fill(state);
  show(state.view || "text");
  clear();
  taken = [];
  if (state.text && (view === "text" || view === "compare")) {
    run(state.without.split(",").filter(Boolean).map(Number));
  }
}

/** Explain a text that comes from elsewhere on the page. */
function open(text) {
  save(true);
  find("text").value = text;
  taken = [];
  show("text");
  save(true);
  run();
  find("text").focus();
}

function listen() {
  for (const button of document.querySelectorAll("nav button")) {
    button.addEventListener("click", () => {
      show(button.value);
      save(true);
      const place = find(view === "compare" ? "comparison" : "result");
      const asked = view === "text" || view === "compare";
      if (asked && form.values().text.trim() && !place.hasChildNodes()) run();
    });
  }
  find("model").addEventListener("change", () => {
    const { text, pair } = form.values();
    form.fill({ ...address.read(), text, pair, model: find("model").value, target: "", contrast: "" });
    clear();
    chat.clear();
    table.clear();
    show(view);
    taken = [];
    save(true);
  });
  find("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    taken = [];
    save(true);
    run();
  });
  find("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("ask").requestSubmit();
  });
  find("sample").addEventListener("change", () => {
    if (!find("sample").value) return;
    find("text").value = find("sample").value;
    find("sample").value = "";
    find("ask").requestSubmit();
  });
  find("put-back").addEventListener("click", trial.putBack);
  find("try-strongest").addEventListener("click", () => trial.tryStrongest());
  window.addEventListener("popstate", restore);
}

async function start() {
  // First, for the first request may already need the key.
  find("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    find("key").close("ok");
  });
  find("key-cancel").addEventListener("click", () => find("key").close(""));
  const { models, limits } = await get("v1/models");
  form.fillModels(models);
  listen();
  table.listen(limits, open);
  chat.listen(() => save(true));
  restore();
  document.body.dataset.ready = "";
}

start().catch((error) => tell(error.message, { isError: true }));
