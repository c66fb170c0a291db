"""Errors of functionals on the test reactions, as numbers for a table. Errors in kcal/mol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfm_dft.neural.densities import load, located
from sfm_dft.neural.reactions import KCAL, Reaction, names_of
from sfm_dft.xc import Functional, functional

KINDS = ("atomisation", "ionisation")


def energy(one: Functional, path: Path) -> float:
    """Total energy at a prepared density on its whole grid, hartree."""
    prepared = load(path) if one.pointwise else located(load(path))
    with torch.no_grad():
        density = sum(one(prepared.density))
        value = prepared.rest + float((prepared.weights * density).sum())
    return value + one.exact_exchange * prepared.exact_exchange


def reaction_errors(
    one: Functional, chosen: Sequence[Reaction], folder: Path
) -> Float[Tensor, " R"]:
    """(R,) signed errors in kcal/mol at the prepared densities of `folder`."""
    energies = {name: energy(one, folder / f"{name}.npz") for name in names_of(chosen)}
    energies["H+1"] = 0.0
    return torch.tensor(
        [
            KCAL * sum(c * energies[name] for name, c in r.coefficients.items()) - r.reference
            for r in chosen
        ],
        dtype=torch.float64,
    )


def baseline_errors(
    chosen: Sequence[Reaction], folder: Path, names: Sequence[str]
) -> dict[str, Float[Tensor, " R"]]:
    """Errors (R,) of named functionals at the prepared densities, and the published ones."""
    errors = {name: reaction_errors(functional(name), chosen, folder) for name in names}
    for key in dict.fromkeys(key for r in chosen for key in r.published):
        values = [r.published.get(key, float("nan")) for r in chosen]
        errors[f"{key} (published)"] = torch.tensor(values, dtype=torch.float64)
    return errors


def summaries(errors: Float[Tensor, "seeds R"], chosen: Sequence[Reaction]) -> dict[str, Any]:
    """By kind, kcal/mol: the mean over seeds of the MAE, its spread, and of the mean of seeds.

    errors: (seeds, R); NaN where a functional has no value, which is left out and counted.
    """
    summary: dict[str, Any] = {}
    for kind in KINDS:
        rows = errors[:, [r.kind == kind for r in chosen]]
        maes = rows.abs().nanmean(1)
        mean = rows.mean(0)
        summary[kind] = {
            "mae": round(float(maes.mean()), 3),
            "spread": round(float(maes.std()), 3) if len(maes) > 1 else None,
            "ensemble_mae": round(float(mean.abs().nanmean()), 3),
            "ensemble_mean_error": round(float(mean.nanmean()), 3),
            "ensemble_worst": round(float(mean.abs().nan_to_num().max()), 2),
            "count": int((~mean.isnan()).sum()),
        }
    return summary


def rows_of(
    chosen: Sequence[Reaction], columns: Mapping[str, Float[Tensor, " R"]]
) -> list[dict[str, Any]]:
    """One row per reaction with every functional's error, from columns (R,), kcal/mol."""
    return [
        {
            "system": r.name,
            "species": r.subject,
            "kind": r.kind,
            "reference": r.reference,
            "errors": {
                name: None if values[i].isnan() else round(float(values[i]), 3)
                for name, values in columns.items()
            },
        }
        for i, r in enumerate(chosen)
    ]
