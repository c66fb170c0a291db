"""Frozen features of crystals by a peer, in an environment that has it. Imports nothing of ours.

    python peer_features.py INPUT.jsonl OUTPUT.jsonl PEER

A line of the input has `id`, `types`, `positions` and `cell` (angstrom); the answer has `id` and
`features`. PEER is `chgnet` (chgnet==0.4.2: what its last layer reads, averaged over the atoms) or
`sevennet` (sevenn==0.11.2, SevenNet-0: the scalars that its readout reads, averaged likewise).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


def chgnet() -> Callable[[Any], Iterable[float]]:
    """Crystal features (64,) of CHGNet 0.3.0."""
    from chgnet.model import CHGNet
    from pymatgen.core import Lattice, Structure

    model = CHGNet.load(use_device="cpu", verbose=False)

    def features(task: Any) -> Iterable[float]:
        structure = Structure(
            Lattice(task["cell"]), task["types"], task["positions"], coords_are_cartesian=True
        )
        said = model.predict_structure(structure, task="e", return_crystal_feas=True)
        return [float(x) for x in said["crystal_fea"]]

    return features


def sevennet() -> Callable[[Any], Iterable[float]]:
    """Means over the atoms (128,) of what SevenNet-0's readout reads."""
    from ase import Atoms
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator("7net-0", device="cpu")
    modules = dict(calculator.model.named_modules())
    caught = {}

    def catch(_: Any, inputs: Any) -> None:
        caught["x"] = inputs[0]["x"].detach().mean(0).tolist()

    modules["reduce_input_to_hidden"].register_forward_pre_hook(catch)

    def features(task: Any) -> Iterable[float]:
        atoms = Atoms(task["types"], task["positions"], cell=task["cell"], pbc=True)
        calculator.calculate(atoms, ["energy"])
        return [float(x) for x in caught["x"]]

    return features


def main() -> None:
    """Answer every line of the input, appending."""
    import torch

    torch.set_num_threads(1)
    features = {"chgnet": chgnet, "sevennet": sevennet}[sys.argv[3]]()
    tasks = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    with Path(sys.argv[2]).open("a") as sink:
        for task in tasks:
            sink.write(json.dumps({"id": task["id"], "features": list(features(task))}) + "\n")


if __name__ == "__main__":
    main()
