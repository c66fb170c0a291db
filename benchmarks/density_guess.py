"""Cycles of PySCF's self-consistent field from different first densities, on unseen molecules.

OMP_NUM_THREADS=1 python benchmarks/density_guess.py [--model sfm-density] [--out benchmarks]

Writes DENSITY_GUESS.md and density_guess.json. Minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sfm_dft.basis import density_basis
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.data import building_levels as levels_building
from sfm_dft.data.labelling import kohn_sham
from sfm_dft.data.specs import DFT_SMALL, PBE
from sfm_dft.density import guess
from sfm_dft.model.metrics import density_nmae, density_relative_error
from sfm_dft.scf.guesses import Coulomb

import sfm
from sfm.data.splits import assign
from sfm.data.storage import open_dataset

PYSCF = ("minao", "atom", "vsap")
TOLERANCES = (1e-9, 1e-8)  # PySCF's default, and that of the labels; gradient: the square root
WORDS = {
    "minao": "`minao`, PySCF's default",
    "atom": "`atom`, superposition of atomic densities",
    "vsap": "`vsap`, superposition of atomic potentials",
    "atom relaxed": "superposition of atomic densities, relaxed",
    "model": "density of the model",
    "model relaxed": "density of the model, relaxed (`guess.density_matrix`)",
    "fit": "the converged density, fitted",
    "fit relaxed": "the converged density, fitted, relaxed (floor of the basis)",
}
SMALL, LARGE = "up to 8 atoms", "10 to 12 atoms"


def small_molecules(count: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Name, numbers and positions of displaced molecules of `dft-small`'s test split."""
    data = open_dataset(DFT_SMALL.folder, split="test", level=PBE)
    displaced = [s for s in data if "/displaced" in s.id and len(s.types) > 2]
    return [(s.id.split("/")[0], s.types, np.asarray(s.positions)) for s in displaced][:count]


def large_molecules(count: int) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Molecules of the test split that are larger than any of `dft-small`."""
    from rdkit import Chem

    molecules: list[tuple[str, np.ndarray, np.ndarray]] = []
    for smiles in levels_building.candidates(0):
        if len(molecules) == count:
            break
        numbers = [a.GetAtomicNum() for a in Chem.AddHs(Chem.MolFromSmiles(smiles)).GetAtoms()]
        fits = 10 <= len(numbers) <= 12 and set(numbers) <= set(density_basis.ELEMENTS)
        if not fits or assign(smiles) != "test":
            continue
        geometry = levels_building.geometry(smiles, 0)
        if not isinstance(geometry, str):
            molecules.append((smiles, *geometry))
    return molecules


def run(molecule: Any, start: str | Callable[[Coulomb], np.ndarray]) -> dict[str, Any]:
    """Cycles to each tolerance from PySCF's guess of that name, or from a function's.

    The function gets the Coulomb matrices of the field's own integrals. A run is stopped where
    PySCF stops by default; the looser tolerance is read off on the way.
    """
    reached: dict[float, int] = {}

    def watch(state: Mapping[str, Any]) -> None:
        change = abs(state["e_tot"] - state["last_hf_e"])
        for tolerance in TOLERANCES:
            if change < tolerance and state["norm_gorb"] < np.sqrt(tolerance):
                reached.setdefault(tolerance, state["cycle"] + 1)

    with kohn_sham(molecule, "PBE") as mean_field:
        mean_field.conv_tol = min(TOLERANCES)
        mean_field.callback = watch
        mean_field.with_df.build()
        began = time.process_time()
        if isinstance(start, str):
            first = mean_field.get_init_guess(key=start)
        else:
            first = start(lambda d: np.asarray(mean_field.get_j(dm=d)))
        guessed = time.process_time()
        mean_field.kernel(np.asarray(first))
        return {
            "guess seconds": guessed - began,
            "seconds": time.process_time() - guessed,
            "cycles": [reached.get(t) for t in TOLERANCES],
            "converged": bool(mean_field.converged),
            "energy": float(mean_field.e_tot),
            "density": np.asarray(mean_field.make_rdm1()),
        }


def measure(
    name: str, numbers: np.ndarray, positions: np.ndarray, model: Any, base: Any
) -> dict[str, Any]:
    """Cycles and density errors of one molecule; None in place of cycles that never ended."""
    molecule = build_molecule(numbers, positions)
    runs = {key: run(molecule, key) for key in PYSCF}
    reference = runs["minao"]
    coefficients = {
        "model": guess.conserve(molecule, guess.predicted(molecule, model, PBE)),
        "base": guess.predicted(molecule, base, PBE),
        "atom": guess.superposed(molecule),
        "fit": density_basis.fit(molecule, reference["density"]),
    }

    def begin(key: str, relax: bool) -> Callable[[Coulomb], np.ndarray]:
        return lambda j: guess.start(molecule, coefficients[key], relax=relax, coulomb=j)

    for key in ("model", "fit"):
        runs[key] = run(molecule, begin(key, False))
    for key in ("atom", "fit"):
        runs[f"{key} relaxed"] = run(molecule, begin(key, True))
    runs["model relaxed"] = run(
        molecule, lambda j: guess.density_matrix(molecule, model, level=PBE, coulomb=j)
    )
    true = reference["density"]
    return {
        "name": name,
        "atoms": len(numbers),
        "cycles": {k: r["cycles"] if r["converged"] else [None, None] for k, r in runs.items()},
        "energy differences": {k: r["energy"] - reference["energy"] for k, r in runs.items()},
        "seconds": {
            "guess": runs["model relaxed"]["guess seconds"],
            "field": runs["model relaxed"]["seconds"],
            "minao": reference["guess seconds"] + reference["seconds"],
        },
        "nmae": {
            key: density_nmae(numbers, positions, values, density_matrix=true)
            for key, values in coefficients.items()
        },
        "relative_error": {
            key: density_relative_error(values, coefficients["fit"])
            for key, values in coefficients.items()
        },
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over molecules that converged from every start."""
    good = [
        r for r in rows if all(c is not None for counts in r["cycles"].values() for c in counts)
    ]
    cycles = {key: np.array([r["cycles"][key] for r in good], dtype=float) for key in WORDS}
    base = cycles["minao"].mean(0)
    return {
        "molecules": len(good),
        "left out": [r["name"] for r in rows if r not in good],
        "other solutions": [
            r["name"] for r in good if max(map(abs, r["energy differences"].values())) > 1e-5
        ],
        "cycles": {
            key: {
                "mean": counts.mean(0).tolist(),
                "std": counts.std(0, ddof=1).tolist(),
                "saved": (1.0 - counts.mean(0) / base).tolist(),
                "never more": float((counts <= cycles["minao"]).all(1).mean()),
            }
            for key, counts in cycles.items()
        },
        **{
            kind: {key: float(np.mean([r[kind][key] for r in good])) for key in good[0][kind]}
            for kind in ("nmae", "relative_error", "seconds")
        },
    }


def table(groups: Mapping[str, Mapping[str, Any]], model: str) -> str:
    """Markdown."""
    lines = [
        "# Cycles of self-consistency from different first densities",
        "",
        f"PySCF, restricted PBE/def2-SVP, density fitting, grid level 1; model `{model}`. Unseen",
        "molecules, distorted; mean ± standard deviation over molecules. Tolerances of the",
        "energy in hartree; that of the gradient is the square root. `saved` is the ratio of mean",
        "cycles to `minao`'s. `nmae`: integral of abs(difference) to the converged density over",
        "the number of electrons. `relative error`: in coefficients, to the fit; it says little,",
        "as different coefficients give the same density.",
    ]
    for name, group in groups.items():
        seconds = group["seconds"]
        saved = 1.0 - (seconds["guess"] + seconds["field"]) / seconds["minao"]
        lines += [
            "",
            f"## {name}: {group['molecules']} molecules",
            "| start | cycles, 1e-9 | saved | cycles, 1e-8 | saved | no more than `minao` "
            "| nmae | relative error |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for key, words in WORDS.items():
            c = group["cycles"][key]
            cells = [
                f"{c['mean'][i]:.1f} ± {c['std'][i]:.1f} | {100 * c['saved'][i]:.0f} %"
                for i in range(len(TOLERANCES))
            ]
            nmae, relative = (group[kind].get(key) for kind in ("nmae", "relative_error"))
            shown = [
                "" if value is None else f"{100 * value:.{digits}f} %"
                for value, digits in ((nmae, 1), (relative, 2))
            ]
            lines.append(
                f"| {words} | {' | '.join(cells)} | {100 * c['never more']:.0f} % "
                f"| {' | '.join(shown)} |"
            )
        lines += [
            "",
            f"CPU seconds with the field's own Coulomb integrals: the relaxed guess "
            f"{seconds['guess']:.2f} and the field after it {seconds['field']:.2f}, the field from "
            f"`minao` {seconds['minao']:.2f}: {100 * saved:.0f} % saved.",
        ]
        for what in ("left out", "other solutions"):
            if group[what]:
                reason = {"left out": "not converged from every start", "other solutions": ""}
                lines.append(f"{what.capitalize()} ({reason[what]}): {', '.join(group[what])}.")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="sfm-density", help="bundled name or folder")
    parser.add_argument("--small", type=int, default=32, help="molecules of up to 8 atoms")
    parser.add_argument("--large", type=int, default=12, help="molecules of 10 to 12 atoms")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(argv)
    model, base = sfm.load(options.model), sfm.load("sfm-tiny")
    groups: dict[str, Any] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, molecules in (
        (SMALL, small_molecules(options.small)),
        (LARGE, large_molecules(options.large)),
    ):
        rows[name] = []
        for molecule in molecules:
            rows[name].append(measure(*molecule, model, base))
            print(name, molecule[0], rows[name][-1]["cycles"], file=sys.stderr, flush=True)
        if rows[name]:
            groups[name] = summary(rows[name])
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"model": options.model, "groups": groups, "molecules": rows}, indent=1)
    (options.out / "density_guess.json").write_text(text + "\n")
    (options.out / "DENSITY_GUESS.md").write_text(table(groups, Path(options.model).name))
    print(table(groups, Path(options.model).name))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
