// Step 2: train a model, and set how often a good part may be called anomalous.

import { at, post } from "./api.js";
import { duration, el, note, number, plural, problem, put, worker } from "./dom.js";

const VARIANTS = {
  "r-s": "Thorough: also learns from defects it makes up (minutes)",
  "r-u": "Quick: good photographs alone (a minute or less)",
};

export function showModel(main, context) {
  const { state, overview } = context;
  put(main, el("h1", {}, "Model"));
  if (state.model) put(main, facts(context), operatingPoint(context));
  if (overview.cannot_train) put(main, problem(`${overview.cannot_train}. A model that is there can be used.`));
  else put(main, training(context));
}

function facts({ state }) {
  const { model } = state;
  const rows = [
    ["Trained on", `${plural(model.num_train, "good photograph")}, in ${duration(model.training_seconds)}`],
    ["Network", `${model.variant}, ${model.encoder}`],
    ["Threshold", number(model.calibration.image_threshold)],
  ];
  const promises = model.guarantees.map((text) => `${text[0].toUpperCase()}${text.slice(1)}.`);
  return el("section", { class: "panel" }, el("h2", {}, `Training ${model.run} is in use`),
    el("dl", {}, rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    model.left_out.length > 0 && el("p", { class: "note" }, `Left out of the training: ${model.left_out.join("; ")}`),
    el("p", { class: "about" }, promises.join(" ")));
}

function operatingPoint({ project, state, refresh }) {
  const where = note();
  const rate = 100 * state.model.calibration.false_alarm_rate;
  const isGiven = state.model.calibration.threshold_rule === "given";
  const input = percent("rate", isGiven ? "" : number(rate));
  const set = worker("Set", { class: "primary" }, async () => {
    await post(at(project, "/rate"), { false_alarm_rate: asShare(input) });
    await refresh();
  }, where);
  return el("section", { class: "panel" }, el("h2", {}, "False alarms"),
    el("p", { class: "about" }, "How many of a hundred good parts may be called anomalous. Fewer false alarms also find "
      + "fewer faint defects. Nothing is trained anew."
      + (isGiven ? " Now the threshold is one that was given by hand, which promises nothing." : "")),
    el("label", { for: "rate" }, "False alarms, in percent"), el("div", { class: "row" }, input, set), where.place);
}

const percent = (id, value) => el("input", { id, type: "number", min: "0.01", max: "50", step: "any", value, class: "short" });

function asShare(input) {
  const value = Number(input.value);
  if (!(value > 0 && value < 100)) throw new Error("expected a percentage between 0 and 100");
  return value / 100;
}

function training(context) {
  const { project, state, overview, started, job } = context;
  const where = note();
  const variant = el("select", { id: "variant" }, Object.entries(VARIANTS).map(([value, text]) => el("option", { value }, text)));
  const encoder = el("select", { id: "encoder" }, overview.encoders.toSorted((a, b) => b.is_installed - a.is_installed)
    .map(({ name, is_installed: is }) => el("option", { value: name }, `${name}${is ? "" : " (downloaded once)"}`)));
  const size = el("input", { id: "size", type: "text", value: "auto", class: "short", "aria-describedby": "size-about" });
  const rate = percent("train-rate", "5");
  const isBusy = job()?.state === "running";

  async function start(settings) {
    started(await post(at(project, "/train"), settings));
    where.show("Training has begun. It goes on when this page is closed.");
  }

  const train = worker(state.model ? "Train anew" : "Train", { class: "primary" }, () => start({
    variant: variant.value, encoder: encoder.value, image_size: size.value.trim(), false_alarm_rate: asShare(rate),
  }), where);
  const resume = state.unfinished && worker("Go on with the training that was stopped", {}, () => start({ resume: true }), where);
  return el("section", { class: "panel" }, el("h2", {}, state.model ? "Train anew" : "Train a model"),
    el("p", { class: "about" }, state.num_good === 0 ? "There are no photographs of good parts yet."
      : `It learns from the ${plural(state.num_good, "good photograph")} of this project.`
        + (state.model ? " The model of now stays, and marks are taken along." : "")),
    el("div", { class: "fields" },
      el("label", { for: "variant" }, "How"), variant,
      el("label", { for: "train-rate" }, "False alarms, in percent"), rate,
      el("label", { for: "encoder" }, "Network"), encoder,
      el("label", { for: "size" }, "Size"), el("div", {}, size,
        el("p", { class: "about", id: "size-about" }, "Pixels of a side, or auto. Larger shows smaller defects, and takes longer."))),
    el("div", { class: "row" }, train, resume),
    isBusy && el("p", { class: "about" }, "A training or refit is under way: another one can begin when it has ended."),
    where.place);
}
