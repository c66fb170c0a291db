"""One measuring process of the DFT benchmark: `dft/kohn-sham` or PySCF, on the cases of
`dft_cases.py`. Between requests (see `serving.py`) it sleeps, so that processes can take turns."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any, Protocol

import dft_cases
import numpy as np
import serving
from dft_cases import Case


class Engine(Protocol):
    """Energies (hartree) of a case's molecules and, where the task asks, forces (hartree/bohr) or
    the Hessian (hartree/bohr^2)."""

    packages: tuple[str, ...]

    def run(self, case: Case, task: str) -> tuple[np.ndarray, np.ndarray | None]: ...


class Ours:
    """One call of `dft/kohn-sham` for all molecules of a case."""

    packages = ("sfm-hub", "torch", "pyscf")

    def run(self, case: Case, task: str) -> tuple[np.ndarray, np.ndarray | None]:
        import torch
        from sfm_dft.simulators.kohn_sham import KohnSham

        from sfm.data.sample import Sample
        from sfm.units import factor

        simulator = KohnSham(
            functional=case.functional,
            basis=case.basis,
            grid_level=dft_cases.GRID_LEVEL,
            tolerance=dft_cases.TOLERANCE,
            forces=task == "forces",
            vibrations=task == "hessian",
        )
        samples = [
            Sample(id=name, domain="dft", types=numbers, positions=positions)
            for name, numbers, positions in case.molecules()
        ]
        with torch.no_grad():  # as PySCF, no derivatives by parameters
            one = samples[0] if task == "hessian" else samples
            observed = simulator.observe(simulator.solve(one))
        energy = observed["energy"].numpy() * factor("eV", "hartree")
        if task == "hessian":
            unit = factor("eV/angstrom**2", "hartree/bohr**2")
            return energy.reshape(1), observed["hessian"].numpy() * unit
        if task == "energy":
            return energy, None
        unit = factor("eV/angstrom", "hartree/bohr")
        return energy, observed["forces"].numpy() * unit


class PySCF:
    """One calculation after another with density fitting, the same grid and auxiliary basis."""

    packages = ("pyscf",)

    def run(self, case: Case, task: str) -> tuple[np.ndarray, np.ndarray | None]:
        from pyscf import dft, gto

        energies, derivatives = [], []
        for _, numbers, positions in case.molecules():
            atoms = [(int(z), tuple(r)) for z, r in zip(numbers, positions, strict=True)]
            molecule = gto.M(atom=atoms, basis=case.basis, verbose=0)
            mean_field = dft.RKS(molecule).density_fit(auxbasis=case.auxiliary)
            mean_field.xc = case.libxc
            mean_field.grids.level = dft_cases.GRID_LEVEL
            mean_field.conv_tol, mean_field.conv_tol_grad = 1e-9, dft_cases.TOLERANCE
            energies.append(mean_field.kernel())
            if not mean_field.converged:
                raise RuntimeError(f"PySCF did not converge {case.name}")
            if task == "forces":
                gradient = mean_field.nuc_grad_method()
                gradient.grid_response = True
                derivatives.append(-gradient.kernel())
            elif task == "hessian":
                second = mean_field.Hessian()
                second.auxbasis_response = 2
                rows = second.kernel().transpose(0, 2, 1, 3)
                derivatives.append(rows.reshape(3 * len(numbers), -1))
        return np.array(energies), np.concatenate(derivatives) if derivatives else None


ENGINES: dict[str, type[Ours] | type[PySCF]] = {"sfm": Ours, "pyscf": PySCF}


class Bench:
    """An engine, and what can be asked of it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def _work(self, case: str, task: str) -> Callable[[], tuple[np.ndarray, np.ndarray | None]]:
        return lambda: self.engine.run(dft_cases.CASES[case], task)

    def describe(self) -> dict[str, Any]:
        return {"packages": serving.packages(self.engine.packages)}

    def result(self, case: str, task: str) -> dict[str, Any]:
        """What comes out, and CPU seconds of this first call."""
        start = time.process_time()
        energy, derivatives = self._work(case, task)()
        spent = time.process_time() - start
        return {
            "energy": energy.tolist(),
            "derivatives": None if derivatives is None else derivatives.tolist(),
            "first": spent,
        }

    def time(self, case: str, task: str, calls: int) -> dict[str, Any]:
        """Seconds per call: of the wall clock, and of all threads of this process."""
        work = self._work(case, task)
        gc.collect()
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(calls):
            work()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return {"cpu": cpu / calls, "wall": wall / calls}

    def calls(self, case: str, task: str, count: int) -> dict[str, Any]:
        """CPU seconds of each of ``count`` calls."""
        work, spent = self._work(case, task), []
        for _ in range(count):
            start = time.process_time()
            work()
            spent.append(time.process_time() - start)
        return {"cpu": spent}

    def memory(self, case: str, task: str) -> dict[str, Any]:
        """Peak of one call and its rise above what was there before, in MiB."""
        self._work("water", task)()  # packages are loaded, and small work arrays made
        serving.reset_peak()
        before = serving.resident()
        self._work(case, task)()
        peak = serving.peak()
        return {"peak": peak, "rise": peak - before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    def start() -> tuple[Bench, dict[str, Any]]:
        import torch

        torch.set_num_threads(options.threads)
        bench = Bench(ENGINES[options.engine]())
        return bench, bench.describe()

    serving.serve(start)


if __name__ == "__main__":
    main()
