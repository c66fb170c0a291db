// Training: runs of the watched folders, their losses by domain, time left; asked again every two seconds.

import { call } from "./api.js";
import { error, h, short, table, warning } from "./dom.js";
import { COLOURS, drawLines } from "./picture.js";

const AGAIN = 2000; // ms

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${short(seconds / 3600, 3)} h`;
  return `${short(seconds / 86400, 3)} days`;
}

const ago = (time) => (time ? `${duration(Math.max(0, Date.now() / 1000 - time))} ago` : "");

// Curves of a figure's rows by name, with a legend that names colours and last values.
function figure(title, rows, names, note = "") {
  const known = names.filter((n) => rows.some((r) => Number.isFinite(r[n])));
  if (!known.length) return null;
  const canvas = h("canvas", { class: "chart", role: "img" });
  const last = known.map((n) => rows.findLast((r) => Number.isFinite(r[n]))[n]);
  canvas.setAttribute("aria-label", `${title} against steps, logarithmic: ${known.map((n, i) => `${n} now ${short(last[i], 3)}`).join(", ")}`);
  const curves = known.map((n) => ({ x: rows.map((r) => r.step), y: rows.map((r) => r[n] ?? NaN) }));
  queueMicrotask(() => drawLines(canvas, curves, { log: true }));
  const legend = known.map((n, i) => h("li", {}, h("span", { class: "swatch", style: `background: ${COLOURS[i % COLOURS.length]}` }), `${n}: ${short(last[i], 3)}`));
  return h("figure", {}, h("figcaption", {}, title), canvas, note ? h("p", { class: "note" }, note) : null, h("ul", { class: "legend" }, legend));
}

const without = (prefix, rows) => rows.map((r) => Object.fromEntries(Object.entries(r).map(([k, v]) => [k.startsWith(prefix) ? k.slice(prefix.length) : k, v])));

function curves(run) {
  const losses = without("loss/", run.losses), judged = without("validation/", run.validation);
  const domains = Object.keys(run.losses.at(-1) ?? {}).filter((k) => k.startsWith("loss/")).map((k) => k.slice(5));
  const each = Object.keys(run.losses.at(-1) ?? {}).filter((k) => k.includes("/") && !k.startsWith("loss/"));
  return h("div", { class: "panels" },
    figure("Training loss by domain", losses, ["loss", ...domains], "weighted, without unit"),
    figure("Validation loss", without("loss/", judged), ["loss", ...domains], "of the averaged weights"),
    ...each.length ? [figure("Loss by label", run.losses, each.slice(0, 8), each.length > 8 ? `the first 8 of ${each.length}` : "")] : [],
    figure("Learning rate", run.losses, ["lr"]));
}

function show(run) {
  const parts = [h("h2", {}, run.name), run.title ? h("p", {}, run.title) : null];
  if (run.error) parts.push(error(run.error));
  if (run.state === "died") parts.push(warning("Its process is gone and said nothing: killed, perhaps. --resume goes on from its last checkpoint."));
  if (run.state === "silent") parts.push(warning("No word for more than ten minutes from another machine."));
  if (run.steps) {
    const left = run.seconds_left === null || run.seconds_left === undefined ? "" : `, ${duration(run.seconds_left)} left`;
    parts.push(h("p", {}, `${run.state}: step ${run.step} of ${run.steps}${left}; last word ${ago(run.updated)}`),
      h("progress", { max: run.steps, value: run.step ?? 0, "aria-label": `Steps of ${run.name}` }));
  }
  if (run.losses.length) parts.push(curves(run));
  if (run.metrics.length) {
    parts.push(h("h3", {}, "Errors"), table(["quantity", "level", "dataset", "metric", "value", "unit"],
      run.metrics.map((m) => [m.quantity, m.level ?? "", m.dataset ?? "", m.metric, m.value, m.unit ?? ""]), "Errors after training"));
  }
  return h("section", { "aria-label": `Run ${run.name}` }, ...parts.filter(Boolean));
}

export default async function page(key) {
  const list = h("div"), place = h("div");
  const root = h("div", {}, list, place);
  let drawn = "";
  const refresh = async () => {
    const { watching, runs } = await call("api/training");
    if (!watching) {
      list.replaceChildren(h("p", {}, "No folder is watched. ", h("code", {}, "sfm serve --watch DIR"), " shows the runs of ", h("code", {}, "sfm pretrain"), " and ", h("code", {}, "sfm finetune"), " there, while they go and after."));
      return;
    }
    if (!runs.length) list.replaceChildren(h("p", {}, "No run yet in the watched folders."));
    const chosen = runs.find((r) => r.key === key) ?? runs[0];
    const said = JSON.stringify([runs, chosen?.key]);
    if (said !== drawn && runs.length) {
      const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
      list.replaceChildren(table(["run", "state", "step", "of", "time left", "last word"], runs.map((r) => [
        h("a", { href: `#/training/${r.key}`, "aria-current": r.key === chosen.key ? "true" : null }, r.name),
        r.state, r.step ?? "", r.steps ?? "", duration(r.seconds_left), ago(r.updated)]), "Runs"));
      if (focused) list.querySelector(`a[href="${focused}"]`)?.focus({ preventScroll: true });
      place.replaceChildren(show(await call(`api/training/${chosen.key}`)));
      drawn = said;
    }
  };
  const loop = async () => {
    if (!root.isConnected) return; // another page is shown
    await refresh().catch((problem) => { drawn = ""; place.replaceChildren(error(problem.message)); });
    setTimeout(loop, AGAIN);
  };
  setTimeout(loop); // once it is on the page, so that pictures know their width
  return [root];
}
