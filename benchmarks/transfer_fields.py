"""Rows of the transfer benchmark that are no number per system: forces, and a subgrid stress.

`xtb-forces`: GFN1-xTB energies and forces of a hundred conformers of paracetamol and ibuprofen, a
level that pretraining never saw (it saw GFN2-xTB); judged on other conformers of both, and on those
of naproxen, which none of the labels is of. Closed forms have all labels; of training a fifth is
held out, as `sfm finetune` does, which calibrates standard errors. `subgrid-stress`: filtered
turbulence at Reynolds numbers that pretraining never saw.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import transfer_labels

from sfm.data.sample import Sample

CONFORMERS, JUDGED, UNSEEN = 50, 15, 15


def forces(base: Any, seed: int, steps: int, tokens: int) -> list[dict[str, Any]]:
    """Errors of forces, and of energies about each molecule's mean."""
    from sfm.train.force_selection import closed_forces, force_targets
    from sfm.train.trained import without_split

    drugs = {name: transfer_labels.conformers(name, 90) for name in ("paracetamol", "ibuprofen")}
    unseen = transfer_labels.conformers("naproxen", 40)[:UNSEEN]
    order = np.random.default_rng([seed, 90]).permutation(90)
    train = [frames[i] for frames in drugs.values() for i in order[:CONFORMERS]]
    test = [frames[i] for frames in drugs.values() for i in order[CONFORMERS : CONFORMERS + JUDGED]]
    task = _task("xtb-forces", "molecules/atoms", ("energy", "forces"), train, [*test, *unseen])
    outcome = closed_forces(base, task, force_targets(task), "auto")
    held = np.random.default_rng([seed, 91]).permutation(len(train))[: len(train) // 5]
    models = {
        f"closed form ({outcome.mode})": outcome.model,
        **trained(base, without_split(task, held.tolist()), seed, steps, tokens),
    }
    rows = []
    for of, judged in (("conformers of the same molecules", test), ("another molecule", unseen)):
        said = {name: _force_errors(m, judged) for name, m in models.items()}
        for what, unit in (("forces", "eV/angstrom"), ("energy", "eV")):
            mae = {name: errors[what] for name, errors in said.items()}
            row = _row("xtb-forces", f"{what}, {of}", unit, seed, mae)
            if what == "forces":
                row["coverage"] = {n: e["inside"] for n, e in said.items() if "inside" in e}
            rows.append(row)
    return rows


def _force_errors(model: Any, samples: list[Sample]) -> dict[str, float]:
    level = "GFN1-xTB" if "GFN1-xTB" in {t.level for t in model.targets()} else None
    predictions = model.predict(
        samples, level=level, quantities=["energy", "forces"], extrapolate=True
    )
    off, inside, wrong = [], [], {}
    for sample, said in zip(samples, predictions, strict=True):
        error = np.abs(said["forces"] - sample.labels["forces"])
        off.append(error.ravel())
        if "forces" in said.uncertainty:
            inside.append((error < 1.645 * said.uncertainty["forces"][:, None]).ravel())
        drug = sample.id.rpartition("-")[0]
        wrong.setdefault(drug, []).append(float(said["energy"]) - float(sample.labels["energy"]))
    centred = [np.abs(np.array(e) - np.mean(e)) for e in wrong.values()]
    errors = {
        "forces": float(np.concatenate(off).mean()),
        "energy": float(np.concatenate(centred).mean()),
    }
    return errors | ({"inside": float(np.concatenate(inside).mean())} if inside else {})


def subgrid(base: Any, seed: int, steps: int, tokens: int) -> list[dict[str, Any]]:
    """Errors of the subgrid stress; trajectories of half the flows are learned from."""
    from sfm.data.storage import open_dataset
    from sfm.registry import find
    from sfm.train.evaluate import evaluate

    spec = find("datasets", "fluids/turbulence-2d-unseen").load()
    samples = list(open_dataset(spec.folder, level="DNS", length_unit=spec.length_unit))
    names = sorted({_trajectory(s) for s in samples})
    order = np.random.default_rng([seed, len(names)]).permutation(len(names))
    held = {names[i] for i in order[: len(names) // 2]}
    train = [s for s in samples if _trajectory(s) not in held]
    test = [s for s in samples if _trajectory(s) in held]
    task = _task("subgrid-stress", "fluids/patches", ("sgs_stress",), train, test)
    # a step of 256 tokens is one field; a third of the steps costs what a row of numbers costs
    models = trained(base, task, seed, steps // 3, tokens)
    mae = {k: evaluate(m, task, split="test").metrics[0].mae for k, m in models.items()}
    return [_row("subgrid-stress", "unseen Reynolds numbers", "1", seed, mae)]


def _trajectory(sample: Sample) -> str:
    return sample.id.rpartition("-")[0]


ROWS: dict[str, Callable[..., list[dict[str, Any]]]] = {
    "xtb-forces": forces,
    "subgrid-stress": subgrid,
}


def trained(base: Any, task: Any, seed: int, steps: int, tokens: int) -> dict[str, Any]:
    """The model as it is, after training of all weights, and a new one trained as long."""
    from sfm.recipe import FinetuneRecipe
    from sfm.train.scratch import scratch_model
    from sfm.train.trained import shorter, train
    from sfm.train.transfer import grow

    recipe = shorter(FinetuneRecipe(), steps, tokens)
    settings = recipe.training.model_copy(update={"seed": seed})
    recipe = recipe.model_copy(update={"training": settings})
    with tempfile.TemporaryDirectory() as folder:
        full = train(base, task, recipe, run=Path(folder), resolved={}, log=False).model
        scratch = scratch_model(task, base, recipe, Path(folder))
    return {"zero-shot": grow(base, task, seed)[0], "full": full, "scratch": scratch}


def _task(name: str, encoder: str, names: tuple[str, ...], train: Any, test: Any) -> Any:
    from sfm.recipe import Goal
    from sfm.registry import quantities
    from sfm.train.finetune_task import WEIGHTS
    from sfm.train.tasks import TaskData

    level, table = str(train[0].level), quantities()
    return TaskData(
        name=name,
        domain=train[0].domain,
        encoder=encoder,
        levels=(level,),
        goals={q: Goal(weight=WEIGHTS.get(q, 1.0)) for q in names},
        present=tuple((level, q) for q in names),
        train=train,
        validation=train[:4],
        test=test,
        definitions={q: table[q] for q in names},
    )


def _row(name: str, of: str, unit: str, seed: int, mae: dict[str, float]) -> dict[str, Any]:
    return {"row": name, "of": of, "unit": unit, "seed": seed, "mae": mae}
