// One photograph on a canvas: heat, outline, zoom. Everything is drawn here, so that thresholds move at once.

import { rings } from "./contour.js";

const LARGEST_ZOOM = 40;
const LINE = 2; // CSS pixels
const MARGIN = 16; // around a photograph that is shown whole
const PIXELS_SHOW = 4; // from this zoom on a pixel of the photograph is a square
const COLOURS = { casing: "#14171b", anomalous: "#ffe119", normal: "#fff7c8" }; // as overlays of `cavga predict`

export class Viewer {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed; // hears of the zoom
    this.photograph = null;
    this.look = { heat: true, outline: true };
    this.drawing = null; // scale, colours, thresholds
    this.zoom = { factor: 1, x: 0, y: 0, isFitted: true };
    this.pointers = new Map();
    this.listen();
  }

  show(photograph) {
    const isAlike = this.photograph && photograph
      && this.photograph.image.width === photograph.image.width && this.photograph.image.height === photograph.image.height;
    this.photograph = photograph;
    this.tint = null;
    this.path = null;
    if (!isAlike) this.fit();
    this.draw();
  }

  set(drawing) {
    const isOther = drawing.pixelThreshold !== this.drawing?.pixelThreshold;
    this.drawing = drawing;
    if (isOther) this.path = null;
    this.draw();
  }

  toggle(name) {
    this.look[name] = !this.look[name];
    this.draw();
    return this.look[name];
  }

  // Zoom: `factor` is CSS pixels for a pixel of the photograph; x, y is where its corner lies.

  fit() {
    if (!this.photograph) return;
    const { width, height } = this.photograph.image;
    const room = (side) => Math.max(1, side - 2 * MARGIN);
    const factor = Math.min(room(this.canvas.clientWidth) / width, room(this.canvas.clientHeight) / height);
    this.zoom = {
      factor, isFitted: true,
      x: (this.canvas.clientWidth - width * factor) / 2, y: (this.canvas.clientHeight - height * factor) / 2,
    };
    this.draw();
  }

  zoomTo(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const now = this.zoom;
    const next = Math.min(LARGEST_ZOOM, Math.max(0.02, factor));
    const share = next / now.factor;
    this.zoom = { factor: next, isFitted: false, x: x - (x - now.x) * share, y: y - (y - now.y) * share };
    this.draw();
  }

  zoomBy(share, x, y) {
    this.zoomTo(this.zoom.factor * share, x, y);
  }

  move(x, y) {
    this.zoom = { ...this.zoom, isFitted: false, x: this.zoom.x + x, y: this.zoom.y + y };
    this.draw();
  }

  listen() {
    const { canvas } = this;
    this.resized = new ResizeObserver(() => (this.zoom.isFitted ? this.fit() : this.draw()));
    this.resized.observe(canvas);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * 0.002), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("dblclick", (event) => {
      if (this.zoom.isFitted) this.zoomTo(Math.max(2, this.zoom.factor * 3), event.offsetX, event.offsetY);
      else this.fit();
    });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, event);
    });
    canvas.addEventListener("pointermove", (event) => this.dragged(event));
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => this.pointers.delete(event.pointerId));
    }
  }

  // One finger moves, two zoom.
  dragged(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const other = [...this.pointers.values()].find((pointer) => pointer.pointerId !== event.pointerId);
    if (other) {
      const apart = (one) => Math.hypot(one.offsetX - other.offsetX, one.offsetY - other.offsetY) || 1;
      const middle = [(event.offsetX + other.offsetX) / 2, (event.offsetY + other.offsetY) / 2];
      this.zoomBy(apart(event) / apart(before), ...middle);
    } else {
      this.move(event.offsetX - before.offsetX, event.offsetY - before.offsetY);
    }
    this.pointers.set(event.pointerId, event);
  }

  draw() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.paint();
    });
  }

  paint() {
    const { canvas, zoom } = this;
    const dots = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * dots), Math.round(canvas.clientHeight * dots)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    this.changed(zoom);
    if (!this.photograph) return;
    const { image } = this.photograph;
    context.setTransform(zoom.factor * dots, 0, 0, zoom.factor * dots, zoom.x * dots, zoom.y * dots);
    context.imageSmoothingEnabled = zoom.isFitted || zoom.factor < PIXELS_SHOW;
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0);
    if (!this.drawing) return;
    if (this.look.heat) {
      this.tint ??= tinted(this.photograph.map, this.drawing);
      context.imageSmoothingEnabled = true;
      context.drawImage(this.tint, 0, 0, image.width, image.height);
    }
    if (this.look.outline) {
      this.path ??= outlinePath(this.photograph, this.drawing.pixelThreshold);
      this.stroke(context, zoom.factor);
    }
  }

  stroke(context, factor) {
    const { isAnomalous } = this.drawing;
    context.lineJoin = "round";
    context.setLineDash(isAnomalous ? [] : [(4 * LINE) / factor, (3 * LINE) / factor]);
    context.lineWidth = (2 * LINE) / factor;
    context.strokeStyle = COLOURS.casing;
    context.stroke(this.path);
    context.lineWidth = LINE / factor;
    context.strokeStyle = isAnomalous ? COLOURS.anomalous : COLOURS.normal;
    context.stroke(this.path);
    context.setLineDash([]);
  }

  close() {
    this.resized.disconnect();
  }
}

function outlinePath({ image, map }, threshold) {
  const path = new Path2D();
  const [across, down] = [image.width / map.width, image.height / map.height];
  for (const ring of rings(map, threshold)) {
    ring.forEach(([x, y], index) => {
      const point = [(x + 0.5) * across, (y + 0.5) * down];
      if (index === 0) path.moveTo(...point);
      else path.lineTo(...point);
    });
    path.closePath();
  }
  return path;
}

// The map as colours, seen through from `tint_start` of the scale on.
function tinted(map, { scale, heat }) {
  const table = colourTable(heat.colours);
  const picture = new ImageData(map.width, map.height);
  const reach = scale.maximum - scale.minimum;
  for (let i = 0; i < map.values.length; i += 1) {
    const share = Math.min(1, Math.max(0, (map.values[i] - scale.minimum) / reach));
    const opacity = heat.max_tint * Math.max(0, (share - heat.tint_start) / (1 - heat.tint_start));
    const colour = 3 * Math.round(share * 255);
    picture.data.set([table[colour], table[colour + 1], table[colour + 2], Math.round(255 * opacity)], 4 * i);
  }
  const canvas = new OffscreenCanvas(map.width, map.height);
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

function colourTable(points) {
  const table = new Float64Array(3 * 256);
  for (let i = 0; i < 256; i += 1) {
    const place = (i / 255) * (points.length - 1);
    const low = Math.min(points.length - 2, Math.floor(place));
    for (let c = 0; c < 3; c += 1) {
      table[3 * i + c] = points[low][c] + (place - low) * (points[low + 1][c] - points[low][c]);
    }
  }
  return table;
}
