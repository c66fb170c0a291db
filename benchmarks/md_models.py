"""Dynamics by learned potentials through torch-sim: ours, MACE and SevenNet-0, one class each.

Constant energy, float32, each model's own adapter and neighbour list, in an environment of its own.
MACE has random weights, of the size that the trunk's benchmark has; so the time step is small
enough that all atoms stay where they are, whatever a model says of them.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

SIZES = ("silicon-64", "ethanol-32")
STEP = 0.1  # fs
KT = 0.0259  # eV, at 300 K
TIME = 10.180505  # fs, of angstrom (amu/eV)^(1/2)


class Engine(Protocol):
    """Dynamics of one batch."""

    packages: tuple[str, ...]

    def __init__(self, size: str) -> None: ...

    def run(self, steps: int) -> None: ...


def structures(size: str) -> list[Any]:
    """`ase.Atoms`: one rattled silicon cell, or 32 rattled ethanol molecules in vacuum."""
    from ase import Atoms
    from ase.build import molecule
    from systems import silicon

    if size == "silicon-64":
        cell = silicon().structures[0]
        return [Atoms(cell.numbers, cell.positions, cell=cell.cell, pbc=True)]
    batch = []
    for seed in range(32):
        atoms = molecule("CH3CH2OH")
        atoms.rattle(0.02, seed=seed)
        atoms.set_cell(20 * np.eye(3))  # some of the adapters divide by its volume
        batch.append(atoms)
    return batch


class _TorchSim:
    """torch-sim's velocity Verlet; a subclass has the model."""

    packages: tuple[str, ...] = ("torch-sim-atomistic", "torch")

    def __init__(self, size: str) -> None:
        import torch
        from torch_sim.integrators import nve
        from torch_sim.io import atoms_to_state

        state = atoms_to_state(structures(size), torch.device("cpu"), torch.float32)
        dt, kt = torch.tensor(STEP / TIME), torch.tensor(KT)
        init, self.update = nve(self.model(size), dt=dt, kT=kt, seed=0)
        self.state = init(state)

    def model(self, size: str) -> Any:
        raise NotImplementedError

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.state = self.update(self.state)
        if not bool(self.state.energy.isfinite().all()):
            raise ValueError("an energy is not finite")


class Tiny(_TorchSim):
    """`sfm-tiny`."""

    packages = ("sfm-hub", *_TorchSim.packages)
    compiled = False

    def model(self, size: str) -> Any:
        import torch

        import sfm
        from sfm.engines.torch_sim import SfmTorchSim

        domain, level = ("crystals", None) if "silicon" in size else ("molecules", "GFN2-xTB")
        return SfmTorchSim(
            sfm.load("sfm-tiny"),
            domain=domain,
            level=level,
            compute_stress=False,
            compiled=self.compiled,
            dtype=torch.float32,
        )


class TinyCompiled(Tiny):
    """`sfm-tiny` with compiled kernels."""

    compiled = True


class Mace(_TorchSim):
    """MACE 128x0e with random weights, as in the trunk's benchmark."""

    packages = ("mace-torch", "e3nn", *_TorchSim.packages)

    def model(self, size: str) -> Any:
        import torch
        from models.mace import build
        from torch_sim.models.mace import MaceModel

        return MaceModel(
            build("128x0e", "").module,
            device=torch.device("cpu"),
            dtype=torch.float32,
            compute_stress=False,
        )


class SevenNet(_TorchSim):
    """SevenNet-0 (11 July 2024), the weights of its wheel; it gives stress always."""

    packages = ("sevenn", "e3nn", *_TorchSim.packages)

    def model(self, size: str) -> Any:
        import torch
        from sevenn.util import load_checkpoint
        from torch_sim.models.sevennet import SevenNetModel

        network = load_checkpoint("7net-0").build_model()
        return SevenNetModel(network, device=torch.device("cpu"), dtype=torch.float32)


ENGINES: dict[str, type] = {
    "model sfm-tiny": Tiny,
    "model sfm-tiny compiled": TinyCompiled,
    "model mace": Mace,
    "model sevennet-0": SevenNet,
}
PEERS = {
    "model sfm-tiny": "sfm-torch-sim",
    "model sfm-tiny compiled": "sfm-torch-sim",
    "model mace": "mace-torch-sim",
    "model sevennet-0": "sevennet-torch-sim",
}
