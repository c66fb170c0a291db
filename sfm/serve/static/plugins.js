// Plugins, their parts and quantities; a broken one says why.

import { get } from "./api.js";
import { error, h, table } from "./dom.js";

const KINDS = ["datasets", "simulators", "encoders", "heads", "metrics", "readers"];

function one(row) {
  const title = h("h2", {}, `${row.name} ${row.version}`);
  if (row.error) return h("section", {}, title, error(row.error));
  const parts = KINDS.map((kind) => [kind, Object.keys(row[kind] ?? {})]).filter(([, names]) => names.length);
  const links = (kind, names) => kind !== "simulators" ? names.join(", ")
    : h("span", {}, names.flatMap((n, i) => [i ? ", " : "", h("a", { href: `#/simulate/${row.name}/${n}` }, n)]));
  return h("section", {}, title, h("p", {}, row.summary),
    table(["parts", "names"], parts.map(([kind, names]) => [kind, links(kind, names)])),
    h("details", {}, h("summary", {}, "Quantities"),
      table(["quantity", "unit", "irreps", "lives on", "extensive"],
        Object.entries(row.quantities).map(([n, q]) => [n, q.unit, q.irreps, q.per, q.extensive ? "yes" : "no"]))));
}

export default async function page() {
  return (await get("api/plugins")).map(one);
}
