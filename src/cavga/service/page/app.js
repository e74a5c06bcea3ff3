// The page: which project and which step of it, by the address behind #, and what is under way.

import { at, get, post } from "./api.js";
import { byId, duration, el, note, plural, problem, put, say, worker } from "./dom.js";
import { showHome } from "./home.js";
import { showInspection } from "./inspect.js";
import { showModel } from "./model.js";
import { showPhotographs } from "./photographs.js";
import { showUse } from "./use.js";
import { showVersions } from "./versions.js";

const STEPS = {
  photographs: ["Photographs", showPhotographs],
  model: ["Model", showModel],
  inspect: ["Inspect", showInspection],
  versions: ["Versions", showVersions],
  use: ["Use it", showUse],
};
const BUSY = 700; // ms between questions while something is under way
const IDLE = 5000;

const page = { project: null, step: null, close: () => {}, overview: null, turn: 0 };
const jobs = { latest: null, dismissed: null, heard: new Set() };

function place() {
  const [, project = "", step = ""] = location.hash.split("/");
  let name = "";
  try {
    name = decodeURIComponent(project);
  } catch {
    name = "";
  }
  return { project: name, step: step in STEPS ? step : "photographs" };
}

async function show() {
  const { project, step } = place();
  const turn = (page.turn += 1);
  page.close();
  page.close = () => {};
  Object.assign(page, { project, step });
  const main = byId("main");
  try {
    const overview = await get("/projects");
    const state = project === "" ? null : await get(at(project));
    if (turn !== page.turn) return;
    page.overview = overview;
    frame(overview, project, step);
    main.className = project === "" ? "home" : step;
    main.replaceChildren();
    const close = project === "" ? await showHome(main, overview, refresh) : await STEPS[step][1](main, context(state));
    if (turn === page.turn) page.close = close ?? (() => {});
    else close?.();
  } catch (error) {
    if (turn !== page.turn) return;
    frame(page.overview, "", "");
    main.className = "home";
    main.replaceChildren(problem(error.message), el("p", {}, el("a", { href: "#/" }, "To all projects")));
  }
}

// What a view knows: the project's state, and how to go on.
function context(state) {
  return {
    project: state.name,
    state,
    overview: page.overview,
    refresh,
    go: (step) => { location.hash = address(state.name, step); },
    started: (job) => { jobs.latest = job; tell(); poll(); },
    onJob: (listener) => { jobs.heard.add(listener); return () => jobs.heard.delete(listener); },
    job: () => jobs.latest,
  };
}

const refresh = () => show();
const address = (project, step) => `#/${encodeURIComponent(project)}/${step}`;

function frame(overview, project, step) {
  document.title = project ? `${project} · cavga` : "cavga";
  byId("crumb").textContent = project;
  const tabs = byId("tabs");
  tabs.hidden = project === "";
  tabs.replaceChildren(...Object.entries(STEPS).map(([name, [title]]) =>
    el("a", { href: address(project, name), "aria-current": name === step ? "page" : null }, title)));
  const picked = overview?.picked;
  byId("picked").textContent = picked ? `/predict answers with ${picked}` : "";
}

// What is under way, and how it ended.

let timer = null;

async function poll() {
  clearTimeout(timer);
  const before = jobs.latest;
  try {
    const found = (await get("/jobs")).jobs;
    jobs.latest = found[0] ?? null;
    tell();
    if (before?.state === "running" && jobs.latest?.id === before.id && jobs.latest.state !== "running") ended(jobs.latest);
    for (const listener of jobs.heard) listener(jobs.latest);
  } catch (error) {
    byId("job").hidden = false;
    byId("job").replaceChildren(problem(error.message));
  }
  timer = setTimeout(poll, jobs.latest?.state === "running" ? BUSY : IDLE);
}

function ended(job) {
  say(`${title(job)} ${words(job.state)}`);
  if (page.project === job.project && page.step !== "inspect") refresh();
}

const words = (state) => ({ done: "is done", failed: "did not succeed", cancelled: "was cancelled" })[state] ?? "goes on";
const title = (job) => `${job.kind === "training" ? "Training" : "Refit"} of ${job.project}`;

function tell() {
  const box = byId("job");
  const job = jobs.latest;
  box.hidden = job === null || (job.state !== "running" && jobs.dismissed === job.id) || isOld(job);
  if (box.hidden) return;
  if (job.state === "running") running(box, job);
  else over(box, job);
}

// What ended before the page was opened is no news.
function isOld(job) {
  if (job.state === "running") jobs.seen = job.id;
  return job.state !== "running" && jobs.seen !== job.id;
}

function running(box, job) {
  if (box.dataset.job !== job.id) {
    const where = note();
    box.dataset.job = job.id;
    box.className = "job";
    box.replaceChildren(
      el("strong", {}, title(job)),
      el("progress", { max: "1", "aria-label": title(job) }),
      el("span", { class: "phase" }),
      worker("Cancel", { class: "small" }, () => post(`/jobs/${job.id}/cancel`).then(poll), where),
      where.place,
    );
  }
  const { phase, count, share, whole_share: whole, whole_seconds_left: left } = job.progress;
  const bar = box.querySelector("progress");
  if (whole === null || whole === undefined) bar.removeAttribute("value");
  else bar.value = whole;
  const parts = [phase || "starting", count || (share ? `${Math.round(100 * share)} %` : "")].filter(Boolean);
  const rest = whole === null || whole === undefined ? `${duration(job.seconds)} so far` : `${Math.round(100 * whole)} %, about ${duration(left)} left`;
  box.querySelector(".phase").textContent = `${parts.join(", ")} · ${rest}`;
}

function over(box, job) {
  delete box.dataset.job;
  box.className = `job ${job.state}`;
  const lines = job.state === "failed" ? job.lines.slice(-1) : [];
  const about = job.state === "done" ? `after ${duration(job.seconds)}` : "";
  const close = el("button", { type: "button", class: "small" }, "Dismiss");
  close.addEventListener("click", () => {
    jobs.dismissed = job.id;
    tell();
  });
  const warnings = job.state === "done" ? leftOut(job) : null;
  box.replaceChildren();
  put(box, el("strong", {}, `${title(job)} ${words(job.state)} ${about}`.trim()),
    el("span", { class: "phase" }, lines.join(" ")), warnings, close);
}

function leftOut(job) {
  const origin = job.result.provenance ?? {};
  const names = [...(origin.left_out ?? []), ...(origin.dropped ?? [])];
  return names.length ? el("span", {}, `${plural(names.length, "photograph")} left out: ${names.join(", ")}`) : null;
}

byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
window.addEventListener("hashchange", show);
// A file that misses its place must not replace the page.
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());
await show();
poll();
