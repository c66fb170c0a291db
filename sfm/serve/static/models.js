// Models: what they say, errors beside baselines, coverage, cards.

import { get } from "./api.js";
import { card, error, h, table } from "./dom.js";

function metrics(rows) {
  const names = [...new Set(rows.flatMap((r) => Object.keys(r.baselines ?? {})))];
  return table(
    ["quantity", "level", "dataset", "metric", "this model", ...names, "unit"],
    rows.map((r) => [r.quantity, r.level ?? "", r.dataset ?? "", r.metric, r.value, ...names.map((n) => r.baselines?.[n] ?? ""), r.unit ?? ""]),
    "Errors beside baselines");
}

function coverage(rows) {
  return table(["level", "systems", "elements", "charges [e]"],
    rows.map((r) => [r.level, r.systems ?? "", (r.elements ?? []).join(" "), (r.charges ?? []).join(", ")]), "Coverage");
}

function one(model) {
  const parts = [h("summary", {}, `${model.name}${model.open ? " (on this page)" : ""}`)];
  if (model.error) parts.push(error(model.error));
  if (model.summary) parts.push(h("p", {}, model.summary));
  if (model.targets.length) {
    const said = {};
    for (const t of model.targets) (said[`${t.quantity} [${t.unit}]`] ??= []).push(t.level);
    parts.push(h("h2", {}, "Says"), table(["quantity", "levels of theory"], Object.entries(said).map(([q, l]) => [q, l.join(", ")])));
  }
  if (model.metrics?.length) parts.push(h("h2", {}, "Errors beside baselines"), metrics(model.metrics));
  if (model.coverage?.length) parts.push(h("h2", {}, "Covers"), coverage(model.coverage));
  if (model.limits?.length) parts.push(h("h2", {}, "Limits"), h("ul", {}, model.limits.map((l) => h("li", {}, l))));
  if (model.card) parts.push(h("details", {}, h("summary", {}, "Card"), card(model.card)));
  return h("details", { open: model.open }, ...parts);
}

export default async function page() {
  return (await get("api/models")).map(one);
}
