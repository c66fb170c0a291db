"""Does a functional gain from seeing the electrons around the atoms? Trained beside its control.

OMP_NUM_THREADS=1 python recipes/xc_nonlocal.py --densities FOLDER --out FOLDER
    [--arms blind alone messages joint] [--seeds 0 1] [--folds 0] [--steps N] [--on-grid ARM ...]

Arms, all with the same data, loss, steps and first weights of the two networks of the point:
`blind` sees nothing around (a semilocal functional), `messages` what atoms tell each other through
a small trunk from scratch, `lone` that and each atom's own electrons, `alone` only these; `joint`
starts from the trunk of `sfm-tiny`, and `large` is a trunk of that size from scratch; `on-blind`
arms keep the trained control as it is and only learn what to say around. Data and split are those
of `recipes/xc_3d.py`, whose densities it reads; with `--folds 3` the test is not touched: each
third of the training reactions is predicted from the other two; with `--folds 5 --with-test` each
fifth of the test from the rest of the test and the training reactions. Every fit is a file, so a
stopped run goes on; with other settings it wants another folder. Errors of the table are on merged
points; of arms in `--on-grid` also on whole grids. The numbers in benchmarks/xc_nonlocal.json have
`--locality 3e7`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from sfm_dft.neural.densities import load, located
from sfm_dft.neural.nonlocality import NonlocalMetaGGA
from sfm_dft.neural.packed_atoms import SpeciesSpots, spots
from sfm_dft.neural.reaction_errors import rows_of, summaries
from sfm_dft.neural.reactions import KCAL, Reaction, names_of, reactions
from sfm_dft.neural.saving import save
from sfm_dft.neural.training import PLANS, Settings, errors_of, fold_of, train

import sfm
from sfm.errors import InputError, one_line_errors
from sfm.nn.saving import load_module, load_tensors, save_module, save_tensors
from sfm.train.report import finite, write_json

AllSpots = Mapping[str, SpeciesSpots]
TINY = {"channels": 64, "layers": 2, "experts": 1, "radial": 8, "carried": 16}
ARMS: Mapping[str, Mapping[str, Any]] = {
    "blind": {"blind": True},
    "alone": {"cutoff": 0.0, "lone": True},
    "lone": {"lone": True},
    "messages": {},
    "large": {"trunk": TINY},
    "joint": {"trunk": TINY},
    "on-blind": {},
    "on-blind-large": {"trunk": TINY},
    "on-blind-joint": {"trunk": TINY},
}
LEVEL = "PBE/def2-SVP"  # of what the joint trunk has learned of densities


def prepared(folder: Path, cache: Path, every: Sequence[Reaction]) -> AllSpots:
    """Packed atoms and spots of all species; from files of `cache` where they are there."""
    all_spots, blank = {}, NonlocalMetaGGA()
    cache.mkdir(parents=True, exist_ok=True)
    for name in names_of(every):
        path = cache / f"{name}.safetensors"
        if not path.exists():
            packed = spots(blank, located(load(folder / f"{name}.npz")))
            save_tensors(packed.tensors(), path, {"species": name})
        all_spots[name] = SpeciesSpots.of(load_tensors(path)[1])
    return all_spots


def new(arm: str, seed: int, chosen: Sequence[Reaction], all_spots: AllSpots) -> NonlocalMetaGGA:
    """An untrained functional of this arm, standardised on the training species."""
    one = NonlocalMetaGGA(seed=seed, **ARMS[arm])
    names = [name for name in all_spots if any(name in r.coefficients for r in chosen)]
    one.messages.calibrate(torch.cat([all_spots[name].packed for name in names]))
    if arm.endswith("joint"):
        one.messages.adopt(sfm.load("sfm-tiny"), "dft/density", LEVEL)
    return one


def fitted(
    arm: str,
    seed: int,
    label: str,
    chosen: Sequence[Reaction],
    all_spots: AllSpots,
    settings: Settings,
    out: Path,
) -> NonlocalMetaGGA:
    """The functional trained on these reactions: read from its file if it was trained before.

    Raises:
        InputError: it was, with other settings.
    """
    one = new(arm, seed, chosen, all_spots)
    path = out / "fits" / f"{arm}-{label}-{seed}.safetensors"
    record = path.with_suffix(".json")
    if path.exists() and record.exists():
        before = json.loads(record.read_text(encoding="utf-8"))["settings"]
        if before != asdict(settings):
            raise InputError(f"{path}: was trained with other settings; give another --out")
        return load_module(path, lambda _: one)
    if arm.startswith("on-"):
        control = fitted("blind", seed, label, chosen, all_spots, settings, out)
        for name in ("exchange_gain", "correlation_gain"):
            gain = getattr(one, name)
            gain.load_state_dict(getattr(control, name).state_dict())
            gain.requires_grad_(False)
    started = time.process_time()
    fit = train(one, all_spots, chosen, settings, seed=seed)
    save_module(one, path, {"arm": arm, "seed": seed})
    seconds = round(time.process_time() - started, 1)
    record.write_text(json.dumps({**asdict(fit), "seconds": seconds}), encoding="utf-8")
    print(
        f"{arm} {label} seed {seed}: loss {fit.training[-1]:.3f}, {seconds} s of processor",
        file=sys.stderr,
        flush=True,
    )
    return one


def across_folds(
    arm: str,
    all_spots: AllSpots,
    pool: Sequence[Reaction],
    judged: Sequence[Reaction],
    settings: Settings,
    options: argparse.Namespace,
) -> torch.Tensor:
    """(seeds, R) errors of each judged reaction by functionals that never saw its subject."""
    errors = torch.full((len(options.seeds), len(judged)), float("nan"), dtype=torch.float64)
    for fold in range(options.folds):
        inside = [fold_of(r.subject, options.folds) == fold for r in judged]
        held = [r for r, out in zip(judged, inside, strict=True) if out]
        chosen = [r for r in pool if fold_of(r.subject, options.folds) != fold]
        for row, seed in enumerate(options.seeds):
            label = f"fold{fold}of{options.folds}" + "-all" * options.with_test
            one = fitted(arm, seed, label, chosen, all_spots, settings, options.out)
            errors[row, torch.tensor(inside)] = errors_of([one], all_spots, held)[0]
    return errors


def on_grid(
    members: Sequence[NonlocalMetaGGA], chosen: Sequence[Reaction], folder: Path
) -> torch.Tensor:
    """(members, R) errors on every point of the densities' grids, kcal/mol."""
    energies = {"H+1": torch.zeros(len(members), dtype=torch.float64)}
    for name in names_of(chosen):
        one = located(load(folder / f"{name}.npz"))
        with torch.no_grad():
            values = [one.weights @ torch.stack(m(one.density)).sum(0) for m in members]
        energies[name] = torch.stack(values) + one.rest
    names = list(energies)
    rows = torch.tensor([[r.coefficients.get(n, 0) for n in names] for r in chosen])
    reference = torch.tensor([r.reference for r in chosen], dtype=torch.float64)
    return KCAL * torch.stack(list(energies.values()), 1) @ rows.double().T - reference


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--densities", type=Path, required=True, help="of recipes/xc_3d.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--spots", type=Path, help="where packed densities are kept; in --out")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["blind", "messages"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--folds", type=int, default=0, help="of the training data; 0: the test")
    parser.add_argument("--with-test", action="store_true", help="folds of all data, not external")
    parser.add_argument("--on-grid", nargs="*", choices=list(ARMS), default=[])
    parser.add_argument("--steps", type=int, help="of training; the plan's own")
    for name in ("stiffness", "locality", "ionisation", "decay", "rate"):
        parser.add_argument(f"--{name}", type=float, help="of training; the plan's own")
    options = parser.parse_args(argv)
    return compare(options)


def chosen_settings(options: argparse.Namespace) -> Settings:
    """Those of the command line, the plan's own where it gives none.

    Raises:
        InputError: options that are out of range or make no sense together.
    """
    names = ("steps", "stiffness", "locality", "ionisation", "decay", "rate")
    changes = {k: getattr(options, k) for k in names if getattr(options, k) is not None}
    for name, value in changes.items():
        least, most = int(name == "steps"), 1.0 if name == "ionisation" else float("inf")
        if not least <= value <= most or value == float("inf"):
            raise InputError(f"--{name} {value}: give a number from {least} to {most}")
    if options.folds < 0 or options.folds == 1:
        raise InputError(f"--folds {options.folds}: give 2 or more, or 0 for the test")
    if options.with_test and not options.folds:
        raise InputError("--with-test: folds of all data need --folds, such as --folds 5")
    if options.on_grid and (options.folds or set(options.on_grid) - set(options.arms)):
        raise InputError("--on-grid: give arms that are in --arms, and no --folds")
    return replace(PLANS["NeuralMetaGGA"], **changes)


def compare(options: argparse.Namespace) -> int:
    """Train and judge every arm; write the table and, but for folds, the functionals."""
    settings = chosen_settings(options)
    known = reactions()
    every = tuple(
        r for r in known if all((options.densities / f"{n}.npz").exists() for n in names_of([r]))
    )
    if {r.part for r in every} != {r.part for r in known}:
        raise InputError(
            f"--densities {options.densities}: too few densities are there; recipes/xc_3d.py "
            "makes them"
        )
    if len(every) < len(known):
        lacking = len(known) - len(every)
        print(f"{lacking} reactions left out: densities are lacking", file=sys.stderr)
    test = [r for r in every if r.part == "test"]
    external = [r for r in every if r.part == "external"]
    blind_to_test = bool(options.folds) and not options.with_test
    judged, pool = (external, external) if blind_to_test else (test, every)
    all_spots = prepared(options.densities, options.spots or options.out / "spots", pool)
    base = errors_of([NonlocalMetaGGA()], all_spots, judged)  # untrained it is r2SCAN
    columns = {"r2SCAN": base[0]}
    rows: list[dict[str, Any]] = [{"functional": "r2SCAN", **summaries(base, judged)}]
    for arm in options.arms:
        if options.folds:
            errors = across_folds(arm, all_spots, pool, judged, settings, options)
        else:
            members = [
                fitted(arm, seed, "external", external, all_spots, settings, options.out)
                for seed in options.seeds
            ]
            errors = errors_of(members, all_spots, test)
            training = summaries(errors_of(members, all_spots, external), external)
            rows.append({"functional": f"{arm}, on its training data", **training})
            save(members, options.out / f"sfm-xc-nonlocal-{arm}", settings=asdict(settings))
        rows.append({"functional": arm, **summaries(errors, judged)})
        columns[arm] = errors.mean(0)
        if arm in options.on_grid:
            errors = on_grid(members, test, options.densities)
            rows.append({"functional": f"{arm}, whole grid", **summaries(errors, test)})
            columns[f"{arm}, whole grid"] = errors.mean(0)
    table = {"settings": asdict(settings), "summary": rows, "reactions": rows_of(judged, columns)}
    options.out.mkdir(parents=True, exist_ok=True)
    write_json(options.out / "results.json", finite(table))
    print(json.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
