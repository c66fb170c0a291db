"""Energies of crystals at several volumes by a potential, in an environment that has it.

    python peer_curves.py INPUT.jsonl OUTPUT.jsonl PEER

A line of the input has `id`, `types`, `positions` and `cell` (angstrom), `scales` (factors of all
lengths) and `fmax` (eV/angstrom, or null). In each scaled cell the atoms keep their fractional
coordinates, or go to where no force is larger than `fmax`. The answer has `id` and `energies` (eV
per cell, one for each scale), or `why` there are none. PEER is `chgnet` (chgnet==0.4.2), `sevennet`
(sevenn==0.11.2, SevenNet-0) or `sfm-tiny`; all are asked through their ASE calculators.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.optimize import BFGS

STEPS = 100
# MPtrj, which both peers learned from, has 89 elements up to plutonium; these it lacks
LACKING = {"Po", "At", "Rn", "Fr", "Ra"}


def chgnet() -> Any:
    """CHGNet 0.3.0."""
    from chgnet.model.dynamics import CHGNetCalculator

    return CHGNetCalculator(use_device="cpu")


def sevennet() -> Any:
    """SevenNet-0 of July 2024."""
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


def sfm_tiny() -> Any:
    """The bundled model at its level of crystals."""
    import sfm

    return sfm.load("sfm-tiny").calculator(domain="crystals", compiled=True)


CALCULATORS = {"chgnet": chgnet, "sevennet": sevennet, "sfm-tiny": sfm_tiny}


def energies(task: dict[str, Any], calculator: Any) -> list[float]:
    """(T,) eV of the cell at each scale.

    Raises:
        ValueError: an element that the peers did not learn, or forces that do not go away.
    """
    start = Atoms(task["types"], task["positions"], cell=task["cell"], pbc=True)
    if unknown := LACKING & set(start.symbols):
        raise ValueError(f"element {min(unknown)} is not among the training data")
    answers = []
    for scale in task["scales"]:
        atoms = start.copy()
        atoms.set_cell(start.cell * scale, scale_atoms=True)
        atoms.calc = calculator
        if task["fmax"] is not None and not BFGS(atoms, logfile=None).run(task["fmax"], STEPS):
            raise ValueError(f"forces above {task['fmax']} eV/angstrom after {STEPS} steps")
        answers.append(float(atoms.get_potential_energy()))
    if not np.isfinite(answers).all():
        raise ValueError("an energy is not finite")
    return answers


def main() -> None:
    """Answer every line of the input, appending."""
    import torch

    torch.set_num_threads(1)
    calculator = CALCULATORS[sys.argv[3]]()
    tasks = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    with Path(sys.argv[2]).open("a") as sink:
        for task in tasks:
            answer: dict[str, Any] = {"id": task["id"]}
            try:
                answer["energies"] = energies(task, calculator)
            except Exception as error:  # each package has its own; the table says which it was
                answer["why"] = str(error).splitlines()[0]
            sink.write(json.dumps(answer) + "\n")
            sink.flush()


if __name__ == "__main__":
    main()
