// Requests to the API. Addresses are relative, so that the page also works below a path of a proxy.

const STORED = "normxlogit-key"; // kept for as long as the tab is open, and nowhere else
let asking = null;

class ApiError extends Error {
  constructor(message, response) {
    super(message);
    this.status = response?.status;
    this.after = Number(response?.headers.get("Retry-After")) || null;
  }
}

/** Ask for the key that the server wants; one question however many requests wait for it. */
function askForKey() {
  asking ??= new Promise((resolve, reject) => {
    const dialog = document.getElementById("key");
    const field = document.getElementById("key-value");
    document.getElementById("key-wrong").hidden = sessionStorage.getItem(STORED) === null;
    dialog.onclose = () => {
      asking = null;
      const key = field.value.trim();
      field.value = "";
      if (dialog.returnValue !== "ok" || !key) {
        reject(new ApiError("The server asks for a key. Try again, or load the page anew, to enter it."));
        return;
      }
      sessionStorage.setItem(STORED, key);
      resolve();
    };
    dialog.returnValue = "";
    dialog.showModal();
  });
  return asking;
}

async function send(path, options) {
  for (;;) {
    const key = sessionStorage.getItem(STORED);
    const headers = { ...options.headers };
    if (key !== null) headers.Authorization = `Bearer ${key}`;
    let response;
    try {
      response = await fetch(path, { ...options, headers, cache: "no-store" });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError("The server does not answer. See whether it still runs, and try again.");
    }
    if (response.ok) return response;
    if (response.status !== 401) throw new ApiError(await reason(response), response);
    // While this request was under way another may have brought the right key.
    if (key === sessionStorage.getItem(STORED)) await askForKey();
  }
}

async function reason(response) {
  const answer = await response.json().catch(() => null);
  const message = answer?.error?.message ?? `the server answered with status ${response.status}.`;
  return message.charAt(0).toUpperCase() + message.slice(1);
}

const asJson = (body, signal) => ({
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(body),
  signal,
});

export const get = async (path) => (await send(path, {})).json();
export const post = async (path, body, signal) => (await send(path, asJson(body, signal))).json();

/** Post, and try again while the server is busy. */
export async function postPatiently(path, body, signal, tries = 5) {
  for (let left = tries; ; left -= 1) {
    try {
      return await post(path, body, signal);
    } catch (error) {
      if (![429, 503].includes(error.status) || !left) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * (error.after ?? 1)));
      signal.throwIfAborted();
    }
  }
}

/** Post, and yield [name, data] of every event that is sent back. */
export async function* stream(path, body, signal) {
  const response = await send(path, asJson(body, signal));
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const [name, data] = part.split("\n").map((line) => line.slice(line.indexOf(": ") + 2));
      const read = JSON.parse(data);
      if (name === "error") throw new ApiError(read.error.message);
      yield [name, read];
    }
  }
}
