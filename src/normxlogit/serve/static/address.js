// The state of the page, in its address. Texts stand in the fragment, which browsers send nowhere.

const QUERY = ["view", "model", "method", "methods", "target", "contrast"];
const FRAGMENT = ["text", "pair", "choices", "without", "question", "documents"];

export function read() {
  const parts = [
    [QUERY, new URLSearchParams(location.search)],
    [FRAGMENT, new URLSearchParams(location.hash.slice(1))],
  ];
  const state = {};
  for (const [names, values] of parts) {
    for (const name of names) state[name] = values.get(name) ?? "";
  }
  return state;
}

function written(names, state) {
  return new URLSearchParams(names.filter((n) => state[n]).map((n) => [n, state[n]])).toString();
}

/** Write the state; `isNew` if the button "Back" should lead to what was there before. */
export function write(state, isNew) {
  const address = `${location.pathname}?${written(QUERY, state)}#${written(FRAGMENT, state)}`;
  if (address === location.pathname + location.search + location.hash) return;
  history[isNew ? "pushState" : "replaceState"](null, "", address);
}
