"""Equations of state of the elemental crystals of `ase.collections.dcdft`, beside WIEN2k's.

OMP_NUM_THREADS=1 python benchmarks/dcdft.py [--model sfm-tiny] [--level LEVEL] [--out benchmarks]

Seven volumes within 6 % of WIEN2k's, cells of its shape (K. Lejaeghere et al., Crit. Rev. Solid
State Mater. Sci. 39, 1, 2014; Science 351, aad3000, 2016). Delta is the root mean square difference
of two curves E(V) over that range, with minima put at one energy. Writes DCDFT.md and dcdft.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.collections import dcdft
from sfm_crystals.constants import GPA
from sfm_crystals.data.converters import from_ase
from sfm_crystals.simulators.equation_of_state import EquationOfState

import sfm
from sfm.errors import SfmError

COLUMNS = ("volume", "bulk_modulus", "bulk_modulus_derivative")


def birch_murnaghan(volume: np.ndarray, v0: float, b0: float, b1: float) -> np.ndarray:
    """(T,) eV above the minimum, at volumes (T,) in angstrom^3; b0 in GPa (Birch 1947)."""
    x = (v0 / volume) ** (2 / 3)
    curved = (x - 1) ** 3 * b1 + (x - 1) ** 2 * (6 - 4 * x)
    return 9 * v0 * b0 / GPA / 16 * curved


def delta(ours: tuple[float, ...], theirs: tuple[float, ...]) -> float:
    """meV/atom, over 6 % around the mean of both volumes (Lejaeghere 2014)."""
    middle = (ours[0] + theirs[0]) / 2
    volume = np.linspace(0.94 * middle, 1.06 * middle, 400)
    gap = birch_murnaghan(volume, *ours) - birch_murnaghan(volume, *theirs)
    return 1000 * float(np.sqrt(np.mean(gap**2)))


def one(name: str, closure: torch.nn.Module) -> dict[str, Any]:
    """Our numbers and WIEN2k's, per atom: angstrom^3, GPa, 1; or why there are none."""
    atoms = dcdft[name]
    known = dcdft.data[name]
    theirs = tuple(float(known[f"wien2k_{k}"]) for k in ("volume", "B", "Bp"))
    row: dict[str, Any] = {"name": name, "atoms": len(atoms), "wien2k": theirs}
    magnetic = np.any(atoms.get_initial_magnetic_moments())
    atoms.set_initial_magnetic_moments(None)
    row["magnetic"] = bool(magnetic)
    scale = (theirs[0] * len(atoms) / atoms.get_volume()) ** (1 / 3)
    atoms.set_cell(atoms.cell * scale, scale_atoms=True)
    simulator = EquationOfState(closure=closure, relax_cell="fixed", points=7)
    try:
        simulator.requires_grad_(False)
        seen = simulator.observe(simulator.state(from_ase(atoms)))
    except SfmError as error:
        return {**row, "why": str(error)}
    ours = [float(seen[k]) for k in COLUMNS]
    ours[0] /= len(atoms)
    return {**row, "ours": ours, "delta": delta(tuple(ours), theirs)}


def table(rows: list[dict[str, Any]], model: str, level: str) -> str:
    """Markdown."""
    done = [r for r in rows if "ours" in r]
    ratio = np.array([r["ours"][0] / r["wien2k"][0] - 1 for r in done])
    stiff = np.array([r["ours"][1] / r["wien2k"][1] - 1 for r in done])
    lines = [
        "# Elemental crystals: equations of state beside WIEN2k",
        "",
        f"`{model}` at {level}: {len(done)} of {len(rows)} crystals of ase's `dcdft`, cells of",
        "WIEN2k's shape, seven volumes within 6 %. By `python benchmarks/dcdft.py`.",
        "",
        f"Median |error| of V0 {100 * np.median(abs(ratio)):.1f} %, of B0 "
        f"{100 * np.median(abs(stiff)):.0f} %; median Delta "
        f"{np.median([r['delta'] for r in done]):.1f} meV/atom. Codes of density functionals agree "
        "to 1 meV/atom.",
        "",
        "| | V0 | WIEN2k | B0 | WIEN2k | B0' | WIEN2k | Delta |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        "| | A^3/atom | | GPa | | | | meV/atom |",
    ]
    for r in rows:
        v, b, p = r["wien2k"]
        if "ours" in r:
            o = r["ours"]
            lines.append(
                f"| {r['name']} | {o[0]:.2f} | {v:.2f} | {o[1]:.0f} | {b:.0f} | {o[2]:.1f} "
                f"| {p:.1f} | {r['delta']:.1f} |"
            )
        else:
            lines.append(f"| {r['name']} | - | {v:.2f} | - | {b:.0f} | - | {p:.1f} | - |")
    reasons: dict[str, list[str]] = {}
    for r in rows:
        if "why" in r:
            unknown = "not among the training data" in r["why"]
            why = "element outside the training data" if unknown else r["why"].split(": ")[-1]
            reasons.setdefault(why, []).append(r["name"])
    if reasons:
        lines += ["", "Without a number:"]
        lines += [f"- {', '.join(names)}: {why}" for why, names in reasons.items()]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sfm-tiny")
    parser.add_argument("--level")
    parser.add_argument("--out", type=Path, default=Path("benchmarks"))
    arguments = parser.parse_args()
    closure = sfm.load(arguments.model).closure("crystals", level=arguments.level)
    rows = []
    for name in dcdft.names:
        rows.append(one(name, closure))
        print(rows[-1], flush=True)
    text = table(rows, arguments.model, closure.level)
    (arguments.out / "DCDFT.md").write_text(text)
    (arguments.out / "dcdft.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
