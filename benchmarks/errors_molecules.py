"""Molecules of the table of errors: measured atomisation energies and energies of isomers.

GFN2-xTB (tblite) stands beside the model. Neither's total energies are about free atoms, so both
get one number for each element, fitted to the same labels; energies of isomers need none.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import transfer
import transfer_rows
from sfm_molecules.data.labelling import LEVEL as XTB
from sfm_molecules.data.labelling import Xtb

from sfm.data.elements import SYMBOLS
from sfm.data.sample import Sample

PBE = "PBE/def2-SVP"
STORED = Path(__file__).parent / "results_transfer.json"
SEEDS = 5
UNPAIRED = {1: 1, 6: 2, 7: 3, 8: 2, 9: 1}  # ground states of the atoms


def xtb_of(samples: Sequence[Sample]) -> np.ndarray:
    """(S,) eV by GFN2-xTB, of closed shells."""
    return np.array([Xtb(s.types)(s.positions).energy for s in samples])


def counts(samples: Sequence[Sample]) -> np.ndarray:
    """(S, 5) atoms of each element."""
    return np.array([[int((s.types == z).sum()) for z in UNPAIRED] for s in samples], dtype=float)


def labels(samples: Sequence[Sample]) -> np.ndarray:
    """(S,) measured, eV."""
    return np.array([float(s.labels["atomisation_energy"]) for s in samples])


def by_model(encoder: str, level: str) -> Callable[[Sequence[Sample]], np.ndarray]:
    """Energies (S,) in eV by sfm-tiny at a level."""
    import sfm

    model, domain = sfm.load(transfer.MODEL), encoder.split("/")[0]

    def energies(samples: Sequence[Sample]) -> np.ndarray:
        bare = [s.replace(labels={}, level=None, domain=domain) for s in samples]
        said = model.predict(bare, level=level, quantities=["energy"])
        return np.array([float(p["energy"]) for p in said])

    return energies


def atomisation() -> list[dict[str, Any]]:
    """Errors on each split's test molecules, eV; the model's are those of the transfer table."""
    (row,) = [r for r in transfer_rows.rows() if r.name == "atomisation"]
    pairs = row.pairs()
    stored = {r["seed"]: r for r in json.loads(STORED.read_text())["rows"] if r["row"] == row.name}
    alone = np.zeros((1, 3))
    atoms = np.array([Xtb(np.array([z]), uhf=n)(alone).energy for z, n in UNPAIRED.items()])
    rows = []
    for seed in range(SEEDS):
        task, _, _ = transfer.split(row, pairs, seed, transfer.LABELS)
        train, test = task.train, task.test
        known = stored[seed]
        if (known["labels"], known["tested"]) != (len(train), len(test)):
            raise SystemExit("results_transfer.json has other splits; make it anew")
        bound = labels(test) + xtb_of(test)  # energy of the free atoms, if all were right
        fitted = np.linalg.lstsq(counts(train), labels(train) + xtb_of(train), rcond=None)[0]
        off = {
            "GFN2-xTB, its own atoms": counts(test) @ atoms - bound,
            "GFN2-xTB, fitted atoms": counts(test) @ fitted - bound,
        }
        names = {"mean": "mean", "composition": "composition", "delta energy":
                 "sfm-tiny, fitted atoms", "auto": "sfm-tiny, fine-tuned"}  # fmt: skip
        rows.append({
            "seed": seed, "labels": len(train), "tested": len(test),
            **{text: known["mae"][name] for name, text in names.items()},
            **{name: float(np.abs(values).mean()) for name, values in off.items()},
        })  # fmt: skip
    return rows


def isomers() -> list[dict[str, Any]]:
    """One row for each molecule that has a more stable isomer in the set: eV above it."""
    families: dict[str, list[Sample]] = defaultdict(list)
    measured = ("dft/g2-atomisation", "atomisation_energy", "experiment")
    for _, sample in transfer_rows.bundled(*measured, transfer_rows.MOST):
        n = counts([sample])[0].astype(int)
        formula = "".join(f"{SYMBOLS[z]}{k}" for z, k in zip(UNPAIRED, n, strict=True) if k)
        families[formula].append(sample)
    ways = {
        XTB: xtb_of,
        f"sfm-tiny at {XTB}": by_model("molecules/atoms", XTB),
        f"sfm-tiny at {PBE}": by_model("dft/atoms", PBE),
    }
    rows = []
    for formula, family in families.items():
        family.sort(key=lambda s: -float(s.labels["atomisation_energy"]))
        said = {name: way(family) for name, way in ways.items()} if len(family) > 1 else {}
        for i, sample in enumerate(family[1:], 1):
            rows.append({
                "name": sample.id.split("@")[0], "formula": formula,
                "above": family[0].id.split("@")[0],
                "measured": float(labels(family)[0] - labels(family)[i]),
                **{name: float(values[i] - values[0]) for name, values in said.items()},
            })  # fmt: skip
    return rows
