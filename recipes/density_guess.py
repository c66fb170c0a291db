"""A small model of electron densities, good enough to start self-consistent fields from.

OMP_NUM_THREADS=1 python recipes/density_guess.py [--steps N] [--out FOLDER]

Takes the trunk and the density head of `sfm-tiny`, and trains them on the density coefficients of
`dft-small` and `dft-levels` (training splits) with the Coulomb energy of the error as the loss (see
`sfm_dft.density.training`). No recipe file fits: that loss needs integrals of each molecule. Writes
a model folder with its record and card. Ten minutes on one core; memory about 2 GB.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.data.specs import DFT_LEVELS, DFT_SMALL, PBE
from sfm_dft.density.guess import ENCODER, QUANTITY, predicted, superposed
from sfm_dft.density.training import CoulombTraining, example
from sfm_dft.model.metrics import density_nmae, density_relative_error, electron_error
from sfm_dft.model.single_context import single_context

import sfm
from sfm.data.sample import Sample
from sfm.data.spec import DatasetSpec
from sfm.data.storage import open_dataset
from sfm.errors import one_line_errors
from sfm.hub import check_folder, write_model_card
from sfm.train.report import hardware, versions, write_json

BASE, NAME = "sfm-tiny", "sfm-density"
SOURCES = (DFT_SMALL, DFT_LEVELS)
LIMITS = [
    "Closed-shell neutral molecules of H, C, N, O, F with up to 12 atoms, PBE/def2-SVP.",
    "Densities are written in 45 functions per atom, which cost about 2 % by themselves.",
    "Meant as the start of a self-consistent field: not accurate enough for energies.",
    "One seed.",
]


def labelled(spec: DatasetSpec, split: str) -> list[Sample]:
    """Samples of a split that carry density coefficients."""
    data = open_dataset(spec.folder, split=split, level=PBE)
    return [sample for sample in data if QUANTITY in sample.labels]


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-samples", type=int, help="of each dataset's split, for a trial")
    parser.add_argument("--out", type=Path, default=Path("runs") / NAME)
    options = parser.parse_args(argv)
    began = time.perf_counter()
    base = sfm.load(BASE)
    model = single_context(base, PBE, NAME, [QUANTITY])
    splits = {
        split: {spec.name: labelled(spec, split)[: options.max_samples] for spec in SOURCES}
        for split in ("train", "validation", "test")
    }
    examples = {
        split: [
            example(model, sample, PBE) for samples in splits[split].values() for sample in samples
        ]
        for split in ("train", "validation")
    }
    training = CoulombTraining(model, PBE, examples["train"])
    history = training.run(examples["validation"], steps=options.steps, seed=options.seed)
    model.eval()
    model.save_pretrained(options.out)
    record = {
        "name": NAME,
        "summary": "Electron densities of small molecules in 45 functions per atom, PBE/def2-SVP: "
        "the start of a self-consistent field.",
        "licence": "Apache-2.0",
        "base_model": BASE,
        "recipe": {
            "script": "recipes/density_guess.py",
            "loss": "Coulomb energy of the error of the density",
            "steps": options.steps,
            "seed": options.seed,
        },
        "data": [
            {
                "name": f"dft/{spec.name}",
                "levels": [PBE],
                "quantities": [QUANTITY],
                "samples": len(splits["train"][spec.name]),
                "revision": {p.name: digest(p) for p in (spec.folder / "data").glob("*.parquet")},
                **spec.provenance(),
            }
            for spec in SOURCES
        ],
        "losses": history,
        "metrics": [
            row
            for spec in SOURCES
            for row in metrics(f"dft/{spec.name}", model, base, splits["test"][spec.name])
        ],
        "limits": LIMITS,
        "cost": {"parameters": parameters(model), "total time [s]": time.perf_counter() - began},
        "hardware": hardware("cpu"),
        "versions": versions(),
    }
    write_json(options.out / "training.json", record)
    write_model_card(options.out)
    check_folder(options.out)
    print(options.out)
    return 0


def parameters(model: Any) -> int:
    """Trainable numbers of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def digest(path: Path) -> str:
    """First 16 hexadecimal digits of the file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def metrics(name: str, model: Any, base: Any, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Mean errors over molecules, against the fitted coefficients, beside what needs no training.

    `nmae` is the integral of abs(difference of densities) over the number of electrons; the floor
    of the fit itself against the density is in the datasets' cards and in the plugin's README.
    """
    kinds = {"relative_error": "1", "electron_error": "e", "nmae": "1"}
    errors: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in kinds}
    for sample in samples:
        molecule = build_molecule(sample.types, sample.positions)
        target = np.array(sample.labels[QUANTITY])
        for who, values in (
            ("this model", predicted(molecule, model)),
            (BASE, predicted(molecule, base, PBE)),
            ("superposition of atomic densities", superposed(molecule)),
        ):
            errors["relative_error"][who].append(density_relative_error(values, target))
            errors["electron_error"][who].append(electron_error(values, target))
            errors["nmae"][who].append(density_nmae(sample.types, sample.positions, values, target))
    rows = []
    for kind, unit in kinds.items():
        means = {who: float(np.mean(values)) for who, values in errors[kind].items()}
        rows.append(
            {
                "dataset": name,
                "encoder": ENCODER,
                "split": "test",
                "level": PBE,
                "quantity": QUANTITY,
                "metric": kind,
                "value": means.pop("this model"),
                "unit": unit,
                "n": len(samples),
                "baselines": means,
            }
        )
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
