/** Numbers and bars as the pages of the package show them: normxlogit/show/phrases.py, markup.py. */

/** The largest score by size; 1 if all are 0, or there are none. */
export const scale = (scores) => Math.max(...scores.map(Math.abs), 0) || 1;

/** A score with its sign, with three figures for the largest. */
export function number(score, largest) {
  const places = Math.max(0, 2 - Math.floor(Math.log10(largest)));
  const figure = Math.abs(score).toFixed(places);
  return (score < 0 && Number(figure) ? "−" : "+") + figure;
}

/** A probability in a form that never claims certainty. */
export function percent(probability) {
  if (probability > 0 && probability < 0.001) return "<0.1%";
  return probability > 0.999 && probability < 1 ? ">99.9%" : `${(100 * probability).toFixed(1)}%`;
}

/** Text with signs for its control characters, on one line. */
export const oneLine = (text) =>
  text
    .replace(/\r\n?/g, "\n")
    .replace(/[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, (character) => {
      const code = character.charCodeAt(0);
      if (code === 0x7f) return "␡";
      return code < 0x20 ? String.fromCharCode(0x2400 + code) : "\ufffd";
    })
    .replaceAll("\n", "↵")
    .replaceAll("\t", "⇥");

/** Numbers of scores, those of the largest size first. */
export const strongestFirst = (scores) =>
  scores.map((_, i) => i).sort((i, j) => Math.abs(scores[j]) - Math.abs(scores[i]));

/**
 * The way from one value to another, each step beginning where the one before it ends.
 *
 * @param {[string, number][]} changes the name and size of each step.
 * @returns {{name: string, size: number, start: number, end: number}[]}
 */
export function steps(start, changes) {
  return changes.map(([name, size]) => {
    const step = { name, size, start, end: start + size };
    start = step.end;
    return step;
  });
}
