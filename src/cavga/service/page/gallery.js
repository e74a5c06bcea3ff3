// Photographs by score, as small pictures, with filters.

import { el, number, plural } from "./dom.js";
import { outlines, Thumbnails } from "./pictures.js";

const FILTERS = {
  all: ["All", () => true],
  anomalous: ["Anomalous", (row) => row.isAnomalous === true],
  normal: ["Normal", (row) => row.isAnomalous === false],
  marked: ["Marked", (row) => Boolean(row.mark)],
};
const LETTERS = { good: "G", bad: "B" };

export class Gallery {
  constructor(project, { chosen, filtered }) {
    this.thumbnails = new Thumbnails(project, "inspect");
    this.chosen = chosen;
    this.filter = "all";
    this.tiles = new Map();
    this.visible = [];
    this.rows = [];
    this.list = el("ul", { class: "tiles", "aria-label": "Photographs, the highest score first" });
    this.nothing = el("p", { class: "about" });
    this.counts = {};
    this.head = el("div", { class: "head" });
    const filters = el("fieldset", { class: "filters" }, el("legend", { class: "hidden" }, "Which photographs"),
      Object.entries(FILTERS).map(([name, [title]]) => this.choice(name, title, filtered)));
    this.place = el("section", { class: "gallery", "aria-label": "Photographs" }, this.head, filters, this.nothing, this.list);
  }

  choice(name, title, filtered) {
    const input = el("input", { type: "radio", name: "filter", value: name, checked: name === this.filter });
    this.counts[name] = el("span", { class: "count" });
    input.addEventListener("change", () => {
      this.filter = name;
      this.show(this.rows, this.current);
      filtered();
    });
    return el("label", {}, input, el("span", {}, title, " ", this.counts[name]));
  }

  show(rows, current) {
    this.rows = rows;
    this.current = current;
    for (const [name, [, fits]] of Object.entries(FILTERS)) this.counts[name].textContent = rows.filter(fits).length;
    const shown = rows.filter(FILTERS[this.filter][1]);
    this.visible = shown.map((row) => row.name);
    for (const row of rows) this.update(row);
    const wanted = shown.map((row) => this.tiles.get(row.name).item);
    const isSame = wanted.length === this.list.children.length && wanted.every((item, i) => item === this.list.children[i]);
    if (!isSame) this.list.replaceChildren(...wanted);
    this.nothing.textContent = rows.length > 0 && shown.length === 0 ? "None of the photographs is one of these." : "";
    this.mark(current);
  }

  update(row) {
    const tile = this.tiles.get(row.name) ?? this.make(row.name);
    const state = row.error ? "failed" : row.isAnomalous === null ? "waiting" : row.isAnomalous ? "anomalous" : "normal";
    const look = [state, row.score, row.mark].join();
    if (tile.look === look) return;
    tile.look = look;
    tile.button.className = `tile ${state}`;
    tile.score.textContent = row.error ? "cannot be read" : row.score === undefined ? "…" : number(row.score);
    tile.mark.textContent = LETTERS[row.mark] ?? "";
    tile.mark.className = `mark ${row.mark ?? ""}`;
    const marked = row.mark ? `, marked ${row.mark}` : "";
    tile.button.setAttribute("aria-label", `${row.name}: ${state === "failed" ? "cannot be read" : state}, score ${number(row.score)}${marked}`);
    if (row.image_size) tile.outline.replaceChildren(outlines(row.regions, row.image_size));
  }

  make(name) {
    const parts = { outline: el("span", { class: "outline" }), score: el("span", { class: "score" }), mark: el("span", { class: "mark" }) };
    const button = el("button", { type: "button", class: "tile", title: name, tabindex: "-1" },
      el("span", { class: "frame" }, this.thumbnails.image(name), parts.outline), parts.score, parts.mark);
    button.addEventListener("click", () => this.chosen(name));
    const tile = { ...parts, button, item: el("li", {}, button) };
    this.tiles.set(name, tile);
    return tile;
  }

  // Which one is open; it alone is reached by the Tab key, the others by arrows.
  mark(name) {
    this.current = name;
    const reached = this.visible.includes(name) ? name : this.visible[0];
    for (const [each, { button }] of this.tiles) {
      button.tabIndex = each === reached ? 0 : -1;
      if (each === name) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  next(step) {
    const place = this.visible.indexOf(this.current);
    if (place === -1) return this.visible[0];
    return this.visible[place + step];
  }

  reveal(name) {
    const { button } = this.tiles.get(name);
    button.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (this.list.contains(document.activeElement)) button.focus({ preventScroll: true });
  }

  close() {
    this.thumbnails.close();
  }
}

export const summary = (rows) => {
  const found = rows.filter((row) => row.isAnomalous === true).length;
  const passed = rows.filter((row) => row.isAnomalous === false).length;
  return `${plural(found, "anomalous", "anomalous")}, ${passed} normal`;
};
