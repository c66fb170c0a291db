// Nearest structures of a dataset under an answer: distances, labels with units, the structure seen.

import { call, get } from "./api.js";
import { choice, copyable, error, field, h, short, table, warning } from "./dom.js";
import { View } from "./molecule.js";
import { drawField } from "./picture.js";

function said(label) {
  const v = label.value;
  if (typeof v === "number") return short(v, 7);
  if (v === null) return `${label.shape.join(" x ")}, ${short(label.summary.min, 4)} to ${short(label.summary.max, 4)}`;
  const all = v.flat(Infinity);
  return all.length <= 9 ? all.map((x) => short(x, 4)).join(" ") : `${label.shape.join(" x ")} numbers`;
}

function look(near, place) {
  const parts = [h("h4", {}, `${near.id}, distance ${short(near.distance, 3)}`)];
  if (near.atoms) {
    const view = new View(`${near.id} of the dataset`);
    parts.push(view.element);
    queueMicrotask(() => view.draw(near.atoms).catch((e) => place.append(error(e.message))));
  }
  for (const [name, entry] of Object.entries(near.fields)) {
    const canvas = h("canvas"), note = h("p", { class: "note" });
    parts.push(canvas, note);
    queueMicrotask(() => { note.textContent = drawField(canvas, name, entry); });
  }
  parts.push(table(["label", "value", "unit", "level"], near.labels.map((l) => [l.quantity, said(l), l.unit, l.level]), `Labels of ${near.id}`));
  place.replaceChildren(...parts);
}

function show(system, answer) {
  const place = h("div", { "aria-live": "polite" });
  const usual = system.usual_distance;
  const text = `Of ${system.searched} structures in ${system.data}, by the features of ${system.encoder} at ${system.level}; `
    + "distances in standard deviations of those features."
    + (usual === null ? "" : ` Structures there are ${short(usual, 3)} from their own nearest one (median).`);
  const seen = (near) => h("button", { type: "button", onclick: () => look(near, place), "aria-label": `Look at ${near.id}` }, near.id);
  const rows = system.neighbours.map((n) => {
    const first = n.labels.find((l) => typeof l.value === "number");
    return [seen(n), n.formula, n.distance, first ? `${first.quantity} ${said(first)} ${first.unit === "1" ? "" : first.unit}` : "", first?.level ?? ""];
  });
  look(system.neighbours[0], place);
  return [...answer.warnings.map(warning), h("p", {}, text),
    table(["structure", "formula", "distance", "first label", "level"], rows, `Nearest to ${system.id}`),
    place, copyable("Command line of the search", answer.command), copyable("Python of the search", answer.python)];
}

// A form that searches for what `asked` = {model, name, body, level, extrapolate} holds; `index` says
// which of its systems, `domain` which datasets come first.
export function search(asked, index, domain) {
  const result = h("div", { "aria-live": "polite" });
  const box = h("div");
  const details = h("details", {}, h("summary", {}, "What a dataset holds that is like it"), box, result);
  const fill = async () => {
    if (box.childElementCount) return;
    box.append(h("p", { role: "status" }, "Loading"));
    const here = (await get("api/datasets")).filter((d) => d.here);
    const order = [...here.filter((d) => d.domain === domain), ...here.filter((d) => d.domain !== domain)];
    const dataset = choice(order.map((d) => [d.name, `${d.name}: ${d.summary}`]));
    const count = h("input", { type: "number", min: "1", max: "50", step: "1", value: "5" });
    const button = h("button", { type: "submit" }, "Search");
    const find = async (event) => {
      event.preventDefault();
      button.disabled = true;
      result.replaceChildren(h("p", { role: "status" }, "Searching; the first time in a dataset takes up to a minute."));
      try {
        const query = new URLSearchParams({ model: asked.model, name: asked.name, dataset: dataset.value, count: count.value, extrapolate: asked.extrapolate });
        if (asked.level) query.set("level", asked.level);
        const answer = await call(`api/neighbours?${query}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: asked.body });
        result.replaceChildren(...show(answer.systems[index()], answer));
      } catch (problem) {
        result.replaceChildren(error(problem.message));
      } finally {
        button.disabled = false;
      }
    };
    box.replaceChildren(h("form", { onsubmit: find }, field("Dataset", dataset), field("Neighbours", count), h("div", { class: "row" }, button)));
  };
  details.addEventListener("toggle", () => details.open && fill().catch((e) => box.replaceChildren(error(e.message))));
  return details;
}
