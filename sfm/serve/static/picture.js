// Fields as images and lines, and curves in time, on a canvas.

import { numbers } from "./api.js";
import { short } from "./dom.js";

// blue - white - red for what has both signs, white - blue - black for what has one; linear in between
const DIVERGING = [[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]];
const SEQUENTIAL = [[247, 251, 255], [158, 202, 225], [49, 130, 189], [8, 48, 107]];

export function colour(scale, x) {
  const at = Math.min(Math.max(x, 0), 1) * (scale.length - 1);
  const i = Math.min(Math.floor(at), scale.length - 2);
  return scale[i].map((low, c) => Math.round(low + (at - i) * (scale[i + 1][c] - low)));
}

export const signed = (x, largest) => colour(DIVERGING, 0.5 + 0.5 * (largest ? x / largest : 0));

function range(values) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (Number.isFinite(v)) { low = Math.min(low, v); high = Math.max(high, v); }
  return low <= high ? [low, high] : [0, 0];
}

// Draw {shape, f32, unit, shown}; returns a line of text that says what is seen.
export function drawField(canvas, name, entry) {
  const values = numbers(entry);
  const unit = entry.unit && entry.unit !== "1" ? ` ${entry.unit}` : "";
  const [low, high] = range(values);
  const what = entry.shown ? ` (${entry.shown})` : "";
  const text = `${name}${what}: ${short(low, 3)} to ${short(high, 3)}${unit}`;
  if (entry.shape.length === 1) drawLines(canvas, [{ x: [...values.keys()], y: [...values] }]);
  else {
    const [rows, columns] = entry.shape.slice(-2);
    canvas.className = "picture";
    canvas.width = columns;
    canvas.height = rows;
    const context = canvas.getContext("2d");
    const image = context.createImageData(columns, rows);
    const both = low < 0 && high > 0;
    const largest = Math.max(-low, high);
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < columns; c++) {
        const v = values[r * columns + c];
        const rgb = both ? signed(v, largest) : colour(SEQUENTIAL, high > low ? (v - low) / (high - low) : 0);
        const place = 4 * ((rows - 1 - r) * columns + c); // the first row of a field is its lowest y
        image.data.set([...rgb, 255], place);
      }
    }
    context.putImageData(image, 0, 0);
  }
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", text);
  return text;
}

export const COLOURS = ["#1f5f8b", "#c2410c", "#14612f", "#6d28d9", "#8a6d00", "#be185d", "#0f766e", "#4b5563"];

// Curves [{x, y}] in one frame, with the ends of both axes written; `log`: y logarithmic.
export function drawLines(canvas, given, { log = false } = {}) {
  const to = (y) => (!log ? y : y > 0 ? Math.log10(y) : NaN), from = (y) => (log ? 10 ** y : y);
  const curves = given.map((c) => ({ x: c.x, y: [...c.y].map(to) }));
  canvas.className = "chart";
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth || 320, height = canvas.clientHeight || 144;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const [x0, x1] = range(curves.flatMap((c) => c.x));
  const [y0, y1] = range(curves.flatMap((c) => c.y));
  const left = 64, bottom = 20, top = 8, right = 10;
  const px = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (width - left - right);
  const py = (y) => height - bottom - ((y - y0) / (y1 - y0 || 1)) * (height - top - bottom);
  context.font = "11px system-ui";
  context.fillStyle = "#5a6675";
  context.textAlign = "right";
  context.fillText(short(from(y1), 4), left - 6, top + 8);
  context.fillText(short(from(y0), 4), left - 6, height - bottom);
  context.fillText(short(x1, 4), width - right, height - 5);
  context.textAlign = "left";
  context.fillText(short(x0, 4), left, height - 5);
  curves.forEach((curve, i) => {
    context.strokeStyle = COLOURS[i % COLOURS.length];
    context.lineWidth = 1.5;
    context.beginPath();
    curve.y.forEach((y, k) => Number.isFinite(y) && context.lineTo(px(curve.x[k]), py(y)));
    context.stroke();
    if (curve.y.length === 1) { // a line of one point is not seen
      context.fillStyle = context.strokeStyle;
      context.fillRect(px(curve.x[0]) - 3, py(curve.y[0]) - 3, 6, 6);
    }
  });
}
