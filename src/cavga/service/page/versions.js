// Step 4: learn from what was marked, compare before and after, go back.

import { at, get, post } from "./api.js";
import { el, note, number, plural, problem, put, worker } from "./dom.js";

export async function showVersions(main, context) {
  const { project, state, overview } = context;
  put(main, el("h1", {}, "Versions"));
  if (!state.model) {
    put(main, el("p", { class: "empty" }, "There is no model yet. Train one first."));
    return;
  }
  const { photographs } = await get(at(project, "/inspection"));
  put(main, learning(context, photographs, overview));
  put(main, el("section", { class: "panel" }, el("h2", {}, "Before and after"), table(context)));
  for (const version of state.versions.toReversed()) if (version.lines.length) put(main, changes(version));
  if (state.runs.length > 1) put(main, trainings(context));
}

function learning({ project, state, started, refresh }, photographs, overview) {
  const where = note();
  const counts = ["bad", "good"].map((label) => photographs.filter((one) => one.mark === label).length);
  const marked = counts[0] + counts[1];
  const about = marked === 0
    ? "Nothing is marked yet. In Inspect, press b for a bad part that was missed, and g for a false alarm."
    : `${plural(counts[0], "photograph")} marked bad and ${counts[1]} marked good. A refit learns them in seconds to a minute, `
      + "and keeps the version of before.";
  const refit = (force) => async () => {
    started(await post(at(project, "/refit"), { force }));
    where.show("The refit has begun.");
  };
  const cannot = overview.cannot_train || (state.model.can_refit ? "" : "This model kept no features, so it cannot be refitted: train anew");
  return el("section", { class: "panel" }, el("h2", {}, "Learn what was marked"), el("p", { class: "about" }, about),
    cannot && problem(cannot),
    el("div", { class: "row" },
      !cannot && marked > 0 && worker("Refit", { class: "primary" }, refit(false), where),
      !cannot && marked > 0 && el("details", {}, el("summary", {}, "It was refused"),
        el("p", { class: "about" }, "A refit is refused where it would find much less than before. Look at the marks first."),
        worker("Refit all the same", {}, refit(true), where))),
    where.place);
}

function table({ project, state, refresh }) {
  const where = note();
  const rows = state.versions.toReversed().map((version) => el("tr", { class: version.in_use ? "in-use" : null },
    el("td", {}, version.number ?? "–"),
    el("td", {}, version.summary),
    el("td", {}, version.when ? new Date(version.when).toLocaleString() : ""),
    el("td", { class: "figure" }, number(version.threshold)),
    el("td", {}, version.in_use ? el("span", { class: "chip good" }, "in use")
      : worker("Use", { class: "small", "aria-label": `Use version ${version.number}` }, async () => {
        await post(at(project, "/use"), { number: version.number });
        await refresh();
      }, where))));
  return el("div", {}, el("div", { class: "wide" }, el("table", {},
    el("thead", {}, el("tr", {}, ["Version", "What it learnt", "When", "Threshold", ""].map((text) => el("th", { scope: "col" }, text)))),
    el("tbody", {}, rows))), where.place);
}

function changes(version) {
  const sorted = version.marks.toSorted((a, b) => (a.label < b.label ? -1 : a.label > b.label ? 1 : b.after - a.after));
  return el("section", { class: "panel changes", "aria-label": `Version ${version.number}` },
    el("h2", {}, `What version ${version.number} changed`, version.in_use && el("span", { class: "chip good" }, "in use")),
    el("ul", { class: "lines" }, version.lines.map((line) => el("li", {}, line.replaceAll(" -> ", " → ")))),
    version.warnings.length > 0 && el("ul", { class: "problems" }, version.warnings.map((line) => el("li", {}, line))),
    el("details", { open: sorted.length <= 12 }, el("summary", {}, `Scores of the ${plural(sorted.length, "mark")}`),
      el("div", { class: "wide" }, el("table", {},
        el("thead", {}, el("tr", {}, ["Photograph", "Marked", "Before", "", "After", ""].map((text) => el("th", { scope: "col" }, text)))),
        el("tbody", {}, sorted.map(markRow)))),
      el("p", { class: "about" }, `Threshold before ${number(version.old)}, after ${number(version.new)}. After: by a model that lacks `
        + "this one mark, as a new photograph would be scored.")));
}

function markRow(mark) {
  const verdict = (isFound) => el("td", {}, el("span", { class: isFound === (mark.label === "bad") ? "chip good" : "chip bad" },
    isFound ? "anomalous" : "normal"));
  return el("tr", {}, el("td", { class: "name" }, mark.name), el("td", {}, mark.label),
    el("td", { class: "figure" }, number(mark.before)), verdict(mark.is_found_before),
    el("td", { class: "figure" }, number(mark.after)), verdict(mark.is_found_after));
}

function trainings({ project, state, refresh }) {
  const where = note();
  const rows = state.runs.toReversed().map((run) => el("li", { class: "row between" }, `Training ${run}`,
    run === state.model.run ? el("span", { class: "chip good" }, "in use")
      : worker("Use", { class: "small", "aria-label": `Use training ${run}` }, async () => {
        await post(at(project, "/use"), { run });
        await refresh();
      }, where)));
  return el("section", { class: "panel" }, el("h2", {}, "Trainings"), el("ul", { class: "plain" }, rows), where.place);
}
