"""Coulomb energies of rock salt: Ewald's sums beside particle mesh Ewald.

Energy, forces and stress of rattled cells, float64, one thread; the two take turns, CPU time is
counted, the fastest of each is kept. `python benchmarks/coulomb.py --times 4 5 6 8` prints a table.
"""

from __future__ import annotations

import argparse
import time

import torch
from sfm_crystals.cells import Cells, derivatives
from sfm_crystals.data.prototypes import repeated, rock_salt
from sfm_crystals.potentials.ewald import ewald
from sfm_crystals.potentials.mesh import particle_mesh


def salt(times: int) -> tuple[Cells, torch.Tensor]:
    sample = repeated(rock_salt(11, 17, 5.64), times)
    rattle = 0.1 * torch.randn(len(sample.types), 3, generator=torch.Generator().manual_seed(0))
    cells = Cells(
        positions=torch.tensor(sample.positions) + rattle.double(),
        types=torch.tensor(sample.types).long(),
        cell=torch.tensor(sample.cell)[None],
        system=torch.zeros(len(sample.types)).long(),
    )
    return cells, torch.where(cells.types == 11, 1.0, -1.0).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, nargs="+", default=[4, 5, 6, 8], help="cells a side")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("| ions | Ewald, CPU s | mesh, CPU s | Ewald / mesh | energy, eV/ion | forces |")
    print("| --- | --- | --- | --- | --- | --- |")
    for times in args.times:
        cells, charges = salt(times)
        seconds = {ewald: float("inf"), particle_mesh: float("inf")}
        seen = {}
        for _ in range(args.rounds):
            for sums in seconds:
                start = time.process_time()
                seen[sums] = derivatives(lambda c, sums=sums, q=charges: sums(c, q), cells)
                seconds[sums] = min(seconds[sums], time.process_time() - start)
        (energy, forces, _), (other, others, _) = seen[ewald], seen[particle_mesh]
        count = len(charges)
        error = float((others - forces).abs().max() / forces.abs().max())
        slow, fast = seconds.values()
        print(
            f"| {count} | {slow:.2f} | {fast:.2f} | {slow / fast:.1f} "
            f"| {abs(float(other - energy)) / count:.0e} | {error:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
