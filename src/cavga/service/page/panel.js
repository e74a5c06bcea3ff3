// Beside the photograph: what was decided, marks, thresholds that move, and how to look at it.

import { el, note, number, svg, worker } from "./dom.js";
import { summary } from "./gallery.js";

const STEPS = 1000; // of a slider
const BARS = 40; // of the histogram
const WIDTH = 240; // of its drawing
const HEIGHT = 44;

export class Panel {
  constructor(does) {
    this.does = does;
    this.threshold = 0;
    this.pixelThreshold = 0;
    this.verdict = el("p", { class: "verdict" });
    this.name = el("p", { class: "name" });
    this.about = el("p", { class: "about" });
    this.where = note();
    this.kept = note();
    this.place = el("aside", { class: "side", "aria-label": "Decision and thresholds" },
      el("section", {}, this.verdict, this.name, this.about, this.marks(), this.where.place),
      this.decision(), this.mask(), this.looks(), keys());
  }

  marks() {
    this.good = this.button("Good", "g", () => this.does.mark("good"), "good");
    this.bad = this.button("Bad", "b", () => this.does.mark("bad"), "bad");
    this.undo = this.button("Undo", "u", () => this.does.undo());
    return el("div", { class: "row marks", role: "group", "aria-label": "Mark this photograph" }, this.good, this.bad, this.undo);
  }

  button(text, key, work, kind = "") {
    const button = el("button", { type: "button", class: kind, "aria-keyshortcuts": key }, text, el("kbd", { "aria-hidden": "true" }, key));
    button.addEventListener("click", work);
    return button;
  }

  decision() {
    this.histogram = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "histogram", preserveAspectRatio: "none", "aria-hidden": "true" });
    this.slider = slider("threshold");
    this.slider.addEventListener("input", () => {
      this.threshold = this.valueOf(this.slider, this.range);
      this.changed();
    });
    this.value = el("output", { for: "threshold" });
    this.count = el("p", { class: "counts", role: "status" });
    this.ofMarks = el("p", { class: "about" });
    this.keep = worker("Keep it", { title: "Keep this threshold", class: "small" }, () => this.does.keep(this.threshold), this.kept);
    this.back = el("button", { type: "button", class: "small" }, "Back");
    this.back.addEventListener("click", () => {
      this.set(this.found.threshold, this.found.pixel_threshold);
      this.changed();
    });
    this.actions = el("div", { class: "row" }, this.keep, this.back);
    return el("section", {}, el("div", { class: "row between" }, el("label", { for: "threshold" }, "Anomalous from"), this.value),
      this.histogram, this.slider, this.count, this.ofMarks, this.actions, this.kept.place);
  }

  mask() {
    this.maskSlider = slider("mask-threshold");
    this.maskSlider.addEventListener("input", () => {
      this.pixelThreshold = this.valueOf(this.maskSlider, this.maskRange);
      this.changed();
    });
    this.maskValue = el("output", { for: "mask-threshold" });
    return el("section", {}, el("div", { class: "row between" }, el("label", { for: "mask-threshold" }, "Outline from"), this.maskValue), this.maskSlider);
  }

  looks() {
    this.looking = { heat: this.button("Heat", "h", () => this.does.toggle("heat")), outline: this.button("Outline", "o", () => this.does.toggle("outline")) };
    for (const button of Object.values(this.looking)) button.setAttribute("aria-pressed", "true");
    this.percent = el("output", { class: "percent", "aria-label": "Zoom" });
    const zoom = (text, how, label) => {
      const button = el("button", { type: "button", "aria-label": label, title: label }, text);
      button.addEventListener("click", () => this.does.zoom(how));
      return button;
    };
    return el("section", { class: "looks" }, el("div", { class: "row", role: "group", "aria-label": "What is drawn" }, Object.values(this.looking)),
      el("div", { class: "row", role: "group", "aria-label": "Zoom" }, zoom("−", "out", "Smaller (-)"), this.percent,
        zoom("+", "in", "Larger (+)"), zoom("Fit", "fit", "Whole photograph (0)"), zoom("1:1", "whole", "A pixel for a pixel (1)")));
  }

  toggled(name, isOn) {
    this.looking[name].setAttribute("aria-pressed", String(isOn));
  }

  zoomed({ factor }) {
    this.percent.textContent = `${Math.round(100 * factor)} %`;
  }

  // Thresholds as the server has them.
  reset(found, rows) {
    this.found = found;
    this.maskRange = [found.scale.minimum, found.scale.maximum];
    this.scores(rows);
    this.set(found.threshold, found.pixel_threshold);
    this.changed();
  }

  set(threshold, pixelThreshold) {
    [this.threshold, this.pixelThreshold] = [threshold, pixelThreshold];
    this.slider.value = this.placeOf(threshold, this.range);
    this.maskSlider.value = this.placeOf(pixelThreshold, this.maskRange);
  }

  // The slider goes a little beyond all scores and the threshold; it is set anew when that changes.
  scores(rows) {
    const scores = rows.map((row) => row.score).filter((score) => score !== undefined && score !== null);
    const all = [...scores, this.found.threshold];
    const room = 0.05 * (Math.max(...all) - Math.min(...all)) || Math.abs(all[0]) * 0.5 || 1;
    this.range = [Math.min(...all) - room, Math.max(...all) + room];
    this.slider.value = this.placeOf(this.threshold, this.range);
    this.draw(scores);
    this.words();
  }

  valueOf(input, [low, high]) {
    return low + (Number(input.value) / STEPS) * (high - low);
  }

  placeOf(value, [low, high]) {
    return Math.round(STEPS * ((value - low) / (high - low)));
  }

  changed() {
    this.words();
    this.does.moved();
  }

  words() {
    this.value.textContent = number(this.threshold);
    this.maskValue.textContent = number(this.pixelThreshold);
    this.slider.setAttribute("aria-valuetext", number(this.threshold));
    this.maskSlider.setAttribute("aria-valuetext", number(this.pixelThreshold));
    const isMoved = this.threshold !== this.found.threshold;
    this.actions.hidden = !isMoved && this.pixelThreshold === this.found.pixel_threshold;
    this.keep.hidden = !isMoved;
    this.line?.setAttribute("x1", this.across(this.threshold));
    this.line?.setAttribute("x2", this.across(this.threshold));
    this.bars?.forEach(([bar, middle]) => bar.setAttribute("class", middle >= this.threshold ? "over" : "under"));
  }

  across(score) {
    return ((score - this.range[0]) / (this.range[1] - this.range[0])) * WIDTH;
  }

  draw(scores) {
    const counts = new Array(BARS).fill(0);
    for (const score of scores) counts[Math.min(BARS - 1, Math.floor((this.across(score) / WIDTH) * BARS))] += 1;
    const highest = Math.max(1, ...counts);
    const step = (this.range[1] - this.range[0]) / BARS;
    this.bars = counts.map((count, i) => {
      const height = count === 0 ? 0 : Math.max(3, (count / highest) * (HEIGHT - 4));
      const bar = svg("rect", { x: (i * WIDTH) / BARS + 0.5, y: HEIGHT - height, width: WIDTH / BARS - 1, height });
      return [bar, this.range[0] + (i + 0.5) * step];
    });
    this.line = svg("line", { y1: 0, y2: HEIGHT, class: "cut" });
    this.histogram.replaceChildren(...this.bars.map(([bar]) => bar), this.line);
  }

  counts(rows) {
    this.count.textContent = summary(rows);
    const marks = (label, isRight) => {
      const of = rows.filter((row) => row.mark === label);
      return of.length ? `${of.filter((row) => row.isAnomalous === isRight).length} of ${of.length} marked ${label} are called ${isRight ? "anomalous" : "normal"}` : "";
    };
    this.ofMarks.textContent = [marks("bad", true), marks("good", false)].filter(Boolean).join("; ");
  }

  judge(row, canUndo) {
    this.undo.disabled = !canUndo;
    const isScored = row && !row.error && row.isAnomalous !== null;
    for (const button of [this.good, this.bad]) button.disabled = !isScored;
    for (const [label, button] of [["good", this.good], ["bad", this.bad]]) button.setAttribute("aria-pressed", String(row?.mark === label));
    this.verdict.className = `verdict ${isScored ? (row.isAnomalous ? "anomalous" : "normal") : ""}`;
    this.verdict.textContent = !row ? "No photograph" : row.error ? "Cannot be read" : !isScored ? "Not scored yet" : row.isAnomalous ? "Anomalous" : "Normal";
    this.name.textContent = row?.name ?? "";
    this.about.textContent = isScored ? described(row) : "";
  }

  problem(text) {
    this.where.show(text, text ? "problem" : "");
  }
}

const slider = (id) => el("input", { id, type: "range", min: "0", max: String(STEPS), step: "1" });

function described(row) {
  const rare = row.rarity ? ` ${row.rarity[0].toUpperCase()}${row.rarity.slice(1)}.` : "";
  const remarks = (row.remarks ?? []).map((text) => ` It ${text}.`).join("");
  return `Score ${number(row.score)}.${rare}${remarks}`;
}

function keys() {
  const rows = [["← →", "one photograph on"], ["g b u", "good, bad, undo"], ["h o", "heat, outline"], ["+ − 0 1", "zoom; drag and wheel too"]];
  return el("details", { class: "keys" }, el("summary", {}, "Keys"), el("dl", {}, rows.flatMap(([key, text]) => [el("dt", {}, key), el("dd", {}, text)])));
}
