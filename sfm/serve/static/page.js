// Which page is shown: what stands behind # in the address.

import { error, h } from "./dom.js";

const PAGES = { predict: "Predict", simulate: "Simulate", training: "Training", models: "Models", datasets: "Datasets", plugins: "Plugins" };
const main = document.getElementById("main");
let shown = 0;

async function show() {
  if (location.hash && !location.hash.startsWith("#/")) return; // "Skip to content"
  const [name, ...rest] = location.hash.slice(2).split("/");
  const page = name in PAGES ? name : "predict";
  const mine = ++shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${page}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${PAGES[page]} - sfm`;
  main.replaceChildren(h("p", { role: "status" }, "Loading; the first time takes some seconds."));
  try {
    const content = await (await import(`./${page}.js`)).default(rest.map(decodeURIComponent).join("/"));
    if (mine === shown) main.replaceChildren(h("h1", {}, PAGES[page]), ...content);
  } catch (problem) {
    if (mine === shown) main.replaceChildren(h("h1", {}, PAGES[page]), error(problem.message));
  }
}

window.addEventListener("hashchange", show);
show();
