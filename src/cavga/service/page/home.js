// All projects, and a new one.

import { post } from "./api.js";
import { el, note, plural, problem, put } from "./dom.js";

export function showHome(main, overview) {
  const where = note();
  const input = el("input", {
    id: "new-project", type: "text", maxlength: "64", required: true, placeholder: "for example: screw M6",
    autocomplete: "off", "aria-describedby": "new-about",
  });
  const form = el("form", { class: "new" },
    el("label", { for: "new-project" }, "Name of the part"),
    el("div", { class: "row" }, input, el("button", { class: "primary" }, "Make a project")),
    el("p", { class: "about", id: "new-about" }, "One project is one part under one camera."), where.place);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const { name } = await post("/projects", { name: input.value });
      location.hash = `#/${encodeURIComponent(name)}/photographs`;
    } catch (error) {
      where.fail(error);
      input.focus();
    }
  });
  const { projects } = overview;
  const first = projects.length === 0;
  put(main, 
    el("h1", {}, first ? "Teach it what good looks like" : "Projects"),
    first && el("p", { class: "lead" }, "Give it photographs of good parts. It learns them, and then says of each new "
      + "photograph whether something is wrong, and where. No bad parts are needed to begin."),
    overview.cannot_train && problem(`${overview.cannot_train}. Projects that have a model can be used.`),
    overview.not_shown.length > 0 && el("p", { class: "about" },
      `Not shown, because of their names: ${overview.not_shown.join(", ")}`),
    el("ul", { class: "cards" }, projects.map((project) => card(project, overview.picked))),
    el("section", { class: "panel" }, el("h2", {}, first ? "Begin" : "A new project"), form),
  );
  if (first) input.focus();
}

function card(project, picked) {
  const step = project.has_model ? "inspect" : "photographs";
  const state = project.has_model ? "has a model" : "not trained yet";
  return el("li", {}, el("a", { class: "card", href: `#/${encodeURIComponent(project.name)}/${step}` },
    el("strong", {}, project.name),
    el("span", {}, `${plural(project.num_good, "good photograph")} · ${project.num_inspect} to inspect`),
    el("span", { class: project.has_model ? "chip good" : "chip" }, state),
    project.name === picked && el("span", { class: "chip accent" }, "answers /predict")));
}
