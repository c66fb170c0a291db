// Predict: a SMILES, a pasted or dropped file -> quantities with uncertainty, forces and charges.

import { call, get, numbers } from "./api.js";
import { choice, copyable, error, field, h, short, table, warning } from "./dom.js";
import { drawer } from "./draw.js";
import { features } from "./features.js";
import { View } from "./molecule.js";
import { search } from "./neighbours.js";
import { drawField } from "./picture.js";

// What pasted text is, by how it begins; readers go by the name.
export function nameOf(text) {
  const first = text.trimStart().split("\n")[0].trim();
  if (/^\d+$/.test(first)) return "pasted.xyz";
  if (/^(data_|loop_|#\s*\\#CIF)/im.test(text) || /^_cell_length_a/m.test(text)) return "pasted.cif";
  if (/V[23]000|\$\$\$\$|M {2}END/.test(text)) return "pasted.sdf";
  if (text.trim().split("\n").length > 6 && /^\s*[\d.+-]+\s*$/.test(text.split("\n")[1] ?? "")) return "POSCAR";
  return "molecules.smi";
}

function value(entry) {
  const all = numbers(entry);
  if (all.length === 1) return short(all[0], 7);
  if (all.length <= 9) return [...all].map((x) => short(x, 4)).join(" ");
  if (entry.shape.length === 2 && entry.shape[1] === 3) {
    let longest = 0;
    for (let i = 0; i < all.length; i += 3) longest = Math.max(longest, Math.hypot(all[i], all[i + 1], all[i + 2]));
    return `${entry.shape.join(" x ")}, longest ${short(longest, 4)}`;
  }
  let low = Infinity, high = -Infinity;
  for (const x of all) { low = Math.min(low, x); high = Math.max(high, x); }
  return `${entry.shape.join(" x ")}, ${short(low, 4)} to ${short(high, 4)}`;
}

const pick = (system, name) => Object.entries(system.quantities).find(([key, e]) => key.split("@")[0] === name && e.value);

function drawing(system) {
  const parts = [];
  if (system.atoms) {
    const view = new View(system.id);
    const note = h("p", { class: "note" });
    const forces = pick(system, "forces"), charges = pick(system, "charges");
    const boxes = [];
    const box = (text, found) => {
      if (!found) return null;
      const input = h("input", { type: "checkbox", checked: true, onchange: () => draw() });
      boxes.push(h("label", {}, input, ` ${text} (${found[1].level})`));
      return input;
    };
    const f = box("forces as arrows", forces), c = box("charges as colours", charges);
    const draw = async () => {
      note.textContent = await view.draw(system.atoms, {
        forces: f?.checked ? forces[1].value : null, charges: c?.checked ? charges[1].value : null });
    };
    parts.push(view.element, h("div", { class: "row" }, ...boxes), note);
    queueMicrotask(() => draw().catch((e) => parts[0].append(error(e.message))));
  }
  for (const [name, entry] of Object.entries(system.fields)) {
    const canvas = h("canvas");
    const note = h("p", { class: "note" });
    parts.push(canvas, note);
    queueMicrotask(() => { note.textContent = drawField(canvas, name, entry); });
  }
  return parts;
}

// of one number, or the range of those of an array's rows
function standardError(sigma) {
  if (sigma === null) return "";
  if (!Array.isArray(sigma)) return `± ${short(sigma, 2)}`;
  return `± ${short(Math.min(...sigma), 2)} to ${short(Math.max(...sigma), 2)}`;
}

function showSystem(system) {
  const rows = Object.entries(system.quantities).map(([key, e]) => [
    key.split("@")[0], value(e), standardError(e.uncertainty), e.unit, e.level]);
  return [
    h("h3", {}, `${system.id} (${system.domain})`),
    ...(system.warnings.length ? system.warnings.map(warning)
      : [h("p", { class: "inside" }, "Inside what the model was trained on, as far as it can tell.")]),
    ...drawing(system),
    table(["quantity", "value", "standard error", "unit", "level"], rows, `Quantities of ${system.id}`),
  ];
}

function showAnswer(answer, asked) {
  const place = h("div");
  const show = (i) => place.replaceChildren(...showSystem(answer.systems[i]));
  const many = answer.systems.length > 1;
  const selector = choice(answer.systems.map((s, i) => [i, s.id]), 0);
  selector.addEventListener("change", () => show(Number(selector.value)));
  show(0);
  const title = asked.level ? `${answer.model} at ${asked.level}` : answer.model;
  return h("section", { "aria-label": title }, h("h2", {}, title), ...answer.warnings.map(warning),
    many ? field(`System, of ${answer.systems.length}`, selector) : null, place,
    copyable("Command line", answer.command), copyable("Python", answer.python),
    features(asked, () => Number(selector.value)),
    search(asked, () => Number(selector.value), answer.systems[0].domain));
}

export default async function page() {
  const [about, models] = await Promise.all([get("api/about"), get("api/models")]);
  const open = models.filter((m) => m.open && m.predicts);
  const first = choice(open.map((m) => m.name)), second = choice([["", "none"], ...open.map((m) => m.name)]);
  // A choice among the levels of the model that `models` names.
  const levelOf = (models) => {
    const level = choice([["", "all"]]);
    const fill = () => {
      const model = open.find((m) => m.name === models.value);
      const names = [...new Set((model?.targets ?? []).map((t) => t.level))];
      level.replaceChildren(...[["", "all"], ...names.map((n) => [n, n])].map(([v, t]) => h("option", { value: v }, t)));
    };
    models.addEventListener("change", fill);
    fill();
    return level;
  };
  const level = levelOf(first), other = levelOf(second);

  const text = h("textarea", { spellcheck: false, placeholder: "CCO" });
  const file = h("input", { type: "file", accept: about.suffixes.filter((s) => s.startsWith(".")).join(",") });
  const extrapolate = h("input", { type: "checkbox" });
  const result = h("div", { "aria-live": "polite" });
  const button = h("button", { type: "submit", class: "main" }, "Predict");
  let dropped = null;
  const chosen = h("p", { class: "note", role: "status" });
  const take = (one) => { dropped = one; chosen.textContent = one ? `File: ${one.name}` : ""; };
  file.addEventListener("change", () => take(file.files[0] ?? null));
  text.addEventListener("input", () => { file.value = ""; take(null); });

  const example = async (name) => {
    const answer = await fetch(`api/examples/${name}`);
    const blob = await answer.blob();
    file.value = "";
    if (name.endsWith(".h5")) { text.value = ""; take(new File([blob], name)); }
    else { text.value = await blob.text(); take(new File([blob], name)); }
    form.requestSubmit();
  };

  const predict = async (event) => {
    event.preventDefault();
    const name = dropped ? dropped.name : nameOf(text.value);
    const body = dropped ?? new Blob([text.value]);
    button.disabled = true;
    result.replaceChildren(h("p", { role: "status" }, "Predicting"));
    try {
      const pairs = [[first.value, level.value]];
      if (second.value && !(second.value === first.value && other.value === level.value)) pairs.push([second.value, other.value]);
      const answers = [];
      for (const [model, at] of pairs) {
        const query = new URLSearchParams({ model, name, extrapolate: extrapolate.checked });
        if (at) query.set("level", at);
        const asked = { model, name, body, level: at, extrapolate: extrapolate.checked };
        const answer = await call(`api/predict?${query}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body });
        answers.push(showAnswer(answer, asked));
      }
      result.replaceChildren(h("div", { class: "panels" }, answers));
    } catch (problem) {
      result.replaceChildren(error(problem.message));
    } finally {
      button.disabled = false;
    }
  };

  const drop = h("div", { class: "drop" },
    drawer(text),
    field("SMILES, or a file's text", text, "xyz, extxyz, sdf, mol, cif or POSCAR; or draw it, or drop a file here"),
    field("File", file), chosen);
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) { text.value = ""; take(event.dataTransfer.files[0]); }
    });
  }
  const form = h("form", { onsubmit: predict },
    field("Model", first),
    field("Level of theory", level),
    field("Beside it", second, "another model, or the same at another level"),
    field("At the level", other),
    drop,
    h("p", {}, h("label", {}, extrapolate, " answer outside the training data too")),
    h("div", { class: "row" }, button),
    h("h3", {}, "Examples"),
    h("div", { class: "row" }, Object.keys(about.examples).map((name) =>
      h("button", { type: "button", onclick: () => example(name).catch((e) => result.replaceChildren(error(e.message))) }, name))));
  return [h("div", { class: "columns" }, form, result)];
}
