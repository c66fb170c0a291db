"""RESULTS_ERRORS.md out of results_errors.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from report import table

TEXT, NUMBERS = "RESULTS_ERRORS.md", "results_errors.json"
PEERS = {"sfm-tiny": "sfm-tiny", "chgnet": "CHGNet 0.4.2", "sevennet": "SevenNet-0"}
Rows = list[dict[str, Any]]


def compact(rows: Rows) -> str:
    """A line of JSON each; numbers to four digits."""

    def short(value: Any) -> Any:
        if isinstance(value, float):
            return float(f"{value:.4g}")
        if isinstance(value, dict):
            return {k: short(v) for k, v in value.items()}
        return [short(v) for v in value] if isinstance(value, list) else value

    return "[\n" + ",\n".join(json.dumps(short(row)) for row in rows) + "\n]"


def percent(rows: Rows, peer: str, place: int, truth: str) -> float:
    """Median |relative error| of the volume (place 0) or bulk modulus (1), per cent."""
    off = [r[peer]["eos"][place] / r[truth][place] - 1 for r in rows]
    return 100 * float(np.median(np.abs(off)))


def elements(rows: Rows) -> str:
    """Elemental crystals, beside WIEN2k."""
    common = [r for r in rows if all("eos" in r[p] for p in PEERS)]
    plain = [r for r in common if not r["magnetic"]]
    lines = []
    for peer, name in PEERS.items():
        answered = [r for r in rows if "eos" in r[peer]]
        cells = [name, f"{len(answered)} of {len(rows)}"]
        for chosen in (common, plain, answered):
            cells += [
                f"{percent(chosen, peer, 0, 'wien2k'):.1f}",
                f"{percent(chosen, peer, 1, 'wien2k'):.0f}",
                f"{np.median([r[peer]['delta'] for r in chosen]):.1f}",
            ]
        lines.append(cells)
    columns = ("V0", "B0", "Delta")
    head = ["", "with a minimum", *(f"{c}, {n}" for n in (f"{len(common)} common",
            f"{len(plain)} of them not magnetic", "its own") for c in columns)]  # fmt: skip
    magnetic = ", ".join(r["name"] for r in rows if r["magnetic"])
    return f"""## Elemental crystals
The {len(rows)} of ase's `dcdft`, cells of WIEN2k's shape, seven volumes within 6 % of WIEN2k's
(PBE), atoms clamped, Birch and Murnaghan's fit; all three through their ASE calculators. Medians
of |error|: V0 and B0 in %, Delta in meV/atom. Magnetic with PBE are {magnetic}; no model is told
a moment. `python benchmarks/errors.py --only elements`.

{table(head, lines)}

Without a number: {why(rows)}

{each(rows)}"""


def why(rows: Rows) -> str:
    """Which have none, and the reason."""
    said = []
    for peer, name in PEERS.items():
        reasons: dict[str, list[str]] = {}
        for row in rows:
            if "why" in row[peer]:
                reasons.setdefault(reason(row[peer]["why"]), []).append(row["name"])
        text = "; ".join(f"{', '.join(names)}: {text}" for text, names in reasons.items())
        said.append(f"{name} ({text})" if text else f"{name} (all have one)")
    return "; ".join(said) + "."


def reason(text: str) -> str:
    """A message in the words of the page."""
    return "element outside the training data" if "not among the training" in text else text


def each(rows: Rows) -> str:
    """V0, B0 and Delta of every element."""
    lines = []
    for row in rows:
        cells = [row["name"] + (" (magnetic)" if row["magnetic"] else ""),
                 f"{row['wien2k'][0]:.2f}", f"{row['wien2k'][1]:.0f}"]  # fmt: skip
        for peer in PEERS:
            if "eos" in row[peer]:
                v, b, _ = row[peer]["eos"]
                cells += [f"{v:.2f}", f"{b:.0f}", f"{row[peer]['delta']:.1f}"]
            else:
                cells += ["-"] * 3
        lines.append(cells)
    head = ["", "V0, WIEN2k [A^3/atom]", "B0 [GPa]"]
    for name in PEERS.values():
        head += [f"V0, {name}", "B0", "Delta [meV/atom]"]
    return table(head, lines)


def moduli(rows: Rows) -> str:
    """Bulk moduli of compounds, beside PBE."""
    common = [r for r in rows if all("eos" in r[p] for p in PEERS)]
    plain = [r for r in common if not r["magnetic"]]
    ways: list[tuple[str, Callable[[Any], float | None]]] = [
        ("mean of the others", lambda r: r["mean"]),
        ("composition, fitted to the others", lambda r: r["composition"]),
        ("sfm-tiny's own number for the modulus, no energies", lambda r: r["head"]),
    ]
    for peer, name in PEERS.items():
        ways.append(
            (f"{name}, equation of state",
             lambda r, p=peer: r[p]["eos"][1] if "eos" in r[p] else None)  # type: ignore[misc]
        )  # fmt: skip
    lines = []
    for text, way in ways:
        cells = [text, str(sum(way(r) is not None for r in rows))]
        for chosen in (common, plain):
            ours = np.array([way(r) for r in chosen], dtype=float)
            truth = np.array([r["pbe"][1] for r in chosen])
            cells += [
                f"{np.abs(np.log10(ours / truth)).mean():.3f}",
                f"{np.abs(ours - truth).mean():.1f}",
                f"{(ours - truth).mean():+.1f}",
            ]
        volume = "-"
        peer = next((p for p, n in PEERS.items() if text == f"{n}, equation of state"), None)
        if peer is not None:
            volume = f"{percent(common, peer, 0, 'pbe'):.1f}"
        lines.append([*cells, volume])
    head = ["", "answers"]
    for chosen in (f"{len(common)} common", f"{len(plain)} without magnetic elements"):
        head += [f"log10, {chosen}", "GPa", "mean error, GPa"]
    return f"""## Bulk moduli of compounds
Voigt's modulus of {len(rows)} crystals of [`crystals-stiffness`](../datasets/crystals-stiffness)
(PBE, strained cells, atoms relaxed; de Jong et al. 2015) of at most 10 atoms, drawn once.
Potentials: seven volumes within 6 % of PBE's, shape of PBE's cell, atoms relaxed in each to 0.02
eV/angstrom, Birch and Murnaghan's fit; Voigt's modulus is the answer to just this strain. Mean
absolute errors; volume: median, %. CHGNet and SevenNet-0 learned from the Materials Project,
which holds these crystals, relaxations among them. sfm-tiny heard nothing of these compounds: it
learned CHGNet's energies, forces and stress and MEGNet's moduli of others. The baselines know
PBE's moduli of the other crystals of that table. `python benchmarks/errors.py --only moduli`.

{table([*head, "volume"], lines)}

{without(rows)}"""


def without(rows: Rows) -> str:
    """How many have no number, and why."""
    said = []
    for peer, name in PEERS.items():
        reasons: dict[str, list[str]] = {}
        for row in rows:
            if "why" in row[peer]:
                reasons.setdefault(reason(row[peer]["why"]), []).append(row["formula"])
        said += [f"{name}: {text} ({', '.join(names)})" for text, names in reasons.items()]
    return "Without a number: " + ("; ".join(said) or "none") + "."


def atomisation(rows: Rows) -> str:
    """Measured atomisation energies."""
    names = [k for k in rows[0] if k not in ("seed", "labels", "tested")]
    lines = []
    for name in names:
        values = np.array([r[name] for r in rows])
        lines.append([name, f"{values.mean():.3f}", f"{values.min():.3f} to {values.max():.3f}"])
    return f"""## Atomisation energies of molecules
Measured (G2/97, 73 closed shells of H, C, N, O and F); {rows[0]["labels"]} labels,
{rows[0]["tested"]} test molecules of other scaffolds, {len(rows)} splits: those of the [transfer
table](RESULTS_TRANSFER.md), whose errors of the model these are. Mean absolute errors in eV;
fitted atoms: one energy for each element, by least squares on the same labels.
`python benchmarks/run.py --only transfer,atomisation --rounds 5` for the model, mean and
composition; `python benchmarks/errors.py --only atomisation` for the rest.

{table(["", "mean absolute error [eV]", "of the splits"], lines)}"""


def isomers(rows: Rows) -> str:
    """Energies of isomers."""
    ways = [k for k in rows[0] if k not in ("name", "formula", "above", "measured")]
    truth = np.array([r["measured"] for r in rows])
    lines = [["no difference", f"{np.abs(truth).mean():.3f}", "-"]]
    for way in ways:
        values = np.array([r[way] for r in rows])
        lines.append([way, f"{np.abs(values - truth).mean():.3f}", str(int((values < 0).sum()))])
    single = [
        [f"{r['name']} above {r['above']}", f"{r['measured']:.2f}", *(f"{r[w]:.2f}" for w in ways)]
        for r in rows
    ]
    return f"""## Energies of isomers
Of the same molecules those that have a more stable isomer among them, {len(rows)}: the measured
difference, which free atoms do not enter, and no label was fitted. Structures like these were in
pretraining, with energies of GFN2-xTB and PBE; measurements were not. `python
benchmarks/errors.py --only isomers`.

{table(["", "mean absolute error [eV]", "wrong order"], lines)}

{table(["eV", "measured", *ways], single)}"""


SECTIONS = {
    "elements": elements,
    "moduli": moduli,
    "atomisation": atomisation,
    "isomers": isomers,
}


def write(folder: Path, results: dict[str, Any]) -> None:
    """RESULTS_ERRORS.md and results_errors.json."""
    body = ",\n".join(f'"{name}": {compact(rows)}' for name, rows in results.items())
    (folder / NUMBERS).write_text("{\n" + body + "\n}\n", encoding="utf-8")
    kept = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    pieces = [
        "# Errors, beside peers and beside no model",
        "What a prediction of `sfm-tiny` is worth against references that none of these models\n"
        "made. All of it: `python benchmarks/errors.py`, which makes environments of CHGNet and\n"
        "SevenNet-0 (`benchmarks/peers.py`).",
        *(section(kept[name]) for name, section in SECTIONS.items() if name in kept),
    ]
    (folder / TEXT).write_text("\n\n".join(pieces) + "\n", encoding="utf-8")
