"""A learned functional made self-consistent: does it converge, and what does that change?

OMP_NUM_THREADS=1 python recipes/xc_3d_scf.py FUNCTIONAL --out FOLDER
    [--basis def2-svp] [--grid-level 1] [--member 0] [--species NAME ...] [--curve PICTURE.png]

FUNCTIONAL is a folder or Hub id of a learned functional, or a name such as r2SCAN to compare with.
For every species of the 104 atomisation and 18 ionisation energies: Fock matrices until the
residual is below 1e-5 hartree with DIIS alone and, where it needs more than 20, with second order
after it (`solver=auto`); then the energy at PBE's density in the same basis. One file per species,
so a stopped run goes on; `scf.json` holds the summary. `--curve` draws the dissociation of H2.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sfm_dft.neural.reactions import KCAL, Reaction, names_of, reactions
from sfm_dft.neural.saving import Ensemble, load
from sfm_dft.neural.species import species
from sfm_dft.scf.diis import start_state
from sfm_dft.scf.solver import DIIS_CYCLES
from sfm_dft.simulators.kohn_sham import KohnSham
from sfm_dft.simulators.kohn_sham_state import KohnShamState
from sfm_dft.xc import FUNCTIONALS
from sfm_dft.xc.contract import Functional

from sfm.data.sample import Sample
from sfm.errors import InputError, one_line_errors
from sfm.units import factor

Record = dict[str, Any]
TOLERANCE = 1e-5  # hartree, of the residual; it enters energies squared
MOST = 60  # cycles
SEPARATIONS = (0.5, 0.6, 0.741, 0.9, 1.1, 1.4, 1.7, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0)


def simulator(functional: Functional | str, **options: Any) -> KohnSham:
    """Kohn-Sham theory with this functional and nothing else."""
    options = {"tolerance": TOLERANCE, "max_cycles": MOST, **options}
    if isinstance(functional, str):
        return KohnSham(functional=functional, **options)
    return KohnSham(functional="none", closure=functional, **options)


def chosen(name: str, member: int) -> Functional | str:
    """The functional called `name`; of an ensemble one member, or its mean for -1."""
    if name in FUNCTIONALS:
        return name
    functional = load(name)
    if isinstance(functional, Ensemble) and member >= 0:
        only = functional.members[member]
        assert isinstance(only, Functional)
        return only
    return functional


def sample_of(name: str) -> Sample:
    """One species of the reactions."""
    from ase.data import atomic_numbers

    one = species(name)
    return Sample(
        id=name,
        domain="dft",
        types=np.array([atomic_numbers[symbol] for symbol in one.symbols]),
        positions=one.positions,
        conditions={"charge": one.charge, "spin": one.spin},
    )


def energy(one: KohnSham, state: KohnShamState) -> float:
    """Energy functional at the state's density, hartree."""
    functional = one.energy_functional(state)
    return float(functional.total(state.scf.density_matrix).detach())


def evaluate(functional: Functional | str, name: str, options: Mapping[str, Any]) -> Record:
    """SCF of one species with both solvers, and the energy at PBE's density."""
    started = time.perf_counter()
    diis = simulator(functional, solver="diis", **options)
    start = diis.state(sample_of(name))
    state = diis(start, MOST)
    record: Record = {"diis": _outcome(state)}
    if not state.converged or state.time > DIIS_CYCLES:
        state = simulator(functional, solver="auto", **options)(start, MOST)
    record["auto"] = _outcome(state)
    record["energy"] = energy(diis, state) if state.converged else None
    # a density that is not quite PBE's own changes the energy at it by less than 0.01 kcal/mol
    base = simulator("PBE", solver="diis", **{**options, "tolerance": 1e-4})
    again = replace(state, scf=start_state(state.system, state.scf.density_matrix))
    fixed = base(again, MOST)
    if fixed.converged:
        record["energy_at_pbe_density"] = energy(diis, fixed)
        record["energy_of_pbe"] = energy(base, fixed)
    record["seconds"] = round(time.perf_counter() - started, 1)
    return record


def _outcome(state: KohnShamState) -> Record:
    residual = float(state.scf.residual.max())
    return {"converged": state.converged, "cycles": int(state.time), "residual": residual}


def summary(records: Mapping[str, Record], test: Sequence[Reaction]) -> Record:
    """Convergence by solver, and what self-consistency changes in reactions, kcal/mol."""
    out: Record = {"species": len(records)}
    for solver in ("diis", "auto"):
        runs = [one[solver] for one in records.values()]
        cycles = [run["cycles"] for run in runs if run["converged"]]
        out[solver] = {
            "converged": len(cycles),
            "of": len(runs),
            "mean_cycles": round(statistics.fmean(cycles), 2) if cycles else None,
            "median_cycles": statistics.median(cycles) if cycles else None,
            "most_cycles": max(cycles, default=None),
            "failed": [n for n, one in records.items() if not one[solver]["converged"]],
        }
    for kind in ("atomisation", "ionisation"):
        rows = [
            r
            for r in test
            if r.kind == kind
            and all(n == "H+1" or _complete(records.get(n, {})) for n in r.coefficients)
        ]
        changes, errors, at_pbe, of_pbe = [], [], [], []
        for r in rows:
            change = _change(r, records, "energy")
            fixed = _change(r, records, "energy_at_pbe_density")
            changes.append(change - fixed)
            errors.append(change - r.reference)
            at_pbe.append(fixed - r.reference)
            of_pbe.append(_change(r, records, "energy_of_pbe") - r.reference)
        out[kind] = {"reactions": len(rows), "of": sum(r.kind == kind for r in test)}
        if rows:
            out[kind] |= {
                "mean_abs_change": _mean(changes),
                "mean_change": round(statistics.fmean(changes), 3),
                "largest_change": round(max(changes, key=abs), 2),
                "largest_of": rows[max(range(len(rows)), key=lambda i: abs(changes[i]))].name,
                "mae": _mean(errors),
                "mae_at_pbe_density": _mean(at_pbe),
                "mae_of_pbe": _mean(of_pbe),
            }
    return out


def _complete(one: Record) -> bool:
    return one.get("energy") is not None and "energy_at_pbe_density" in one


def _change(reaction: Reaction, records: Mapping[str, Record], key: str) -> float:
    return KCAL * sum(c * records[n][key] for n, c in reaction.coefficients.items() if n != "H+1")


def _mean(values: Sequence[float]) -> float:
    return round(statistics.fmean(abs(v) for v in values), 3)


def hydrogen(distance: float) -> Sample:
    """H2 at a distance in angstrom."""
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]])
    return Sample(id=f"H2 {distance}", domain="dft", types=np.array([1, 1]), positions=positions)


def curve(functional: Functional | str, options: Mapping[str, Any]) -> Record:
    """Energies of H2 in hartree beyond two atoms, restricted and with one spin on each atom."""
    atom = simulator(functional, **options)
    two = 2.0 * energy(atom, atom.solve(sample_of("H")))
    record: Record = {"separation": list(SEPARATIONS), "atoms": two}
    for spin in ("auto", "unrestricted"):
        one = simulator(functional, spin=spin, **options)
        energies, cycles = [], []
        for distance in SEPARATIONS:
            start = one.state(hydrogen(distance))
            if spin == "unrestricted":
                start = replace(start, scf=start_state(start.system, _one_spin_each(start)))
            state = one(start, MOST)
            energies.append(energy(one, state) - two if state.converged else None)
            cycles.append(int(state.time))
        key = "unrestricted" if spin == "unrestricted" else "restricted"
        record[key] = {"energy": energies, "cycles": cycles}
    return record


def _one_spin_each(state: KohnShamState) -> torch.Tensor:
    total = state.system.guess.sum(1)[0]  # superposed atoms: no element between the two
    half = len(total) // 2
    density = torch.zeros(1, 2, *total.shape, dtype=total.dtype)
    density[0, 0, :half, :half] = total[:half, :half]
    density[0, 1, half:, half:] = total[half:, half:]
    return density


def exact(basis: str) -> list[float]:
    """H2 beyond two atoms by full configuration interaction, hartree."""
    from pyscf import fci, gto, scf

    def molecule(atoms: str, spin: int) -> Any:
        return gto.M(atom=atoms, basis=basis, spin=spin, verbose=0)

    atom = scf.UHF(molecule("H 0 0 0", 1)).run().e_tot
    energies = []
    for distance in SEPARATIONS:
        mean_field = scf.RHF(molecule(f"H 0 0 0; H 0 0 {distance}", 0)).run()
        energies.append(float(fci.FCI(mean_field).kernel()[0]) - 2.0 * atom)
    return energies


def draw(curves: Mapping[str, Record], reference: Sequence[float], path: Path) -> None:
    """Dissociation curves of H2 by functional, beside the exact one."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    unit = factor("hartree", "eV")
    figure, axes = plt.subplots(figsize=(5.2, 3.4), layout="constrained")
    axes.axhline(0.0, color="0.8", lw=0.8)
    axes.plot(SEPARATIONS, np.array(reference) * unit, "k", lw=1.2, label="exact (FCI)")
    for (name, record), colour in zip(curves.items(), ("C0", "C1", "C2"), strict=False):
        for kind, style in (("restricted", "-"), ("unrestricted", "--")):
            values = np.array(record[kind]["energy"], dtype=float) * unit
            axes.plot(SEPARATIONS, values, style, color=colour, lw=1.4, label=f"{name}, {kind}")
    axes.set(xlabel="separation (angstrom)", ylabel="energy beyond two atoms (eV)", ylim=(-5.2, 4))
    axes.legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=110)
    plt.close(figure)


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("functional")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--member", type=int, default=0, help="of an ensemble; -1: the mean")
    parser.add_argument("--basis", default="def2-svp")
    parser.add_argument("--grid-level", type=int, default=1)
    parser.add_argument("--species", nargs="+", help="only these; all where none is named")
    parser.add_argument("--curve", type=Path, help="draw H2 in def2-tzvp instead")
    options = parser.parse_args(argv)
    functional = chosen(options.functional, options.member)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.curve:
        settings: dict[str, Any] = {"basis": "def2-tzvp", "grid_level": 2}
        curves = {"learned": curve(functional, settings), "PBE": curve("PBE", settings)}
        reference = exact("def2-tzvp")
        draw(curves, reference, options.curve)
        text = json.dumps({"exact": reference, **curves}, indent=1)
        (options.out / "h2.json").write_text(text, encoding="utf-8")
        return 0
    test = [r for r in reactions() if r.part == "test"]
    names = options.species or names_of(test)
    settings = {"basis": options.basis, "grid_level": options.grid_level}
    records: dict[str, Record] = {}
    for name in names:
        path = options.out / f"{name}.json"
        if path.exists():
            records[name] = json.loads(path.read_text(encoding="utf-8"))
            continue
        try:
            records[name] = evaluate(functional, name, settings)
        except InputError as error:  # a basis without this element, say: counted, not hidden
            print(f"{name}: {error}", file=sys.stderr)
            continue
        path.write_text(json.dumps(records[name]), encoding="utf-8")
        print(name, records[name], file=sys.stderr, flush=True)
        _write(options, settings, records, test)
    _write(options, settings, records, test)
    print((options.out / "scf.json").read_text(encoding="utf-8"))
    return 0


def _write(
    options: argparse.Namespace,
    settings: Mapping[str, Any],
    records: Mapping[str, Record],
    test: Sequence[Reaction],
) -> None:
    table = {
        "functional": options.functional,
        "member": options.member,
        "tolerance": TOLERANCE,
        **settings,
        **summary(records, test),
    }
    (options.out / "scf.json").write_text(json.dumps(table, indent=1), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
