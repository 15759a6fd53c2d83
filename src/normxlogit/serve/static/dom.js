// Elements, numbers as words, and what is drawn by the server.

import { post } from "./api.js";

export const find = (id) => document.getElementById(id);

/** Make an element; what it holds is text, never HTML. */
export function element(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "role") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);
  return node;
}

export const percent = (share) => {
  if (share > 0 && share < 0.001) return "<0.1%";
  return share > 0.999 && share < 1 ? ">99.9%" : `${(100 * share).toFixed(1)}%`;
};

export const signed = (value, digits = 2) =>
  (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);

export const shortened = (text, most = 80) => {
  const line = text.replace(/\s+/g, " ").trim();
  const all = Array.from(line);
  return all.length > most ? `${all.slice(0, most - 1).join("").trim()}…` : line;
};

/** What a screen reader says, and everybody sees: what goes on, or what went wrong. */
export function tell(message, { isError = false } = {}) {
  find("status").textContent = isError ? "" : message;
  find("error").textContent = isError ? message : "";
  find("error").hidden = !isError || !message;
}

/** Show a result as the package draws it. Its HTML is the server's own, made by its templates. */
export async function draw(result, place, signal) {
  const drawn = await post("app/draw", { result }, signal).catch((error) => {
    if (error.status !== 413) throw error;
    throw new Error(
      "This result is too large for the server to draw. Ask for less, or start it with a larger --max-body."
    );
  });
  place.innerHTML = drawn.html;
  for (const name of drawn.scripts) {
    // A script runs once for each element that names it, and starts what has not been started.
    const script = element("script", { src: `static/${name}` });
    script.addEventListener("load", () => script.remove());
    document.head.append(script);
  }
  return drawn;
}

/** Run the latest of a kind of work only: whatever it replaces is cancelled. */
export function latest(work) {
  let controller = null;
  const run = async (...given) => {
    controller?.abort();
    const mine = (controller = new AbortController());
    try {
      return await work(mine.signal, ...given);
    } catch (error) {
      if (mine.signal.aborted) return undefined;
      tell(error.message, { isError: true });
      return undefined;
    } finally {
      if (controller === mine) controller = null;
    }
  };
  run.cancel = () => controller?.abort();
  return run;
}
