// Datasets: units, levels, licences; columns and first samples when one is opened.

import { get } from "./api.js";
import { card, error, h, table } from "./dom.js";
import { View } from "./molecule.js";

async function fill(box, name) {
  if (box.dataset.filled) return;
  box.dataset.filled = "yes";
  box.replaceChildren(h("p", { role: "status" }, "Loading"));
  try {
    const found = await get(`api/datasets/${name}`);
    const splits = Object.entries(found.splits).map(([s, n]) => `${n} ${s}`).join(", ");
    box.replaceChildren(
      h("p", {}, `Samples: ${splits}.`),
      h("h2", {}, "Columns"),
      table(["column", "unit", "level", "role", "shape"], found.columns.map((c) => [c.quantity, c.unit, c.level ?? "", c.role, c.shape.join(" x ")]), "Columns"),
      h("h2", {}, "First samples"),
      h("div", { class: "panels" }, found.samples.map((s) => table(["", s.id], Object.entries(s).filter(([k]) => k !== "id").map(([k, v]) => [k, Array.isArray(v) ? v.join(", ") : String(v ?? "")])))),
    );
    if (found.atoms[0]) {
      const view = new View(`First sample of ${name}`);
      box.append(view.element);
      await view.draw(found.atoms[0]);
    }
    box.append(h("details", {}, h("summary", {}, "Card"), card(found.card)));
  } catch (problem) {
    box.replaceChildren(error(problem.message));
  }
}

function one(row) {
  const box = h("div");
  const body = [
    h("summary", {}, `${row.name}${row.held_out ? " (held out)" : ""}${row.here ? "" : " (to build)"}`),
    h("p", {}, row.summary),
    table(["", "value"], [["quantities", row.quantities.join(", ")], ["levels", row.levels.join(", ")], ["licence", row.licence], ["origin", row.origin]]),
    box,
  ];
  const details = h("details", {}, ...body);
  details.addEventListener("toggle", () => details.open && row.here && fill(box, row.name));
  return details;
}

export default async function page() {
  return (await get("api/datasets")).map(one);
}
