"""Labels by SevenNet-0 (11 July 2024): energy, forces and stress of a machine-learned potential.

These labels are distilled: they carry SevenNet-0's errors, and no density-functional calculation
was run for them. The weights are those inside the package; a package without them is refused, so
that nothing is downloaded. The script half of this module needs neither sfm nor this plugin, so
that it can run in an environment of its own:

    python sevennet.py INPUT.jsonl OUTPUT.jsonl

Its ASE calculator gives the energy in eV, forces in eV/angstrom and the stress (1/V) dE/dstrain,
positive in tension, in eV/angstrom^3 (checked against finite differences of its energy in eight
cells: largest difference 2e-5 eV/angstrom^3, which is its float32 noise).
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

REQUIRES = ("sevenn==0.11.2", "torch==2.13.0")
SHA256 = "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36"


def weights() -> Path:
    """The checkpoint inside the package.

    Raises:
        SystemExit: it is not there, or is another one.
    """
    from sevenn import _const

    path = Path(_const.SEVENNET_0_11Jul2024)
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{path}: not the weights that {REQUIRES[0]} holds")
    return path


def label(source: Path, target: Path, report_every: int = 100) -> None:
    """Label each line of `source`, appending to `target`.

    A line holds `id`, `types`, `positions` (angstrom) and `cell` (angstrom); the answer holds `id`,
    `energy` (eV per cell), `forces` (eV/angstrom) and `stress` (eV/angstrom^3).
    """
    import time

    import torch
    from ase import Atoms
    from sevenn.calculator import SevenNetCalculator

    torch.set_num_threads(1)
    calculator = SevenNetCalculator(str(weights()), device="cpu")
    tasks = [json.loads(line) for line in source.read_text().splitlines()]
    start = time.process_time()
    with target.open("a") as sink:
        for number, task in enumerate(tasks, 1):
            atoms = Atoms(task["types"], task["positions"], cell=task["cell"], pbc=True)
            atoms.calc = calculator
            row = {
                "id": task["id"],
                "energy": atoms.get_potential_energy(),
                "forces": atoms.get_forces().tolist(),
                "stress": atoms.get_stress(voigt=False).tolist(),
            }
            sink.write(json.dumps(row) + "\n")
            if number % report_every == 0 or number == len(tasks):
                sink.flush()
                rate = number / (time.process_time() - start)
                print(f"{number}/{len(tasks)} labelled, {rate:.1f} per CPU second", flush=True)


if __name__ == "__main__":
    label(Path(sys.argv[1]), Path(sys.argv[2]))
