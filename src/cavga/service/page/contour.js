// The line around what of a map reaches a threshold: marching squares, as closed rings in units of the map.

// Corners are the centres of the map's values. Around the map lies one row of values below any threshold, so that
// every ring closes. `at(x, y)` is the value; an edge has its left or upper corner and a direction.

export function rings(map, threshold) {
  const { height, width, values } = map;
  const stride = width + 2;
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? -Infinity : values[y * width + x]);
  const links = new Map();
  const join = (a, b) => {
    (links.get(a) ?? links.set(a, []).get(a)).push(b);
    (links.get(b) ?? links.set(b, []).get(b)).push(a);
  };
  for (let y = -1; y < height; y += 1) {
    for (let x = -1; x < width; x += 1) {
      const corners = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      const inside = corners.map((value) => value >= threshold);
      const count = inside.filter(Boolean).length;
      if (count === 0 || count === 4) continue;
      const here = 2 * ((y + 1) * stride + x + 1);
      const edges = [here, here + 3, here + 2 * stride, here + 1]; // upper, right, lower, left
      const crossed = edges.filter((_, side) => inside[side] !== inside[(side + 1) % 4]);
      if (crossed.length === 2) join(crossed[0], crossed[1]);
      else pairs(inside[0], corners, threshold, edges).forEach(([a, b]) => join(a, b));
    }
  }
  return walk(links, (edge) => place(edge, stride, at, threshold));
}

// Two opposite corners are inside: whether they are one piece is said by the middle.
function pairs(firstIsInside, corners, threshold, [upper, right, lower, left]) {
  const middle = corners.reduce((sum, value) => sum + value, 0) / 4;
  const cutsFirst = (middle >= threshold) !== firstIsInside;
  return cutsFirst ? [[upper, left], [right, lower]] : [[upper, right], [lower, left]];
}

function place(edge, stride, at, threshold) {
  const isDown = edge % 2 === 1;
  const corner = (edge - (isDown ? 1 : 0)) / 2;
  const x = (corner % stride) - 1;
  const y = Math.floor(corner / stride) - 1;
  const a = at(x, y);
  const b = isDown ? at(x, y + 1) : at(x + 1, y);
  const share = Number.isFinite(a) && Number.isFinite(b) ? (threshold - a) / (b - a) : 0.5;
  return isDown ? [x, y + share] : [x + share, y];
}

function walk(links, placeOf) {
  const found = [];
  const seen = new Set();
  for (const start of links.keys()) {
    if (seen.has(start)) continue;
    const ring = [];
    for (let edge = start; edge !== undefined; edge = links.get(edge).find((next) => !seen.has(next))) {
      seen.add(edge);
      ring.push(placeOf(edge));
    }
    found.push(ring);
  }
  return found;
}
