// Atoms in three dimensions through 3Dmol.js, which is loaded when it is first needed.

import { signed } from "./picture.js";
import { h, short } from "./dom.js";

let loading;

function library() {
  loading ??= new Promise((resolve, reject) => {
    window.$3Dmol_notrack = true;
    const script = h("script", { src: "3Dmol-min.js" });
    script.onload = () => resolve(window.$3Dmol);
    script.onerror = () => reject(new Error("the viewer could not be loaded"));
    document.head.append(script);
  });
  return loading;
}

const SMALLEST = 0.001; // eV/angstrom: a shorter arrow would only be rounding
const TURNS = { ArrowLeft: ["y", -10], ArrowRight: ["y", 10], ArrowUp: ["x", -10], ArrowDown: ["x", 10] };

// An element with a viewer; `draw` may be called again with other atoms.
export class View {
  constructor(label) {
    this.box = h("div", { class: "view", tabindex: "0", role: "img",
      "aria-label": `${label}, in three dimensions; arrow keys turn it, + and - zoom` });
    this.element = h("div", {}, this.box, h("p", { class: "note" }, "Drag or arrow keys turn, wheel or + and - zoom."));
    this.box.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    if (!this.viewer) return;
    if (event.key in TURNS) {
      const [axis, degrees] = TURNS[event.key];
      this.viewer.rotate(degrees, axis);
    } else if (event.key === "+" || event.key === "=") this.viewer.zoom(1.15);
    else if (event.key === "-") this.viewer.zoom(1 / 1.15);
    else return;
    event.preventDefault();
    this.viewer.render();
  }

  async start() {
    if (this.viewer || this.failed) return;
    const three = await library();
    try {
      this.viewer = three.createViewer(this.box, { backgroundColor: "white", antialias: true });
    } catch { /* no WebGL */ }
    if (!this.viewer) {
      this.failed = true;
      this.box.replaceChildren(h("p", { class: "warning" }, "This browser shows no three-dimensional pictures (WebGL is off)."));
    }
  }

  // atoms: {symbols, positions, cell}; forces: (n, 3) or null; charges: (n) or null
  async draw(atoms, { forces = null, charges = null } = {}) {
    await this.start();
    if (!this.viewer) return "";
    const lines = atoms.symbols.map((s, i) => `${s} ${atoms.positions[i].join(" ")}`);
    this.xyz(`${lines.length}\n\n${lines.join("\n")}`, false);
    const said = [];
    if (charges) {
      const largest = Math.max(...charges.map(Math.abs)) || 1;
      const paint = (atom) => { const [r, g, b] = signed(charges[atom.serial], largest); return (r << 16) | (g << 8) | b; };
      this.viewer.setStyle({}, { stick: { radius: 0.1, colorfunc: paint }, sphere: { scale: 0.28, colorfunc: paint } });
      said.push(`Charges: blue negative, red positive, at most ${short(largest, 3)} e.`);
    }
    if (forces) {
      const sizes = forces.map((f) => Math.hypot(...f));
      const largest = Math.max(...sizes) || 1;
      forces.forEach((f, i) => {
        if (sizes[i] < Math.max(0.02 * largest, SMALLEST)) return;
        const [x, y, z] = atoms.positions[i];
        const end = f.map((c, k) => atoms.positions[i][k] + (1.8 * c) / largest);
        this.viewer.addArrow({ start: { x, y, z }, end: { x: end[0], y: end[1], z: end[2] }, radius: 0.07, color: "#c2410c" });
      });
      said.push(largest < SMALLEST ? `All forces are below ${SMALLEST} eV/angstrom.`
        : `Arrows: forces, the longest ${short(largest, 3)} eV/angstrom.`);
    }
    this.cell(atoms.cell);
    this.first();
    return said.join(" ");
  }

  // {shape, f32, origin, steps, symbols, positions}: surfaces where the values are `level`, and -level
  async volume(entry, values, level) {
    await this.start();
    if (!this.viewer) return;
    const three = await library();
    this.viewer.removeAllModels();
    this.viewer.removeAllShapes();
    const lines = entry.symbols.map((s, i) => `${s} ${entry.positions[i].join(" ")}`);
    if (lines.length) {
      this.viewer.addModel(`${lines.length}\n\n${lines.join("\n")}`, "xyz");
      this.viewer.setStyle({}, { stick: { radius: 0.1 }, sphere: { scale: 0.2 } });
    }
    const [x, y, z] = entry.shape, [dx, dy, dz] = entry.steps, [ox, oy, oz] = entry.origin;
    const data = Object.assign(new three.VolumeData("", "none"), {
      size: { x, y, z }, unit: { x: dx, y: dy, z: dz }, origin: { x: ox, y: oy, z: oz }, data: values });
    const surfaces = [[level, lines.length ? 0.65 : 1, "#c2410c"], [-level, lines.length ? 0.65 : 1, "#1f5f8b"]];
    for (const [isoval, opacity, color] of surfaces) {
      if (values.some((v) => (isoval > 0 ? v > isoval : v < isoval))) this.viewer.addIsosurface(data, { isoval, opacity, color, smoothness: 2 });
    }
    const ends = [[ox, oy, oz], [(x - 1) * dx, (y - 1) * dy, (z - 1) * dz]];
    if (!lines.length) this.cell([[ends[1][0], 0, 0], [0, ends[1][1], 0], [0, 0, ends[1][2]]]);
    if (!this.seen) this.viewer.rotate(lines.length ? 0 : 30, { x: 1, y: 1, z: 0 });
    this.first();
  }

  // one frame of a trajectory, extended XYZ
  async frame(text) {
    await this.start();
    if (!this.viewer) return;
    this.xyz(text.split(/\r?\n/).map((line, i) => (i > 1 ? line.split(/\s+/).slice(0, 4).join(" ") : line)).join("\n"));
    const lattice = /Lattice="([^"]+)"/i.exec(text);
    if (lattice) {
      const v = lattice[1].trim().split(/\s+/).map(Number);
      this.cell([v.slice(0, 3), v.slice(3, 6), v.slice(6, 9)]);
    }
    this.first();
  }

  xyz(text) {
    this.viewer.removeAllModels();
    this.viewer.removeAllShapes();
    this.viewer.addModel(text, "xyz");
    this.viewer.setStyle({}, { stick: { radius: 0.1 }, sphere: { scale: 0.28 } });
  }

  cell(rows) {
    if (!rows) return;
    const at = (i, j, k) => {
      const [x, y, z] = [0, 1, 2].map((c) => i * rows[0][c] + j * rows[1][c] + k * rows[2][c]);
      return { x, y, z };
    };
    for (const i of [0, 1]) for (const j of [0, 1]) {
      for (const [a, b] of [[at(0, i, j), at(1, i, j)], [at(i, 0, j), at(i, 1, j)], [at(i, j, 0), at(i, j, 1)]]) {
        this.viewer.addCylinder({ start: a, end: b, radius: 0.03, color: "#5a6675" });
      }
    }
  }

  first() {
    if (!this.seen) {
      this.viewer.zoomTo();
    }
    this.seen = true;
    this.viewer.render();
  }
}
