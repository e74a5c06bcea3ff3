// Step 3: photographs by score, one of them large, thresholds that move, marks by one key.

import { at, get, post } from "./api.js";
import { dropzone } from "./dropzone.js";
import { el, note, number, put, say } from "./dom.js";
import { Gallery } from "./gallery.js";
import { Panel } from "./panel.js";
import { LargePictures } from "./pictures.js";
import { Viewer } from "./viewer.js";

const AGAIN = 600; // ms between questions while photographs are scored

export async function showInspection(main, context) {
  if (!context.state.model) {
    const go = el("button", { type: "button", class: "primary" }, "Train a model");
    go.addEventListener("click", () => context.go("model"));
    put(main, el("section", { class: "panel empty" }, el("h1", {}, "Inspect"),
      el("p", {}, "There is no model yet. It takes photographs of good parts, and a training."), go));
    return () => {};
  }
  const view = new Inspection(main, context);
  await view.begin();
  return () => view.close();
}

class Inspection {
  constructor(main, context) {
    this.context = context;
    this.project = context.project;
    this.rows = [];
    this.current = null;
    this.isChosen = false; // by a person; until then the highest score is shown
    this.undoable = [];
    this.marking = Promise.resolve();
    this.large = new LargePictures(this.project);
    this.build(main);
    this.keys = (event) => this.pressed(event);
    document.addEventListener("keydown", this.keys);
    this.offJob = context.onJob((job) => {
      if (job?.project === this.project && job.state === "done" && this.lastJob === "running") this.load().catch(() => {});
      this.lastJob = job?.project === this.project ? job.state : null;
    });
  }

  build(main) {
    this.where = note();
    this.gallery = new Gallery(this.project, {
      chosen: (name) => {
        this.isChosen = true;
        this.open(name);
      },
      filtered: () => this.panel.counts(this.rows),
    });
    this.panel = new Panel({
      moved: () => this.moved(),
      mark: (label) => this.mark(label),
      undo: () => this.undo(),
      toggle: (name) => this.toggle(name),
      zoom: (how) => this.zoom(how),
      keep: (threshold) => this.keep(threshold),
    });
    this.canvas = el("canvas", { tabindex: "0", role: "img", "aria-label": "The photograph" });
    this.caption = el("p", { class: "caption" });
    this.invite = el("div", { class: "invite" }, el("strong", {}, "Drop photographs to inspect here"),
      el("span", {}, "They are scored as they come."));
    this.stage = el("section", { class: "stage drop", "aria-label": "Photograph" }, this.canvas, this.caption, this.invite);
    this.viewer = new Viewer(this.canvas, (zoom) => this.panel.zoomed(zoom));
    this.taking = dropzone(main, this.project, "inspect", () => this.load().catch(this.where.fail), ["Add photographs", "From folder"]);
    this.progress = el("progress", { max: "1", hidden: true, "aria-label": "Scoring" });
    this.gallery.head.append(this.taking, this.progress, this.where.place);
    put(main, this.gallery.place, this.stage, this.panel.place);
  }

  async begin() {
    await this.load();
  }

  // Asks for what is known, and again while photographs are scored.
  async load() {
    clearTimeout(this.timer);
    const found = await get(at(this.project, "/inspection"));
    if (this.isClosed) return;
    const { scoring } = found;
    const isOther = found.version !== this.found?.version;
    this.found = found;
    if (isOther) {
      this.large.forget();
      this.panel.reset(found, found.photographs);
    }
    this.rows = ordered(found.photographs);
    this.panel.scores(this.rows);
    this.progress.hidden = !scoring.is_running;
    this.progress.value = scoring.num_all ? scoring.num_done / scoring.num_all : 0;
    if (scoring.problem) this.where.show(scoring.problem, "problem");
    else this.where.show(scoring.is_running ? `Scoring: ${scoring.num_done} of ${scoring.num_all}` : "");
    this.moved();
    const first = this.gallery.visible[0] ?? null;
    if (!this.isThere(this.current) || (!this.isChosen && first !== this.current)) await this.open(first);
    else if (isOther) await this.open(this.current);
    if (scoring.is_running) this.timer = setTimeout(() => this.load().catch(this.where.fail), AGAIN);
  }

  isThere(name) {
    return this.rows.some((row) => row.name === name);
  }

  row() {
    return this.rows.find((row) => row.name === this.current);
  }

  // A threshold was moved, or scores came: everything that follows from them, without asking the server.
  moved() {
    const { threshold } = this.panel;
    for (const row of this.rows) row.isAnomalous = row.score === undefined || row.score === null ? null : row.score >= threshold;
    this.gallery.show(this.rows, this.current);
    this.panel.counts(this.rows);
    this.judge();
  }

  judge() {
    const row = this.row();
    this.invite.hidden = this.rows.length > 0;
    this.panel.judge(row, this.undoable.length > 0);
    if (!row) return;
    const { scale, heat } = this.found;
    this.viewer.set({ scale, heat, pixelThreshold: this.panel.pixelThreshold, isAnomalous: row.isAnomalous === true });
    this.canvas.setAttribute("aria-label", `${row.name}: ${verdict(row)}, score ${number(row.score)}`);
  }

  async open(name) {
    this.current = name;
    this.gallery.mark(name);
    this.judge();
    const row = this.row();
    this.caption.textContent = row?.error ?? "";
    if (!row || row.error || row.score === undefined || row.score === null) {
      this.viewer.show(null);
      return;
    }
    try {
      const photograph = await this.large.load(name);
      if (this.current !== name || this.isClosed) return;
      this.viewer.show(photograph);
      const next = this.gallery.next(1);
      if (next) this.large.load(next).catch(() => {});
    } catch (error) {
      if (this.current === name) this.caption.textContent = error.message;
    }
  }

  // Marks go one after the other; the page shows them before the server has them.
  mark(label) {
    const row = this.row();
    if (!row || row.score === undefined || row.score === null || row.mark === label) return;
    this.isChosen = true;
    this.undoable.push({ name: row.name, label: row.mark });
    this.send(row, label);
  }

  undo() {
    const last = this.undoable.pop();
    const row = last && this.rows.find((one) => one.name === last.name);
    if (!row) return;
    if (row.name !== this.current) this.open(row.name);
    this.send(row, last.label);
  }

  send(row, label) {
    const before = row.mark;
    row.mark = label;
    this.panel.problem("");
    this.moved();
    say(label === null ? `${row.name} is not marked any more` : `${row.name} is marked ${label}`);
    this.marking = this.marking.then(() => post(at(this.project, "/marks"), { name: row.name, label })).catch((error) => {
      const now = this.rows.find((one) => one.name === row.name) ?? row;
      now.mark = before;
      this.undoable = this.undoable.filter((one) => one.name !== row.name);
      this.panel.problem(error.message);
      this.moved();
    });
  }

  async keep(threshold) {
    await post(at(this.project, "/rate"), { threshold });
    await this.load();
  }

  toggle(name) {
    this.panel.toggled(name, this.viewer.toggle(name));
  }

  zoom(how) {
    if (how === "fit") this.viewer.fit();
    else if (how === "whole") this.viewer.zoomTo(1);
    else this.viewer.zoomBy(how === "in" ? 1.5 : 1 / 1.5);
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const { target } = event;
    const isInput = target.matches("input, select, textarea");
    if (target.matches("textarea, select, input:not([type=range], [type=radio], [type=checkbox])")) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const keys = {
      g: () => this.mark("good"), b: () => this.mark("bad"), u: () => this.undo(), h: () => this.toggle("heat"),
      o: () => this.toggle("outline"), 0: () => this.zoom("fit"), 1: () => this.zoom("whole"), "+": () => this.zoom("in"),
      "=": () => this.zoom("in"), "-": () => this.zoom("out"),
    };
    if (step !== undefined && !isInput) this.go(step);
    else if (event.key in keys) keys[event.key]();
    else return;
    event.preventDefault();
  }

  go(step) {
    const name = this.gallery.next(step);
    if (!name) return;
    this.isChosen = true;
    this.open(name);
    this.gallery.reveal(name);
  }

  close() {
    this.isClosed = true;
    clearTimeout(this.timer);
    document.removeEventListener("keydown", this.keys);
    this.offJob();
    this.gallery.close();
    this.viewer.close();
  }
}

export const verdict = (row) => (row.error ? "cannot be read" : row.isAnomalous === null ? "not scored yet" : row.isAnomalous ? "anomalous" : "normal");

// The highest score first, what has none last.
function ordered(rows) {
  const rank = (row) => (row.score === undefined || row.score === null ? -Infinity : row.score);
  return rows.toSorted((a, b) => rank(b) - rank(a) || a.name.localeCompare(b.name));
}
