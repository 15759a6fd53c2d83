// Language models: a chat whose answers appear while they are written, and answers from sources.

import { post, stream } from "./api.js";
import { draw, element, find, latest, tell } from "./dom.js";
import * as form from "./form.js";

let messages = [];

function said(role, text) {
  const body = element("div", { className: "nx-text", dir: "auto" }, text);
  const turn = element("section", { className: "nx-turn" }, element("h4", {}, role), body);
  find("turns").append(turn);
  return { turn, body };
}

const write = latest(async (signal, text) => {
  const isChat = find("as-chat").checked;
  const asked = { model: form.values().model, max_new_tokens: Number(find("new-tokens").value) };
  const question = { role: "user", content: text };
  const before = isChat ? messages : [];
  const mine = said("You", text);
  const { turn, body } = said(form.values().model, "");
  find("stop-writing").hidden = false;
  find("turns").setAttribute("aria-busy", "true"); // read out when the answer is complete
  let answer = "";
  try {
    const prompt = isChat ? { messages: [...before, question] } : { prompt: text };
    for await (const [name, data] of stream("v1/generate", { ...asked, ...prompt }, signal)) {
      if (name === "token") {
        answer = data.answer;
        body.textContent = answer;
      } else {
        if (isChat) messages = [...before, question, { role: "assistant", content: answer }];
        find("prompt").value = "";
        const place = element("div");
        const about = element("details", { className: "app-why" },
          element("summary", {}, "What this answer rests on"), place);
        about.open = true;
        for (const other of document.querySelectorAll(".app-why")) other.open = false;
        turn.append(about);
        await draw(data, place, signal);
      }
    }
  } catch (error) {
    if (!answer) [mine.turn, turn].forEach((each) => each.remove());
    throw error;
  } finally {
    find("turns").removeAttribute("aria-busy");
    find("stop-writing").hidden = true;
  }
});

const answer = latest(async (signal) => {
  const documents = find("documents").value.split(/\n\s*\n/).map((text) => text.trim()).filter(Boolean);
  if (!documents.length) throw new Error("There are no sources. Paste some, with an empty line between two.");
  find("answered").replaceChildren();
  tell("Answering …");
  const asked = { model: form.values().model, question: find("question").value, documents };
  const result = await post("v1/sources", asked, signal);
  await draw(result, find("answered"), signal);
  tell("");
});

export function clear() {
  write.cancel();
  messages = [];
  find("turns").replaceChildren();
  find("answered").replaceChildren();
}

export function listen(saved) {
  find("chat").addEventListener("submit", (event) => {
    event.preventDefault();
    tell("");
    if (find("prompt").value.trim()) write(find("prompt").value);
  });
  find("prompt").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("chat").requestSubmit();
  });
  find("stop-writing").addEventListener("click", () => write.cancel());
  find("new-chat").addEventListener("click", clear);
  find("from-sources").addEventListener("submit", (event) => {
    event.preventDefault();
    saved();
    answer();
  });
}
