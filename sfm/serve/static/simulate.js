// Simulate: a simulator's own parameters as sliders, its run watched live, its results to take away.

import { base64, get, numbers, post } from "./api.js";
import { choice, copyable, error, field, h, short, table, warning } from "./dom.js";
import { View } from "./molecule.js";
import { drawField, drawLines } from "./picture.js";

// A slider beside the number; logarithmic where the bounds are positive and far apart.
function slider(p) {
  const size = Math.abs(p.default) || 1;
  const low = p.low ?? (p.default < 0 ? -10 * size : -2 * size), high = p.high ?? 10 * size;
  const floor = low === 0 && p.default > 0 ? p.default / 1000 : low;
  const log = floor > 0 && high / floor > 100;
  const to = (x) => (log ? Math.log10(Math.max(x, floor)) : x), from = (x) => (log ? 10 ** x : x);
  const number = h("input", { type: "number", step: "any", min: p.low === null ? null : String(p.low), max: p.high === null ? null : String(p.high), "aria-label": `${p.name}, exact value`, value: String(p.default) });
  const range = h("input", { type: "range", min: String(to(log ? floor : low)), max: String(to(high)), step: "any" });
  range.value = String(to(p.default));
  range.setAttribute("aria-valuetext", String(p.default));
  range.addEventListener("input", () => {
    number.value = short(from(Number(range.value)), 3);
    range.setAttribute("aria-valuetext", number.value);
  });
  number.addEventListener("input", () => { range.value = String(to(Number(number.value))); });
  const unit = p.unit === "1" ? "" : ` [${p.unit}]`;
  const box = field(`${p.name}${unit}`, range, p.summary);
  const line = h("div", { class: "slider" });
  range.before(line);
  line.append(range, number);
  return [box, () => (number.value === "" ? p.default : Number(number.value))];
}

function setting(s) {
  const unit = s.unit === "1" ? "" : ` [${s.unit}]`;
  let control, read;
  if (typeof s.default === "boolean") {
    control = choice([["true", "yes"], ["false", "no"]], String(s.default));
    read = () => control.value === "true";
  } else if (s.choices.length && !s.others) {
    control = choice(s.choices, s.default);
    read = () => (typeof s.default === "number" ? Number(control.value) : control.value);
  } else if (typeof s.default === "number") {
    control = h("input", { type: "number", step: "any", value: String(s.default) });
    read = () => (control.value === "" ? s.default : Number(control.value));
  } else {
    control = h("input", { type: "text", value: String(s.default) });
    read = () => control.value;
  }
  const others = s.others ? `; also ${s.others}` : "";
  const given = s.choices.length && s.others ? ` (${s.choices.join(", ")}${others})` : "";
  return [field(`${s.name}${unit}`, control, s.summary + given), read];
}

// Surfaces of equal value in a volume: which of them, at which level, from all sides.
class Solid {
  constructor(label) {
    this.label = label;
    this.selector = choice([]);
    this.range = h("input", { type: "range", min: "-5", max: "0", step: "any" });
    this.caption = h("p", { class: "note" });
    this.levels = {};
    this.selector.addEventListener("change", () => this.paint());
    this.range.addEventListener("input", () => { this.levels[this.selector.value] = this.chosen(); this.paint(); });
    this.element = h("div", {}, field("Surface of", this.selector), field("At the level", this.range));
  }

  // the slider is the logarithm of the share of the largest value
  chosen() { return this.largest() * 10 ** Number(this.range.value); }
  largest() { return this.values.reduce((a, v) => Math.max(a, Math.abs(v)), 0) || 1; }

  show(volumes) {
    this.volumes = volumes;
    const names = Object.keys(volumes);
    if (this.selector.length !== names.length) {
      this.selector.replaceChildren(...names.map((n) => h("option", { value: n }, n.replaceAll("_", " "))));
    }
    return this.paint();
  }

  async paint() {
    const name = this.selector.value, entry = this.volumes[name];
    this.values = numbers(entry);
    const level = this.levels[name] ?? entry.surface;
    this.range.value = String(Math.log10(level / this.largest()));
    const unit = entry.unit === "1" ? "" : ` ${entry.unit}`;
    const signed = this.values.some((v) => v < -level);
    const text = `${name.replaceAll("_", " ")}: surface at ${short(level, 3)}${unit}${signed ? " (red), and at its negative (blue)" : ""}; largest ${short(this.largest(), 3)}`;
    this.range.setAttribute("aria-valuetext", `${short(level, 3)}${unit}`);
    if (!this.view) {
      this.view = new View(`Surfaces of ${this.label}`);
      this.element.append(this.view.element, this.caption);
    }
    this.caption.textContent = text;
    await this.view.volume(entry, this.values, level);
  }
}

// What is seen of a run: pictures, curves, atoms.
class Screen {
  constructor(spec) {
    this.spec = spec;
    this.status = h("p", { role: "status" }, "Waiting for a free process");
    this.bar = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
    this.canvas = h("canvas");
    this.caption = h("p", { class: "note" });
    this.selector = choice([]);
    this.selector.addEventListener("change", () => this.paint());
    this.picture = h("div", { hidden: true }, field("Shown", this.selector), this.canvas, this.caption);
    this.atoms = h("div", { hidden: true });
    this.solid = new Solid(spec.part);
    this.solid.element.hidden = true;
    this.charts = h("div", { class: "panels" });
    this.end = h("div");
    this.text = h("div");
    this.element = h("div", {}, this.status, this.bar, h("div", { class: "panels" }, this.picture, this.solid.element, this.atoms), this.charts, this.end, this.text);
    this.reset();
  }

  reset() {
    this.times = [];
    this.curves = {};
    this.fields = {};
  }

  hear(event) {
    if (event.kind === "start") {
      this.reset();
      this.text.replaceChildren(copyable("Command line", event.command.map(quoted).join(" ")), copyable("Python", event.python));
    } else if (event.kind === "progress") {
      this.status.textContent = `${event.work} ${event.done}${event.total ? ` of ${event.total}` : ""}${event.note ? `, ${event.note}` : ""}`;
      if (event.total) this.bar.value = event.done / event.total;
    } else if (event.kind === "frame") this.frame(event);
  }

  frame(event) {
    this.times.push(event.time);
    for (const [name, values] of Object.entries(event.scalars)) {
      if (values.length <= 4) (this.curves[name] ??= []).push(values);
    }
    if (event.fields && Object.keys(event.fields).length) {
      this.fields = event.fields;
      const names = Object.keys(this.fields);
      if (this.selector.length !== names.length) {
        const liked = names.find((n) => n.startsWith("vorticity")) ?? names[0];
        this.selector.replaceChildren(...names.map((n) => h("option", { value: n, selected: n === liked }, n)));
        this.picture.hidden = false;
      }
      this.paint();
    }
    if (event.volumes && Object.keys(event.volumes).length) {
      this.solid.element.hidden = false;
      this.solid.show(event.volumes).catch((e) => { this.status.textContent = e.message; });
    }
    if (event.xyz) {
      if (!this.view) {
        this.view = new View(`State of ${this.spec.part}`);
        this.atoms.append(this.view.element);
        this.atoms.hidden = false;
      }
      this.view.frame(event.xyz).catch((e) => { this.status.textContent = e.message; });
    }
    this.due ??= requestAnimationFrame(() => { this.due = null; this.plot(); });
  }

  paint() {
    const name = this.selector.value;
    if (name in this.fields) this.caption.textContent = drawField(this.canvas, name, this.fields[name]);
  }

  plot() {
    const units = Object.fromEntries(this.spec.observables.map((o) => [o.name, o.unit]));
    for (const [name, rows] of Object.entries(this.curves)) {
      let figure = this.charts.querySelector(`figure[data-name="${name}"]`);
      if (!figure) {
        const title = `${name}${units[name] === "1" ? "" : ` [${units[name]}]`}`;
        figure = h("figure", { "data-name": name, style: "margin: 0" }, h("figcaption", { class: "note" }, title), h("canvas", { class: "chart", role: "img" }));
        this.charts.append(figure);
      }
      const canvas = figure.querySelector("canvas");
      drawLines(canvas, rows[0].map((_, k) => ({ x: this.times, y: rows.map((r) => r[k] ?? NaN) })));
      canvas.setAttribute("aria-label", `${name} against time: from ${rows[0].map((x) => short(x, 4)).join(" ")} to ${rows.at(-1).map((x) => short(x, 4)).join(" ")}`);
    }
  }

  finish(event, key) {
    this.bar.hidden = true;
    if (event.kind === "error") {
      this.status.textContent = "";
      this.end.replaceChildren(error(event.error));
      return;
    }
    this.status.textContent = event.converged === false ? "Not converged." : "Done.";
    const rows = Object.entries(event.quantities).map(([name, q]) => [name, last(q), q.unit, q.shape.join(" x ")]);
    const picture = event.files.find((f) => f.endsWith(".png"));
    this.end.replaceChildren(...event.warnings.map(warning),
      table(["quantity", "last value, or range", "unit", "shape"], rows, "Results"),
      h("p", {}, "Download: ", ...event.files.flatMap((f) => [h("a", { href: `api/runs/${key}/files/${f}`, download: f }, f), " "])),
      picture ? h("img", { class: "result", src: `api/runs/${key}/files/${picture}`, alt: `The simulator's own picture of the run` }) : null);
  }
}

function last(q) {
  const v = q.value;
  if (typeof v === "number") return short(v, 9);
  const end = Array.isArray(v) && v.length ? v.at(-1) : q.last;
  if (typeof end === "number") return short(end, 9);
  if (Array.isArray(end) && end.flat(Infinity).length <= 9) return end.flat(Infinity).map((x) => short(x, 5)).join(" ");
  return q.summary ? `${short(q.summary.min, 4)} to ${short(q.summary.max, 4)}` : "";
}

// A word as a shell takes it.
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

async function form(name) {
  const spec = await get(`api/simulators/${name}`);
  const made = [...spec.parameters.map((p) => [p, ...slider(p)]), ...spec.settings.map((s) => [s, ...setting(s)])];
  const steps = h("input", { type: "number", min: "0", step: "1", placeholder: String(spec.steps) });
  const seed = h("input", { type: "number", min: "0", step: "1", placeholder: "0" });
  const file = h("input", { type: "file" });
  const closures = spec.closures.flatMap((c) => c.levels.map((l) => [JSON.stringify([c.model, l]), `${c.model}, ${l}`]));
  const closure = choice([["", "none: the classical theory"], ...closures]);
  const run = h("button", { type: "submit", class: "main" }, "Run");
  const stop = h("button", { type: "button", disabled: true }, "Stop");
  const output = h("div");

  const begin = async (event) => {
    event.preventDefault();
    run.disabled = true;
    const screen = new Screen(spec);
    output.replaceChildren(screen.element);
    const over = () => { run.disabled = false; stop.disabled = true; };
    try {
      const changed = made.map(([s, , read]) => [s, read()]).filter(([s, v]) => v !== s.default);
      const values = Object.fromEntries(changed.map(([s, v]) => [s.name, v]));
      const asked = { simulator: spec.part, values };
      if (steps.value) asked.steps = Number(steps.value);
      if (seed.value) asked.seed = Number(seed.value);
      if (closure.value) [asked.closure, asked.level] = JSON.parse(closure.value);
      if (file.files.length) Object.assign(asked, { name: file.files[0].name, content: await base64(file.files[0]) });
      const { key } = await post("api/runs", asked);
      stop.disabled = false;
      stop.onclick = () => post(`api/runs/${key}/stop`, {});
      const source = new EventSource(`api/runs/${key}/events`);
      source.onmessage = (message) => {
        const said = JSON.parse(message.data);
        if (said.kind !== "done" && said.kind !== "error") return screen.hear(said);
        source.close();
        screen.finish(said, key);
        over();
      };
    } catch (problem) {
      output.replaceChildren(error(problem.message));
      over();
    }
  };

  const parameters = made.slice(0, spec.parameters.length).map(([, element]) => element);
  const settings = made.slice(spec.parameters.length).map(([, element]) => element);
  return [
    h("p", {}, spec.summary),
    h("details", {}, h("summary", {}, "Equation, units, good values, limits, sources"), h("pre", { tabindex: "0" }, spec.description),
      spec.citations.length ? h("ul", {}, spec.citations.map((c) => h("li", {}, c))) : null),
    h("div", { class: "columns" },
      h("form", { onsubmit: begin, novalidate: true },
        ...parameters,
        h("details", {}, h("summary", {}, "Settings"), ...settings),
        field("Initial system or field", file, "a file; otherwise a well-known case of this theory"),
        closures.length ? field("Closure", closure, `supplies ${spec.closure_quantity}`) : null,
        field("Steps", steps), field("Seed", seed),
        h("div", { class: "row" }, run, stop)),
      output),
  ];
}

export default async function page(name) {
  const all = await get("api/simulators");
  const usable = all.filter((s) => !s.error);
  const chosen = usable.some((s) => s.name === name) ? name : usable[0]?.name;
  const selector = choice(usable.map((s) => [s.name, `${s.name}: ${s.summary}`]), chosen);
  selector.addEventListener("change", () => { location.hash = `#/simulate/${selector.value}`; });
  const broken = all.filter((s) => s.error).map((s) => warning(`${s.name}: ${s.error}`));
  return [field("Simulator", selector), ...broken, ...(chosen ? await form(chosen) : [])];
}
