/**
 * Which tokens make a word: the rules of normxlogit/text/words.py and, for what a word is called, of
 * Attribution.words. Texts are arrays of code points, which is what Python counts.
 */

const LETTER = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const ALPHABETIC = /\p{L}/u;
const MARK = /\p{M}/u;
const APOSTROPHE = /['’ʼ]/u;
const HIDDEN = /[[\p{Default_Ignorable_Code_Point}\p{Cc}]--[\p{White_Space}\u200b]]/v;
const BLANK = /[\p{White_Space}\u200b\p{Default_Ignorable_Code_Point}\p{Cc}]/u;
const UNSPACED =
  /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Thai}\p{sc=Lao}\p{sc=Khmer}\p{sc=Myanmar}\p{sc=Tibetan}]/u;

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });

/**
 * Put tokens together to words.
 *
 * @param {string[]} characters of the text.
 * @param {{start: number, end: number, piece: number, isMarker: boolean}[]} tokens in their order:
 *   first character and last + 1, the tokenizer's own word, and whether it is a special token.
 * @returns {{numbers: number[], words: {start: number, end: number}[]}} the word of each token, -1
 *   for special ones, and where each word stands in the text.
 */
export function findWords(characters, tokens) {
  const inside = insideCharacters(characters);
  const numbers = numberWords(characters, inside, tokens);
  const words = [];
  tokens.forEach(({ start, end }, i) => {
    if (numbers[i] < 0) return;
    const word = (words[numbers[i]] ??= { start, end });
    word.start = Math.min(word.start, start);
    word.end = Math.max(word.end, end);
  });
  for (const word of words) {
    // A token may end within what a reader sees as one character; then all of it is shown.
    while (inside.has(word.end)) word.end++;
    const visible = firstVisible(characters, word.start, word.end);
    if (visible < word.end) word.start = visible;
  }
  return { numbers, words };
}

function numberWords(characters, inside, tokens) {
  const numbers = tokens.map(() => -1);
  let word = -1;
  let last = -1; // the last token of a word; -1 where the text begins or a special token stood
  let blank = []; // tokens without a visible character, which wait for the next word
  const endRun = () => {
    if (blank.length && last < 0) word++;
    for (const i of blank) numbers[i] = word;
    last = -1;
    blank = [];
  };
  tokens.forEach((token, i) => {
    if (token.isMarker) return endRun();
    const visible = firstVisible(characters, token.start, token.end);
    if (visible >= token.end) return void blank.push(i);
    const before = tokens[last];
    if (!before || !isJoined(characters, inside, before.end, visible, before.piece === token.piece)) word++;
    for (const number of [...blank, i]) numbers[number] = word;
    last = i;
    blank = [];
  });
  endRun();
  return numbers;
}

/** Indices of code points after the first of what a reader sees as one character. */
function insideCharacters(characters) {
  const inside = new Set();
  let at = 0;
  for (const { segment } of graphemes.segment(characters.join(""))) {
    const { length } = Array.from(segment);
    for (let i = 1; i < length; i++) inside.add(at + i);
    at += length;
  }
  return inside;
}

function firstVisible(characters, start, end) {
  while (start < end && BLANK.test(characters[start])) start++;
  return start;
}

/** Whether a token that ends at `end` and one visible from `start` make one word. */
function isJoined(characters, inside, end, start, samePiece) {
  for (let at = end; at <= start; at++) {
    if (!goesOn(characters, inside, at, samePiece)) return false;
  }
  return true;
}

/** Whether a word goes on over the boundary before the character at `at`. */
function goesOn(characters, inside, at, samePiece) {
  if (inside.has(at)) return true;
  const before = nearest(characters, at - 1, -1, HIDDEN);
  const after = nearest(characters, at, 1, HIDDEN);
  const [left, right] = [characters[before], characters[after]];
  if (left === undefined || right === undefined || BLANK.test(left) || BLANK.test(right)) return false;
  if (isInnerApostrophe(characters, before) || isInnerApostrophe(characters, after)) return true;
  if (UNSPACED.test(left) || UNSPACED.test(right)) return false;
  const letters = [LETTER.test(left), LETTER.test(right)];
  return letters.every(Boolean) || (samePiece && !letters.some(Boolean));
}

/** The index of the first character from `at` on that is not skipped, maybe outside of the text. */
function nearest(characters, at, step, ...skipped) {
  while (characters[at] !== undefined && skipped.some((pattern) => pattern.test(characters[at]))) at += step;
  return at;
}

/** Whether the character at `at` is an apostrophe between two letters, which may have marks. */
function isInnerApostrophe(characters, at) {
  if (!APOSTROPHE.test(characters[at])) return false;
  const before = characters[nearest(characters, at - 1, -1, HIDDEN, MARK)];
  const after = characters[nearest(characters, at + 1, 1, HIDDEN, MARK)];
  return before !== undefined && after !== undefined && ALPHABETIC.test(before) && ALPHABETIC.test(after);
}
