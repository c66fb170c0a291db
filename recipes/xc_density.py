"""Do better densities come from asking for them? A learned GGA fine-tuned towards CCSD densities.

OMP_NUM_THREADS=1 python recipes/xc_density.py --densities FOLDER --out FOLDER
    [--model sfm-xc-gga] [--ways gradient density dipole both pbe0 energy] [--seeds 0 1 2]
    [--as-prepared]

Every member of the model (a seed each) is trained further on six small molecules in def2-SVP, with
the energy loss of its first training beside it, in one of these ways:

    density   self-consistent densities towards CCSD's, one response solve per step
    dipole    the same for dipoles alone
    both      densities and dipoles in equal parts, with the same one solve
    gradient  no self-consistent field: the energy's first derivative at CCSD's natural orbitals
    pbe0      the same at PBE0's density matrices, and second derivatives along random rotations
    energy    nothing but the energies: the control

and tested on six other molecules, beside PBE, r2SCAN, B3LYP, and on the test reactions at fixed
densities (those of recipes/xc_3d.py in FOLDER, made where it lacks some: half an hour). Every fit
and every test is a file, so a stopped run goes on where it was; `results.json` sums up.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sfm_dft.neural import density_losses
from sfm_dft.neural.densities import load as load_density
from sfm_dft.neural.densities import prepare_all
from sfm_dft.neural.functional import NeuralFunctional
from sfm_dft.neural.reactions import KCAL, Reaction, names_of, reactions
from sfm_dft.neural.saving import Ensemble, load
from sfm_dft.neural.species import species
from sfm_dft.neural.spectra import SpeciesSpectra, spectra, stack
from sfm_dft.neural.training import PROTON, Settings, errors_of, problem
from sfm_dft.scf.diis import nearest_idempotent
from sfm_dft.simulators.kohn_sham import KohnSham
from sfm_dft.simulators.kohn_sham_state import KohnShamState
from torch import Tensor

from sfm.data.sample import Sample
from sfm.errors import RunError, one_line_errors
from sfm.nn.descent import cosine, descend
from sfm.nn.saving import load_module, save_module
from sfm.units import factor

TRAIN = ("H2O", "NH3", "HF", "CO", "N2", "CH4")
TEST = ("HCN", "H2CO", "C2H2", "CH3OH", "CO2", "SH2")
BASIS = "def2-svp"
COARSE, FINE = 0, 1  # grid levels: to train, to test
STEPS = {"gradient": 40, "density": 24, "dipole": 24, "both": 24, "pbe0": 24, "energy": 40}
RATE = 5e-3
TOLERANCE = 1e-5  # hartree, residual of the self-consistent fields
SOLVE = 1e-2  # relative residual of the response: a gradient good to a percent
DEBYE = factor("e*bohr", "debye")

Loss = Callable[[int], Tensor]


def sample_of(name: str) -> Sample:
    from ase.data import atomic_numbers

    one = species(name)
    types = np.array([atomic_numbers[symbol] for symbol in one.symbols])
    return Sample(id=name, domain="dft", types=types, positions=one.positions)


def simulator(functional: NeuralFunctional | str, level: int) -> KohnSham:
    """Kohn-Sham theory with this functional; only the functional's weights take gradients."""
    options: dict[str, Any] = {"basis": BASIS, "grid_level": level, "tolerance": TOLERANCE}
    if isinstance(functional, str):
        return KohnSham(functional=functional, **options).requires_grad_(False)
    one = KohnSham(functional="none", closure=functional, **options).requires_grad_(False)
    functional.requires_grad_(True)
    return one


def correlated(names: Sequence[str], folder: Path) -> list[Tensor]:
    """CCSD density matrices (n, n) of all electrons, unrelaxed, all of them correlated."""
    from pyscf import cc, gto, scf

    matrices = []
    for name in names:
        path = folder / "ccsd" / f"{name}.npy"
        if not path.exists():
            one = species(name)
            atoms = [[s, tuple(p)] for s, p in zip(one.symbols, one.positions, strict=True)]
            mol = gto.M(atom=atoms, basis=BASIS, verbose=0)
            solver = cc.CCSD(scf.RHF(mol).run(conv_tol=1e-10)).run()
            if not solver.converged:
                raise RunError(f"{name}: CCSD did not converge")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, solver.make_rdm1(ao_repr=True))
        matrices.append(torch.tensor(np.load(path)))
    return matrices


def energy_loss(
    of_species: Mapping[str, SpeciesSpectra], chosen: Sequence[Reaction]
) -> Callable[[NeuralFunctional], Tensor]:
    """That of the first training: softened errors of reactions, kcal/mol."""
    names, settings = names_of(chosen), Settings()
    together = stack(of_species, names, torch.float64)
    asked = problem(chosen, names, together.base, settings)

    def loss(functional: NeuralFunctional) -> Tensor:
        change = KCAL * together.energies(functional)
        errors = asked.base_error + asked.coefficients @ change
        soft = (errors.square() + settings.soften**2).sqrt() - settings.soften
        return (asked.weight * soft).sum()

    return loss


def density_loss(functional: NeuralFunctional, folder: Path, share: float = 0.0) -> Loss:
    """Squared density errors, and dipole errors for a share, each over what it was at first."""
    one = simulator(functional, COARSE)
    state = one.state([sample_of(name) for name in TRAIN])
    matrices = density_losses.packed(state.system, correlated(TRAIN, folder))
    target = density_losses.Target.of(one.energy_functional(state), matrices)
    first: list[Tensor] = []

    def loss(_: int) -> Tensor:
        nonlocal state
        state = one(state, one.max_cycles)  # from the last step's density matrix
        errors = density_losses.self_consistent_errors(
            one.energy_functional(state), state.scf, target, tolerance=SOLVE
        )
        parts = torch.stack([errors.square.mean(), errors.dipole.mean()])
        first[:] = first or [parts.detach()]
        density, dipole = parts / first[0]
        return (1.0 - share) * density + share * dipole

    return loss


def gradient_loss(functional: NeuralFunctional, folder: Path) -> Loss:
    """First derivatives at CCSD's natural orbitals, over what they were at first."""
    one = simulator(functional, COARSE)
    state = one.state([sample_of(name) for name in TRAIN])
    matrices = density_losses.packed(state.system, correlated(TRAIN, folder))
    near = nearest_idempotent(state.system, matrices)
    point = density_losses.Point.of(state.system, near)
    first: list[Tensor] = []

    def loss(_: int) -> Tensor:
        value = density_losses.gradient_loss(one.energy_functional(state), point).mean()
        first[:] = first or [value.detach()]
        return value / first[0]

    return loss


def pbe0_loss(functional: NeuralFunctional, folder: Path) -> Loss:
    """First and second derivatives at PBE0's density matrices towards PBE0's, one new direction
    each step, over what they were at first."""
    hybrid = simulator("PBE0", COARSE)
    solved = hybrid.solve([sample_of(name) for name in TRAIN])
    point = density_losses.Point.of(solved.system, solved.scf.density_matrix)
    one = simulator(functional, COARSE)
    first: list[Tensor] = []

    def loss(step: int) -> Tensor:
        u = point.random(1, seed=step)
        products = density_losses.hessian_products(
            hybrid.energy_functional(solved), point, u
        ).detach()
        energy = one.energy_functional(solved)
        slopes = density_losses.gradient_loss(energy, point).mean()
        parts = torch.stack(
            [slopes, density_losses.hessian_loss(energy, point, u, products).mean()]
        )
        first[:] = first or [parts.detach()]
        return (parts / first[0]).mean()

    return loss


WAYS: Mapping[str, Callable[[NeuralFunctional, Path], Loss] | None] = {
    "gradient": gradient_loss,
    "density": density_loss,
    "dipole": partial(density_loss, share=1.0),
    "both": partial(density_loss, share=0.5),
    "pbe0": pbe0_loss,
    "energy": None,
}


def tuned(
    way: str,
    seed: int,
    start: NeuralFunctional,
    energies: Callable[[NeuralFunctional], Tensor],
    out: Path,
) -> NeuralFunctional:
    """A member after training; read from its file if it was trained before."""
    functional = copy.deepcopy(start).requires_grad_(True)
    path = out / "fits" / f"{way}-{seed}.safetensors"
    if path.exists():
        return load_module(path, lambda _: functional)
    started = time.perf_counter()
    make = WAYS[way]
    further = make(functional, out) if make else None
    history: list[tuple[float, float]] = []

    def loss(step: int) -> Tensor:
        energy = energies(functional)
        scale = history[0][1] if history else float(energy.detach())
        other = further(step) if further else torch.zeros(())
        history.append((float(other.detach()), float(energy.detach())))
        return other + energy / scale

    descend(
        functional,
        loss,
        work=f"{way} {seed}",
        steps=STEPS[way],
        optimizer=torch.optim.Adam(functional.parameters(), lr=RATE),
        schedule=cosine(STEPS[way]),
    )
    save_module(functional, path, {"way": way, "seed": seed})
    seconds = round(time.perf_counter() - started, 1)
    path.with_suffix(".json").write_text(json.dumps({"losses": history, "seconds": seconds}))
    print(f"{way} {seed}: {history[0]} to {history[-1]}, {seconds} s", file=sys.stderr, flush=True)
    return functional


def tested(label: str, functional: NeuralFunctional | str, out: Path) -> dict[str, Any]:
    """Self-consistent errors by molecule, from scratch on the fine grid, and cycles."""
    path = out / "tests" / f"{label}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    names = TRAIN + TEST
    one = simulator(functional, FINE)
    with torch.no_grad():
        state: KohnShamState = one.solve([sample_of(name) for name in names])
        reference = density_losses.packed(state.system, correlated(names, out))
        energy = one.energy_functional(state)
        target = density_losses.Target.of(energy, reference)
        errors = density_losses.DensityErrors.of(energy, state.scf.density_matrix, target)
    errors_by_kind = {
        "density_percent": (100.0 * errors.absolute).tolist(),
        "density_square": errors.square.tolist(),
        "dipole_debye": (DEBYE * errors.dipole.sqrt()).tolist(),
        "cycles": [float(cycles) for cycles in state.scf.cycles],
    }
    rows = {n: {k: v[i] for k, v in errors_by_kind.items()} for i, n in enumerate(names)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))
    print(f"{label}: {summary(rows, TEST)}", file=sys.stderr, flush=True)
    return rows


def summary(rows: Mapping[str, Mapping[str, float]], names: Sequence[str]) -> dict[str, float]:
    """Means over molecules; of dipoles over those that have one."""
    polar = [n for n in names if n not in {"N2", "CH4", "C2H2", "CO2"}]
    out = {}
    for key in ("density_percent", "density_square", "dipole_debye", "cycles"):
        over = polar if key == "dipole_debye" else names
        out[key] = round(statistics.fmean(rows[n][key] for n in over), 6)
    return out


def spread(values: Sequence[float]) -> list[float]:
    """Mean and standard deviation over seeds."""
    off = statistics.stdev(values) if len(values) > 1 else 0.0
    return [round(statistics.fmean(values), 6), round(off, 6)]


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--densities", type=Path, required=True, help="made where it lacks some")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", default="sfm-xc-gga")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--as-prepared", action="store_true", help="prepare nothing more")
    options = parser.parse_args(argv)
    started = time.perf_counter()
    loaded = load(options.model)
    members = list(loaded.members) if isinstance(loaded, Ensemble) else [loaded]
    every = reactions()
    names = names_of(every)
    if not options.as_prepared:
        prepare_all(names, options.densities)
    kept = [name for name in names if (options.densities / f"{name}.npz").exists()]
    every = tuple(r for r in every if set(r.coefficients) <= {*kept, PROTON})
    first = members[0]
    assert isinstance(first, NeuralFunctional)
    of_species = {
        name: spectra(first, load_density(options.densities / f"{name}.npz")) for name in kept
    }
    energies = energy_loss(of_species, [r for r in every if r.part == "external"])
    test = [r for r in every if r.part == "test"]

    def report(label: str, runs: Mapping[int, NeuralFunctional]) -> dict[str, Any]:
        rows = [tested(f"{label}-{seed}", one, options.out) for seed, one in runs.items()]
        table: dict[str, Any] = {"functional": label, "seeds": len(rows)}
        for part, chosen in (("train", TRAIN), ("test", TEST)):
            each = [summary(row, chosen) for row in rows]
            table[part] = {key: spread([one[key] for one in each]) for key in each[0]}
        errors = errors_of(list(runs.values()), of_species, test).abs()
        for kind in ("atomisation", "ionisation"):
            inside = torch.tensor([r.kind == kind for r in test])
            table[kind] = spread(errors[:, inside].mean(1).tolist())
        table["test_molecules"] = rows
        return table

    table = []
    for name in ("PBE", "r2SCAN", "B3LYP"):
        rows = tested(name, name, options.out)
        each = {"train": summary(rows, TRAIN), "test": summary(rows, TEST)}
        table.append({"functional": name, **each, "test_molecules": rows})
    runs = {}
    for seed in options.seeds:
        one = members[seed]
        assert isinstance(one, NeuralFunctional)
        runs[seed] = one
    table.append(report(options.model, runs))
    for way in options.ways:
        after = {s: tuned(way, s, one, energies, options.out) for s, one in runs.items()}
        table.append(report(way, after))
        seconds = round(time.perf_counter() - started, 1)
        text = json.dumps({"seconds": seconds, "summary": table}, indent=1)
        (options.out / "results.json").write_text(text + "\n", encoding="utf-8")
    for row in table:
        print(json.dumps({k: v for k, v in row.items() if k != "test_molecules"}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
