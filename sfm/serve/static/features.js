// What a model sees in a system, under an answer: its features as a picture, to download.

import { call } from "./api.js";
import { copyable, error, h, table, warning } from "./dom.js";
import { drawField } from "./picture.js";

function show(system, answer) {
  const canvas = h("canvas"), note = h("p", { class: "note" });
  const shapes = Object.entries(system.tokens).map(([kind, shape]) => [kind, shape.join(" x ")]);
  const file = new Blob([JSON.stringify(system, null, 1)], { type: "application/json" });
  queueMicrotask(() => { note.textContent = drawField(canvas, `features of ${system.id}`, { ...system.invariant, unit: "1" }); });
  return [...answer.warnings.map(warning),
    h("p", {}, `The mean of the atoms' or patches' scalars in the last layer, ${system.invariant.shape[0]} numbers without unit that no rotation changes; by ${system.encoder} at ${system.level}.`),
    canvas, note,
    h("p", {}, h("a", { href: URL.createObjectURL(file), download: "features.json" }, "features.json")),
    table(["of every atom or patch", "shape"], shapes, `Features inside ${system.id}`),
    copyable("Command line of the features", answer.command), copyable("Python of the features", answer.python)];
}

// Asked for when it is opened, of what `asked` = {model, name, body, level, extrapolate} holds.
export function features(asked, index) {
  const place = h("div", { "aria-live": "polite" });
  const details = h("details", {}, h("summary", {}, "What the model sees in it: features"), place);
  const fill = async () => {
    place.replaceChildren(h("p", { role: "status" }, "Asking"));
    const query = new URLSearchParams({ model: asked.model, name: asked.name, extrapolate: asked.extrapolate });
    if (asked.level) query.set("level", asked.level);
    const answer = await call(`api/embed?${query}`, { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: asked.body });
    place.replaceChildren(...show(answer.systems[index()], answer));
  };
  details.addEventListener("toggle", () => details.open && fill().catch((e) => place.replaceChildren(error(e.message))));
  return details;
}
