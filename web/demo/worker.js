/**
 * Explains texts beside the page, which stays free to be typed into. Texts come in as messages, and
 * for each an explanation, or an error, goes out; the first message says that the model is there.
 */

import { InferenceSession, Tensor, env } from "./vendor/onnxruntime.mjs";
import { Tokenizer } from "./vendor/tokenizers.mjs";
import { Reader } from "./tokens.js";
import { findWords } from "./words.js";

let session, reader, labels;

async function load() {
  const [wasm, graph, tokenizer, config, manifest] = await Promise.all([
    unzipped("onnxruntime.wasm.gzip"),
    unzipped("model.onnx.gzip"),
    ...["tokenizer.json", "tokenizer_config.json", "manifest.json"].map(async (name) => (await file(name)).json()),
  ]);
  env.wasm.wasmBinary = wasm;
  env.wasm.numThreads = 1; // More need a page that is isolated by headers, which few hosts let one set.
  session = await InferenceSession.create(graph, { executionProviders: ["wasm"] });
  reader = new Reader(new Tokenizer(tokenizer, config), manifest.text);
  labels = manifest.labels;
}

async function file(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
  return response;
}

async function unzipped(name) {
  const { body } = await file(name);
  return new Uint8Array(await new Response(body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

/**
 * Explain a text.
 *
 * @returns {Promise<object>} the `outputs` of the model, the most probable first; the text in
 *   `pieces`, each with the number of its word, or null between words; for each word its `names`;
 *   the `scores` of the words for the first output, by method; the head's `base` value and how far
 *   the text is from those that it was fitted on.
 */
async function explain(text) {
  const { characters, tokens } = reader.read(text);
  const { numbers, words } = findWords(characters, tokens);
  const outputs = await session.run(inputs(tokens, numbers));
  const logits = Array.from(outputs.logits.data);
  const powers = logits.map((logit) => Math.exp(logit - Math.max(...logits)));
  const total = powers.reduce((sum, power) => sum + power);
  const order = logits.map((_, i) => i).sort((i, j) => logits[j] - logits[i]);
  const [target] = order;
  const ofWords = ({ data }) => {
    const scores = words.map(() => 0);
    const ofTarget = data.subarray(target * tokens.length); // [labels, sequence]
    numbers.forEach((word, i) => word >= 0 && (scores[word] += ofTarget[i]));
    return scores;
  };
  return {
    outputs: order.map((i) => ({ label: labels[i], probability: powers[i] / total })),
    pieces: cut(characters, words),
    names: words.map(({ start, end }) => characters.slice(start, end).join("")),
    scores: { normxlogit: ofWords(outputs.scores), head: ofWords(outputs.head_scores) },
    base: outputs.head_base.data[target],
    distance: outputs.head_distance.data[0],
  };
}

function inputs(tokens, numbers) {
  const row = (values) => new Tensor("int64", BigInt64Array.from(values, BigInt), [1, tokens.length]);
  return {
    input_ids: row(tokens.map((token) => token.id)),
    attention_mask: row(tokens.map(() => 1)),
    token_type_ids: row(tokens.map(() => 0)),
    words: row(numbers),
  };
}

function cut(characters, words) {
  const pieces = [];
  let at = 0;
  const push = (end, word) => {
    if (end > at) pieces.push({ text: characters.slice(at, end).join(""), word });
    at = end;
  };
  words.forEach(({ start, end }, number) => {
    push(start, null);
    push(end, number);
  });
  push(characters.length, null);
  return pieces;
}

const loaded = load();
loaded.then(
  () => postMessage({ isLoaded: true }),
  (error) => postMessage({ failure: `The model could not be loaded (${error.message}). Reload the page.` }),
);

onmessage = async ({ data: text }) => {
  await loaded;
  try {
    postMessage({ text, explanation: await explain(text) });
  } catch (error) {
    postMessage({ text, failure: error.message });
  }
};
