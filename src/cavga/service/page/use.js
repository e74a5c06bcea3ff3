// Step 5: which model answers /predict, and what can be taken away.

import { at, download, post } from "./api.js";
import { el, note, put, worker } from "./dom.js";

const KINDS = { all: "all photographs", anomalous: "anomalous ones", normal: "normal ones", marked: "marked ones" };

export function showUse(main, context) {
  const { state } = context;
  put(main, el("h1", {}, "Use it"));
  if (!state.model) {
    put(main, el("p", { class: "empty" }, "There is no model yet. Train one first."));
    return;
  }
  put(main, service(context), results(context), model(context));
}

function service({ project, state, overview, refresh }) {
  const where = note();
  const path = `/models/${encodeURIComponent(project)}/predict`;
  const pick = worker("Answer /predict with this model", { class: "primary" }, async () => {
    await post(at(project, "/pick"));
    await refresh();
  }, where);
  const used = state.versions.find((version) => version.in_use)?.number;
  const which = `training ${state.model.run}${used ? `, version ${used}` : ""}`;
  return el("section", { class: "panel" }, el("h2", {}, "Over the network"),
    el("p", { class: "about" }, state.is_picked ? `/predict answers with ${project}: ${which}. Another version is picked in Versions.`
      : `/predict answers with ${overview.picked ?? "no model yet"}.`),
    !state.is_picked && el("div", { class: "row" }, pick), where.place,
    el("pre", { tabindex: "0", "aria-label": "How to ask" },
      `curl -F image=@part.png ${location.origin}${state.is_picked ? "/predict" : path}`));
}

function results({ project, state }) {
  const where = note();
  const only = el("select", { id: "only" }, Object.entries(KINDS).map(([value, text]) => el("option", { value }, text)));
  const take = (file) => () => download(at(project, `/${file}`, { only: only.value }), (size) =>
    where.show(`${(size / 2 ** 20).toFixed(1)} MB so far`)).then(() => where.show("It is in your downloads."));
  return el("section", { class: "panel" }, el("h2", {}, "Results"),
    el("p", { class: "about" }, `Of the ${state.num_inspect} photographs that were inspected.`),
    el("div", { class: "fields" }, el("label", { for: "only" }, "Which"), only),
    el("div", { class: "row" },
      worker("Scores as CSV", { class: "primary" }, take("predictions.csv"), where),
      worker("Overlays as ZIP", {}, take("overlays.zip"), where)), where.place);
}

function model({ project, state }) {
  const where = note();
  const about = state.model.has_thresholds_of_its_own
    ? "The model as one file for ONNX Runtime, with its thresholds."
    : "The thresholds were set after it was written: the archive holds the model and the file with them, which cavga reads beside it.";
  return el("section", { class: "panel" }, el("h2", {}, "The model"), el("p", { class: "about" }, about),
    el("div", { class: "row" }, worker("ONNX file", { class: "primary" }, () =>
      download(at(project, "/model.onnx")).then(() => where.show("It is in your downloads.")), where)), where.place);
}
