// What is asked of the server. With a token, it is asked for once and kept in this tab.

import { byId } from "./dom.js";

const KEY = "cavga-token";
const TRIES = 6;
let asking = null;

export class ApiError extends Error {
  constructor(status, reason, message) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

export async function send(path, options = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const response = await once(path, options);
    if (response.status === 401) {
      await askForToken(sessionStorage.getItem(KEY) !== null);
    } else if (response.status === 503 && attempt < TRIES) {
      await new Promise((done) => setTimeout(done, 1000 * Number(response.headers.get("retry-after") || 1)));
    } else if (!response.ok) {
      throw await asError(response);
    } else {
      return response;
    }
  }
}

async function once(path, options) {
  const token = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(token === null ? {} : { Authorization: `Bearer ${token}` }) };
  try {
    return await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "network", "The server cannot be reached: is it still running?");
  }
}

async function asError(response) {
  try {
    const { error } = await response.json();
    return new ApiError(response.status, error.reason, error.message);
  } catch {
    return new ApiError(response.status, "unknown", `The server answered with status ${response.status}.`);
  }
}

function askForToken(wasWrong) {
  asking ??= new Promise((resolve) => {
    const dialog = byId("token");
    byId("token-problem").textContent = wasWrong ? "That was not the token of this server." : "";
    byId("token-value").value = "";
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(KEY, byId("token-value").value.trim().replace(/[^\x21-\x7e]/g, ""));
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

export const get = async (path) => (await send(path)).json();

export async function post(path, content = {}) {
  const headers = { "Content-Type": "application/json" };
  return (await send(path, { method: "POST", headers, body: JSON.stringify(content) })).json();
}

export const at = (project, rest = "", parameters = {}) => {
  const query = new URLSearchParams(parameters).toString();
  return `/projects/${encodeURIComponent(project)}${rest}${query ? `?${query}` : ""}`;
};

// Several files, three at a time; `told` hears of each. What is refused comes back with the reason.
export async function upload(project, set, files, told) {
  const waiting = [...files];
  const refused = [];
  let done = 0;
  let added = 0;
  async function next() {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      try {
        const stored = await sendFile(project, set, file);
        added += stored.is_new ? 1 : 0;
      } catch (error) {
        refused.push(error.message.includes(file.name) ? error.message : `${file.name}: ${error.message}`);
        if (error.status === 0) waiting.length = 0;
      }
      done += 1;
      told(done, files.length);
    }
  }
  await Promise.all([next(), next(), next()]);
  return { added, known: done - added - refused.length, refused };
}

async function sendFile(project, set, file) {
  const headers = { "Content-Type": "application/octet-stream" };
  const path = at(project, "/photographs", { set, file: file.name });
  return (await send(path, { method: "POST", headers, body: file })).json();
}

// The files of a drop, those in dropped folders too.
export async function droppedFiles(transfer) {
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const found = items.map((item) => [item.webkitGetAsEntry(), item.getAsFile()]); // at once: later they are gone
  const files = [];
  for (const [entry, file] of found) {
    if (entry !== null) await collect(entry, files);
    else if (file !== null) files.push(file);
  }
  return files;
}

async function collect(entry, files) {
  if (entry.isFile) {
    if (!entry.name.startsWith(".")) files.push(await new Promise((done, failed) => entry.file(done, failed)));
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, failed) => reader.readEntries(done, failed));
    if (some.length === 0) return;
    for (const each of some) await collect(each, files);
  }
}

export async function download(path, told = () => {}) {
  const response = await send(path);
  const name = /filename\*=utf-8''([^;]+)/.exec(response.headers.get("content-disposition") || "");
  const parts = [];
  let size = 0;
  const reader = response.body.getReader();
  for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
    parts.push(piece.value);
    size += piece.value.length;
    told(size);
  }
  const url = URL.createObjectURL(new Blob(parts, { type: response.headers.get("content-type") }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name ? decodeURIComponent(name[1]) : "download";
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

export const blobOf = async (path, signal) => (await send(path, { signal })).blob();
