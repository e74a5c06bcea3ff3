// Elements from data. Names come from files and people: they are only ever text, never HTML.

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value") element.value = value;
    else if (value === true) element.setAttribute(name, "");
    else element.setAttribute(name, value);
  }
  put(element, ...children);
  return element;
}

// Children of an element; what is not there this time is null, undefined or false.
export function put(element, ...children) {
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

const SVG = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

export function say(text) {
  byId("spoken").textContent = text;
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 0.001 || size >= 100000)) return value.toExponential(2);
  return value.toPrecision(4).replace(/\.?0+$/, "");
}

export function duration(seconds) {
  if (seconds < 55) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

export function problem(text) {
  return el("p", { class: "problem", role: "alert" }, text);
}

// A place for one plain line beside what it is about.
export function note() {
  const place = el("p", { class: "note", role: "status" });
  return {
    place,
    show(text, kind = "") {
      place.className = `note ${kind}`;
      place.textContent = text;
    },
    fail(error) {
      place.className = "note problem";
      place.textContent = error.message;
    },
  };
}

// A button whose work takes a moment: it cannot be pressed twice, and says what went wrong.
export function worker(label, attributes, work, where) {
  const button = el("button", { type: "button", ...attributes }, label);
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    where.show("");
    try {
      await work();
    } catch (error) {
      where.fail(error);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
  return button;
}
