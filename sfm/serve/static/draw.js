// Drawing a molecule: OpenChemLib's editor, loaded when it is first opened; it writes a SMILES.

import { error, h } from "./dom.js";

// An editor for the textarea `text`: what is drawn is written there, what stands there is drawn.
export function drawer(text) {
  const box = h("div", { class: "editor", role: "application", "aria-label": "Editor to draw a molecule with a pointer; the text below says the same as a SMILES" });
  const details = h("details", {}, h("summary", {}, "Draw a molecule"), box);
  let editor, library;
  const begin = async () => {
    library ??= await import("./openchemlib.js");
    if (!editor) {
      editor = new library.CanvasEditor(box, { initialMode: "molecule", initialFragment: false });
      editor.setOnChangeListener((event) => {
        if (!event.isUserEvent || event.type !== "molecule") return;
        text.value = editor.getMolecule().toIsomericSmiles();
        text.dispatchEvent(new Event("input")); // as if it had been typed
      });
    }
    show();
  };
  const show = () => {
    if (!editor || !details.open) return;
    const typed = text.value.trim();
    if (typed === editor.getMolecule().toIsomericSmiles() || typed.includes("\n")) return;
    try {
      editor.setMolecule(library.Molecule.fromSmiles(typed));
    } catch { /* half a SMILES, or a file's text: the drawing stays */ }
  };
  details.addEventListener("toggle", () => details.open && begin().catch((e) => box.replaceChildren(error(e.message))));
  text.addEventListener("change", show);
  return details;
}
