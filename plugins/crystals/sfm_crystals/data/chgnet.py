"""Labels by CHGNet 0.4.2 (weights 0.3.0): energy, forces and stress of a machine-learned potential.

These labels are distilled: they carry CHGNet's errors, and no density-functional calculation was
run for them. The script half of this module needs neither sfm nor this plugin, so that it can run
in an environment of its own:

    python chgnet.py INPUT.jsonl OUTPUT.jsonl

CHGNet gives the energy per atom in eV, forces in eV/angstrom and the stress (1/V) dE/dstrain,
positive in tension, in GPa (checked against finite differences of its energy: largest difference
5e-5 eV/angstrom^3, which is its float32 noise).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

REQUIRES = ("chgnet==0.4.2", "torch==2.13.0")
GPA = 160.21766208  # GPa in one eV/angstrom^3, the number that CHGNet multiplies by


def label(source: Path, target: Path, report_every: int = 100) -> None:
    """Label each line of `source`, appending to `target`.

    A line holds `id`, `types`, `positions` (angstrom) and `cell` (angstrom); the answer holds `id`,
    `energy` (eV per cell), `forces` (eV/angstrom) and `stress` (eV/angstrom^3).
    """
    import time

    import numpy as np
    import torch
    from chgnet.model import CHGNet
    from pymatgen.core import Lattice, Structure

    torch.set_num_threads(1)
    model = CHGNet.load(use_device="cpu", verbose=False)
    tasks = [json.loads(line) for line in source.read_text().splitlines()]
    start = time.monotonic()
    with target.open("a") as sink:
        for number, task in enumerate(tasks, 1):
            structure = Structure(
                Lattice(task["cell"]), task["types"], task["positions"], coords_are_cartesian=True
            )
            answer = model.predict_structure(structure, task="efs")
            row = {
                "id": task["id"],
                "energy": float(answer["e"]) * len(structure),
                "forces": np.asarray(answer["f"], dtype=float).tolist(),
                "stress": (np.asarray(answer["s"], dtype=float) / GPA).tolist(),
            }
            sink.write(json.dumps(row) + "\n")
            if number % report_every == 0 or number == len(tasks):
                sink.flush()
                rate = number / (time.monotonic() - start)
                print(f"{number}/{len(tasks)} labelled, {rate:.1f} per second", flush=True)


if __name__ == "__main__":
    label(Path(sys.argv[1]), Path(sys.argv[2]))
