"""Crystals of the table of errors: equations of state of elements, bulk moduli of compounds.

Each potential is asked through its ASE calculator in a process of its own (`peer_curves.py`), and
all curves are fitted here, so that the protocol is one. Curves stay in the cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.collections import dcdft
from dcdft import delta
from peers import REQUIREMENTS
from sfm_crystals.data.teaching import taught
from sfm_crystals.statics.equation_of_state import fit

from sfm.data.sample import Sample
from sfm.data.storage import cache_dir, open_dataset
from sfm.errors import InputError
from sfm.registry import find

SCRIPT = Path(__file__).parent / "peer_curves.py"
SCALES = np.linspace(0.94, 1.06, 7) ** (1 / 3)
NEEDS = {"sfm-tiny": ("sfm-hub",), **REQUIREMENTS}
COMPOUNDS, LARGEST, FMAX = 120, 10, 0.02
# sets that sfm-tiny learned from; all others leave out compounds with computed elastic constants
LEARNED = ("crystals-mp", "crystals-forces", "crystals-levels", "crystals-elastic",
           "crystals-properties")  # fmt: skip
# elements whose compounds and crystals are often magnetic; no model here is told a moment
MAGNETIC = {23, 24, 25, 26, 27, 28, *range(58, 71)}


def opened(name: str) -> list[Sample]:
    """All samples of a bundled dataset of crystals, each once."""
    spec = find("datasets", f"crystals/{name}").load()
    samples = {}
    for level in spec.levels:
        for sample in open_dataset(spec.folder, level=level, length_unit=spec.length_unit):
            samples[sample.id] = sample
    return list(samples.values())


def task(name: str, types: Any, positions: Any, cell: Any, fmax: float | None) -> dict[str, Any]:
    """What `peer_curves.py` reads: SCALES about the given cell."""
    lists = {"types": types, "positions": positions, "cell": cell, "scales": SCALES}
    return {"id": name, **{k: np.asarray(v).tolist() for k, v in lists.items()}, "fmax": fmax}


def curves(kind: str, tasks: list[dict[str, Any]], peer: str, python: str) -> dict[str, Any]:
    """Answers of a potential by id, out of the cache where they are there."""
    path = cache_dir() / "benchmarks" / f"curves-{kind}-{peer}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return taught(SCRIPT, python, tasks, path, requires=NEEDS[peer], arguments=[peer])


def fitted(task: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """V0 (angstrom^3 an atom), B0 (GPa) and B0' of a curve, or why there are none."""
    if "why" in answer:
        return {"why": answer["why"]}
    volume = abs(np.linalg.det(task["cell"])) * np.asarray(task["scales"]) ** 3
    try:
        curve = fit(torch.as_tensor(volume), torch.tensor(answer["energies"], dtype=torch.float64))
    except InputError:
        return {"why": "no minimum inside the volumes"}
    n = len(task["types"])
    return {"eos": [float(curve.volume) / n, float(curve.bulk_modulus), float(curve.derivative)]}


def element_tasks() -> list[dict[str, Any]]:
    """The crystals of ase's dcdft at WIEN2k's volumes."""
    tasks = []
    for name in dcdft.names:
        atoms = dcdft[name]
        target = float(dcdft.data[name]["wien2k_volume"]) * len(atoms)
        atoms.set_cell(atoms.cell * (target / atoms.get_volume()) ** (1 / 3), scale_atoms=True)
        tasks.append(task(name, atoms.numbers, atoms.positions, atoms.cell.array, None))
    return tasks


def elements(pythons: dict[str, str]) -> list[dict[str, Any]]:
    """One row a crystal: WIEN2k's V0, B0, B0' and each potential's, with Delta (meV/atom)."""
    tasks = element_tasks()
    rows: list[dict[str, Any]] = []
    for one in tasks:
        known = dcdft.data[one["id"]]
        theirs = [float(known[f"wien2k_{k}"]) for k in ("volume", "B", "Bp")]
        magnetic = bool(np.any(dcdft[one["id"]].get_initial_magnetic_moments()))
        rows.append({"name": one["id"], "magnetic": magnetic, "wien2k": theirs})
    for peer, python in pythons.items():
        answers = curves("elements", tasks, peer, python)
        for row, one in zip(rows, tasks, strict=True):
            said = fitted(one, answers[one["id"]])
            if "eos" in said:
                said["delta"] = delta(tuple(said["eos"]), tuple(row["wien2k"]))
            row[peer] = said
    return rows


def voigt(stiffness: np.ndarray) -> float:
    """Voigt's bulk modulus (GPa) of a (6, 6) stiffness: the response to an isotropic strain."""
    return float(stiffness[:3, :3].sum()) / 9


def compounds() -> tuple[list[Sample], list[Sample]]:
    """The crystals that are asked for, and the others of the table, which baselines learn from.

    Asked for are COMPOUNDS, drawn once from those of LARGEST atoms and less whose compound none of
    LEARNED holds; the others share no compound with them.
    """
    table = opened("crystals-stiffness")
    seen = {s.group for name in LEARNED for s in opened(name)}
    unseen = [s for s in table if len(s.types) <= LARGEST and s.group not in seen]
    order = np.random.default_rng([0, len(unseen)]).permutation(len(unseen))
    asked = [unseen[i] for i in sorted(order[:COMPOUNDS])]
    groups = {s.group for s in asked}
    return asked, [s for s in table if s.group not in groups]


def modulus(sample: Sample) -> float:
    """Voigt's bulk modulus of a labelled crystal, GPa."""
    return voigt(np.asarray(sample.labels["elastic_constants"], dtype=float))


def composition(sample: Sample) -> np.ndarray:
    """(119,) fractions of the elements, and one."""
    counts = np.bincount(sample.types, minlength=118)[:118]
    return np.append(counts / counts.sum(), 1.0)


def without_model(asked: list[Sample], others: list[Sample]) -> dict[str, np.ndarray]:
    """GPa of each crystal asked for, by the mean logarithm of the others and by composition."""
    target = np.log10([modulus(s) for s in others])
    x, new = np.array([composition(s) for s in others]), np.array([composition(s) for s in asked])
    ridge = 1e-2 * np.eye(x.shape[1])
    ridge[-1, -1] = 0
    weights = np.linalg.solve(x.T @ x + ridge, x.T @ target)
    return {"mean": np.full(len(asked), 10 ** target.mean()), "composition": 10 ** (new @ weights)}


def said(asked: list[Sample]) -> np.ndarray:
    """GPa by sfm-tiny's own number for the bulk modulus, no energies involved."""
    import sfm

    bare = [s.replace(labels={}) for s in asked]
    answers = sfm.load("sfm-tiny").predict(bare, quantities=["log_bulk_modulus"], extrapolate=True)
    return np.array([10 ** float(a["log_bulk_modulus"]) for a in answers])


def moduli(pythons: dict[str, str]) -> list[dict[str, Any]]:
    """One row a compound: PBE's volume and Voigt's bulk modulus, and everybody's."""
    asked, others = compounds()
    tasks = [task(s.id, s.types, s.positions, s.cell, FMAX) for s in asked]
    rows: list[dict[str, Any]] = []
    numbers = {**without_model(asked, others), "head": said(asked)}
    for i, sample in enumerate(asked):
        volume = abs(float(np.linalg.det(np.asarray(sample.cell, dtype=float))))
        rows.append({
            "name": sample.id,
            "formula": sample.group,
            "magnetic": bool(MAGNETIC & set(sample.types.tolist())),
            "pbe": [volume / len(sample.types), modulus(sample)],
            **{k: float(v[i]) for k, v in numbers.items()},
        })  # fmt: skip
    for peer, python in pythons.items():
        answers = curves("compounds", tasks, peer, python)
        for row, one in zip(rows, tasks, strict=True):
            row[peer] = fitted(one, answers[one["id"]])
    return rows
