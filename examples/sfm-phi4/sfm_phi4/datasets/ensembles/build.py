"""Build `ensembles`: every field from a chain of its own, after 100 trajectories."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sfm_phi4.data import COUPLINGS, ENSEMBLES
from sfm_phi4.model import lattice
from sfm_phi4.sampling import HybridMonteCarlo
from sfm_phi4.theory import drift

from sfm.data.splits import assign
from sfm.data.storage import ID, SPLIT, TYPES, Column, cell_column, positions_column, write_dataset


def rows(size: int, seed: int) -> Iterator[dict[str, Any]]:
    """One row per field, half of each theory."""
    for number, (level, (m2, coupling)) in enumerate(COUPLINGS.items()):
        options = {"m2": m2, "coupling": coupling, "chains": size // 2, "seed": seed + number}
        simulator = HybridMonteCarlo(**options, leapfrogs=12).requires_grad_(False)
        state = simulator(simulator.state(), 100)
        s = simulator.observe(state)["phi4_action"]
        force = drift(state.phi, m2, coupling)
        for i, phi in enumerate(state.phi.numpy()):
            name = f"{level.replace(' ', '-')}-{i}"
            sample = lattice(phi, name)
            yield {
                "id": name,
                "split": assign(name, (0.8, 0.1, 0.1)),
                "types[1]": sample.types,
                "positions[1]": sample.positions,
                "cell[1]": sample.cell,
                "pbc[1]": sample.pbc,
                "phi4_field[1]": phi.reshape(-1),
                f"phi4_action[1]@{level}": float(s[i]),
                f"phi4_drift[1]@{level}": force[i].reshape(-1).numpy(),
            }


def main(argv: list[str] | None = None) -> int:
    """`build.py [--size N] [--seed N] [--out DIR]`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="not used: it takes a second")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(argv)
    columns = [ID, SPLIT, TYPES, positions_column("1"), cell_column("1")]
    columns += [
        Column("pbc", shape=(3,), dtype="bool"),
        Column("phi4_field", role="field", shape=(-1,)),
    ]
    for level in COUPLINGS:
        columns.append(Column("phi4_action", "1", "label", level, dtype="float64"))
        columns.append(Column("phi4_drift", "1", "label", level, (-1,)))
    write_dataset(
        options.out, columns, rows(options.size, options.seed), ENSEMBLES.info(seed=options.seed)
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
