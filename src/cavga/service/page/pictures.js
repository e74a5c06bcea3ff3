// Pictures of photographs: small ones as they come into view, and large ones with their maps, a few kept.

import { at, blobOf, send } from "./api.js";
import { el, svg } from "./dom.js";

const KEPT = 12; // large photographs in memory
const SMALL = 320;

// Small pictures of one set of a project, each loaded when it can be seen.
export class Thumbnails {
  constructor(project, set) {
    this.project = project;
    this.set = set;
    this.urls = new Map();
    this.seen = new IntersectionObserver((entries) => {
      for (const entry of entries.filter((each) => each.isIntersecting)) {
        this.seen.unobserve(entry.target);
        this.load(entry.target);
      }
    }, { rootMargin: "200px" });
  }

  image(name) {
    const image = el("img", { alt: "", draggable: "false" });
    image.photograph = name;
    if (this.urls.has(name)) image.src = this.urls.get(name);
    else this.seen.observe(image);
    return image;
  }

  async load(image) {
    const name = image.photograph;
    try {
      if (!this.urls.has(name)) {
        const blob = await blobOf(at(this.project, "/picture", { set: this.set, file: name, side: SMALL }));
        this.urls.set(name, URL.createObjectURL(blob));
      }
      image.src = this.urls.get(name);
    } catch {
      image.classList.add("broken");
    }
  }

  close() {
    this.seen.disconnect();
    for (const url of this.urls.values()) URL.revokeObjectURL(url);
  }
}

// Outlines over a small picture, in pixels of the photograph.
export function outlines(regions, [height, width]) {
  const points = regions.map((polygon) => polygon.map((point) => point.join(",")).join(" "));
  const shapes = points.map((text) => svg("polygon", { points: text }));
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, ...shapes);
}

// Photographs at full size, and their anomaly maps.
export class LargePictures {
  constructor(project) {
    this.project = project;
    this.kept = new Map();
  }

  load(name) {
    const known = this.kept.get(name);
    this.kept.delete(name);
    const found = known ?? this.fetch(name);
    this.kept.set(name, found);
    if (this.kept.size > KEPT) this.kept.delete(this.kept.keys().next().value);
    found.catch(() => this.kept.delete(name));
    return found;
  }

  async fetch(name) {
    const [blob, map] = await Promise.all([
      blobOf(at(this.project, "/picture", { set: "inspect", file: name })),
      this.map(name),
    ]);
    return { image: await createImageBitmap(blob), map };
  }

  async map(name) {
    const response = await send(at(this.project, "/map", { file: name }));
    const [height, width] = response.headers.get("x-map-size").split(" ").map(Number);
    return { height, width, values: new Float32Array(await response.arrayBuffer()) };
  }

  forget() {
    this.kept.clear();
  }
}
