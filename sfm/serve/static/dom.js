// Elements in one call; text is always text, never HTML.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return element;
}

let counter = 0;

// A labelled control; the note is read with it.
export function field(label, control, note = "") {
  control.id ||= `control-${++counter}`;
  const parts = [h("label", { for: control.id }, label), control];
  if (note) {
    const small = h("small", { id: `${control.id}-note` }, note);
    control.setAttribute("aria-describedby", small.id);
    parts.push(small);
  }
  return h("div", { class: "field" }, ...parts);
}

export function choice(options, selected) {
  return h("select", {}, options.map((o) => {
    const [value, text] = Array.isArray(o) ? o : [o, o];
    return h("option", { value: String(value), selected: value === selected }, String(text));
  }));
}

export function table(head, rows, caption = "") {
  const numeric = head.map((_, i) => rows.length > 0 && rows.every((r) => isNumber(r[i])));
  const kind = (i) => (numeric[i] ? { class: "number" } : {});
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption || head.join(", ") },
    h("table", {},
      h("thead", {}, h("tr", {}, head.map((t, i) => h("th", { scope: "col", ...kind(i) }, t)))),
      h("tbody", {}, rows.map((r) => h("tr", {}, r.map((c, i) => h("td", kind(i), cell(c))))))));
}

const isNumber = (x) => typeof x === "number" || x === "" || x === null || x === undefined;
const cell = (x) => (typeof x === "number" ? short(x) : x instanceof Node ? x : x ?? "");

export function short(x, digits = 5) {
  if (x === null || x === undefined || Number.isNaN(x)) return "";
  if (Number.isInteger(x) && Math.abs(x) < 1e9) return String(x);
  return String(Number(x.toPrecision(digits)));
}

export const error = (text) => h("p", { class: "error", role: "alert" }, text);
export const warning = (text) => h("p", { class: "warning" }, text);

// Text to copy, with its button.
export function copyable(title, text) {
  const said = h("span", { role: "status", class: "note" });
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    said.textContent = "copied";
  };
  return h("div", {},
    h("div", { class: "row" }, h("h3", {}, title),
      navigator.clipboard ? h("button", { type: "button", onclick: copy, "aria-label": `Copy: ${title}` }, "Copy") : null,
      said),
    h("pre", { tabindex: "0" }, text));
}

// A card from the server: Markdown that it made into HTML without any HTML of the author's.
export function card(html) {
  const element = h("div", { class: "card" });
  element.innerHTML = html;
  for (const link of element.querySelectorAll("a")) {
    if (/^https?:/.test(link.getAttribute("href") ?? "")) {
      link.target = "_blank";
      link.rel = "noreferrer noopener";
    } else link.removeAttribute("href");
  }
  return element;
}
