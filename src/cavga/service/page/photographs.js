// Step 1: photographs of good parts, and what is to be said of them before training.

import { at, get, post } from "./api.js";
import { dropzone } from "./dropzone.js";
import { el, note, plural, put } from "./dom.js";
import { Thumbnails } from "./pictures.js";

const AGAIN = 500; // ms between questions while it is checked
const WORDS = { error: "Error", warning: "Warning", note: "Note" };

export async function showPhotographs(main, { project, state, go }) {
  const thumbnails = new Thumbnails(project, "good");
  const grid = el("ul", { class: "grid", "aria-label": "Good photographs" });
  const checked = el("div", { class: "checked" });
  const count = el("span", {});
  const zone = el("section", { class: "panel drop" });
  const next = el("button", { type: "button", class: "primary" }, "Go on: train a model");
  next.addEventListener("click", () => go("model"));
  let timer = null;

  async function list() {
    const { names } = await get(at(project, "/photographs", { set: "good" }));
    count.textContent = plural(names.length, "good photograph");
    grid.replaceChildren(...names.map((name) => tile(name)));
    zone.classList.toggle("empty", names.length === 0);
    next.hidden = names.length === 0;
    return names.length;
  }

  function tile(name) {
    const remove = el("button", { type: "button", class: "remove", "aria-label": `Remove ${name}`, title: "Remove" }, "×");
    remove.addEventListener("click", async () => {
      try {
        await post(at(project, "/photographs/remove"), { set: "good", names: [name] });
        await changed();
      } catch (error) {
        where.fail(error);
      }
    });
    return el("li", {}, thumbnails.image(name), el("span", { class: "name", title: name }, name), remove);
  }

  async function check() {
    await post(at(project, "/check"));
    await follow();
  }

  async function follow() {
    clearTimeout(timer);
    const found = (await get(at(project))).check;
    checked.replaceChildren(...report(found, check));
    if (found?.is_running) timer = setTimeout(() => follow().catch(() => {}), AGAIN);
  }

  async function changed() {
    if (await list() > 0) await check();
    else checked.replaceChildren();
  }

  const where = note();
  zone.append(
    el("p", { class: "invite" }, el("strong", {}, "Drop photographs of good parts here"),
      el("span", {}, "PNG, JPEG, TIFF, BMP or WebP, or whole folders. 20 are a beginning, 50 to 200 are better: as they "
        + "will be taken on the line, with all that may vary on a good part.")),
    dropzone(zone, project, "good", () => changed().catch(where.fail)),
  );
  put(main, el("h1", {}, "Photographs of good parts"), zone, where.place, checked,
    el("div", { class: "row between" }, count, next), grid);
  if (await list() > 0) {
    if (state.check?.is_current || state.check?.is_running) await follow();
    else await check();
  }
  return () => {
    clearTimeout(timer);
    thumbnails.close();
  };
}

function report(found, again) {
  if (!found) return [];
  if (found.is_running) {
    const share = found.num_all ? found.num_done / found.num_all : null;
    const bar = el("progress", { max: "1", value: share, "aria-label": "Looking at the photographs" });
    return [el("p", { class: "note" }, `Looking at the photographs: ${found.num_done} of ${found.num_all || "?"}`), bar];
  }
  if (found.problem) return [el("p", { class: "problem", role: "alert" }, found.problem)];
  const rows = found.findings.filter((item) => !/no test images/.test(item.problem));
  const errors = rows.filter((item) => item.severity === "error").length;
  const verdict = errors ? `${plural(errors, "error")}: mend ${errors === 1 ? "it" : "them"} before training`
    : rows.length ? "Nothing is in the way of training" : "All photographs are fine";
  const button = el("button", { type: "button", class: "small" }, "Look again");
  button.addEventListener("click", () => again());
  return [el("section", { class: "panel", "aria-label": "What was found" },
    el("div", { class: "row between" }, el("h2", { class: errors ? "bad" : "fine" }, verdict), button),
    found.visibility.length > 0 && el("p", { class: "about" }, sentence(found.visibility)),
    rows.length > 0 && el("ul", { class: "findings" }, rows.map((item) => el("li", { class: item.severity },
      el("strong", {}, WORDS[item.severity]), ` ${item.path === "." ? "" : `${item.path}: `}${item.problem}; ${item.remedy}`))))];
}

const sentence = (lines) => lines.map((line) => `${line[0].toUpperCase()}${line.slice(1)}.`).join(" ");
