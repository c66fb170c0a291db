"""Learned exchange-correlation functionals for molecules: atomisation and ionisation at once.

OMP_NUM_THREADS=1 python recipes/xc_3d.py --densities FOLDER --out FOLDER
    [--kinds NeuralGGA NeuralMetaGGA] [--seeds 0 1 2] [--folds 5] [--steps N]

Prepares reference densities with PySCF where FOLDER lacks them (once, about half an hour), trains
each kind and seed on reactions that share no molecule with the test, and with `--folds` also on
four fifths of the test beside them, tested on the last fifth. Every fit is a file, so a stopped run
goes on where it was. Writes one folder per kind that `sfm_dft.neural.saving.load` and `sfm push`
read, and `results.json` with every reaction. No recipe file fits: a functional is no trunk.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sfm_dft.neural.densities import BASIS, load, prepare_all
from sfm_dft.neural.functional import KINDS, NeuralFunctional
from sfm_dft.neural.reactions import Reaction, names_of, reactions
from sfm_dft.neural.results import baseline_errors, rows_of, summaries
from sfm_dft.neural.saving import save
from sfm_dft.neural.spectra import SpeciesSpectra, spectra
from sfm_dft.neural.training import PLANS, errors_of, fold_of, train

Found = Mapping[str, SpeciesSpectra]


def fitted(
    kind: str,
    seed: int,
    label: str,
    chosen: Sequence[Reaction],
    found: Found,
    out: Path,
    steps: int,
) -> NeuralFunctional:
    """The functional trained on these reactions: read from its file if it was trained before."""
    functional = KINDS[kind](seed=seed)
    path = out / "fits" / f"{kind}-{label}-{seed}.safetensors"
    if path.exists():
        functional.load_state_dict(load_file(str(path)))
        return functional
    started = time.perf_counter()
    fit = train(functional, found, chosen, PLANS[kind].with_steps(steps), seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in functional.state_dict().items()}, str(path))
    report = {**asdict(fit), "seconds": round(time.perf_counter() - started, 1)}
    path.with_suffix(".json").write_text(json.dumps(report), encoding="utf-8")
    kept = fit.step // fit.settings["patience"]
    print(
        f"{kind} {label} seed {seed}: loss {fit.training[kept]:.2f}, validation "
        f"{fit.validation[kept]:.2f} kcal/mol at step {fit.step}, {report['seconds']} s",
        file=sys.stderr,
        flush=True,
    )
    return functional


def across_folds(
    kind: str, found: Found, every: Sequence[Reaction], options: argparse.Namespace
) -> torch.Tensor:
    """(seeds, tests) errors of each test reaction by functionals that never saw its molecule."""
    test = [r for r in every if r.part == "test"]
    errors = torch.full((len(options.seeds), len(test)), float("nan"), dtype=torch.float64)
    for fold in range(options.folds):
        inside = [fold_of(r.subject, options.folds) == fold for r in test]
        held = [r for r, is_held in zip(test, inside, strict=True) if is_held]
        chosen = [r for r in every if fold_of(r.subject, options.folds) != fold]
        for row, seed in enumerate(options.seeds):
            label = f"fold{fold}of{options.folds}"
            one = fitted(kind, seed, label, chosen, found, options.out, options.steps)
            errors[row, torch.tensor(inside)] = errors_of([one], found, held)[0]
    return errors


def one_kind(
    kind: str, options: argparse.Namespace, every: Sequence[Reaction]
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Train one kind both ways; summaries, and errors of the tests by column."""
    blank = KINDS[kind]()
    found = {
        name: spectra(blank, load(options.densities / f"{name}.npz")) for name in names_of(every)
    }
    test = [r for r in every if r.part == "test"]
    external = [r for r in every if r.part == "external"]
    members = [
        fitted(kind, seed, "external", external, found, options.out, options.steps)
        for seed in options.seeds
    ]
    columns = {f"{kind} external": errors_of(members, found, test)}
    if options.folds:
        columns[f"{kind} folds"] = across_folds(kind, found, every, options)
    found_rows = [
        {"functional": name, **summaries(errors, test)} for name, errors in columns.items()
    ]
    fitted_to = {"functional": f"{kind} on its training data"}
    found_rows.append({**fitted_to, **summaries(errors_of(members, found, external), external)})
    save(
        members,
        options.out / kind,
        data="second ionisation energies of Li to Ar, 45 molecules of G2/97 outside the test",
        densities=f"PBE/{BASIS}",
        kcal_mol=found_rows[0],
    )
    return found_rows, {name: errors.mean(0) for name, errors in columns.items()}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--densities", type=Path, required=True, help="made where it lacks some")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folds", type=int, default=5, help="0: only the external data")
    parser.add_argument("--steps", type=int, default=0, help="of training; 0: the kind's own")
    options = parser.parse_args(argv)
    every = reactions()
    failures = prepare_all(names_of(every), options.densities)
    every = tuple(r for r in every if not set(r.coefficients) & set(failures))
    test = [r for r in every if r.part == "test"]
    columns = baseline_errors(test, options.densities, ("LDA", "PBE", "r2SCAN"))
    rows = [{"functional": n, **summaries(e[None], test)} for n, e in columns.items()]
    for kind in options.kinds:
        more, errors = one_kind(kind, options, every)
        rows += more
        columns |= errors
    table = {"failures": failures, "summary": rows, "reactions": rows_of(test, columns)}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
