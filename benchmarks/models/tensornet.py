"""TensorNet (matgl, Simeon and De Fabritiis, arXiv:2306.06482) with the default sizes of matgl.

`is_intensive=False` makes it a potential, as matgl's own tutorials do; stress is off.
"""

from __future__ import annotations

from typing import Any

import torch
from ase import Atoms
from matgl.apps.pes import Potential
from matgl.ext.ase import Atoms2Graph
from matgl.models import TensorNet
from systems import CUTOFF, Structure
from torch import Tensor
from torch_geometric.data import Batch

from models.base import Model

SETTINGS = {
    "units": 64,
    "nblocks": 2,
    "num_rbf": 32,
    "rbf_type": "Gaussian",
    "cutoff": CUTOFF,
    "equivariance_invariance_group": "O(3)",
    "is_intensive": False,
    "use_warp": False,
}


class TensorNetModel(Model):
    packages = ("torch", "matgl", "torch-geometric")

    def __init__(self) -> None:
        self.settings = SETTINGS
        network = TensorNet(**SETTINGS)
        self.converter = Atoms2Graph(network.element_types, cutoff=CUTOFF)
        self.module = Potential(network, calc_stresses=False)

    def prepare(self, structures: tuple[Structure, ...], device: torch.device) -> Any:
        graphs, lattices = [], []
        for s in structures:
            periodic = s.cell is not None
            atoms = Atoms(s.numbers, s.positions, cell=s.cell, pbc=periodic)
            graph, lattice, _ = self.converter.get_graph(atoms)
            graphs.append(graph)
            lattices.append(lattice.reshape(1, 3, 3))
        return Batch.from_data_list(graphs).to(device), torch.cat(lattices).to(device)

    def n_edges(self, batch: Any) -> int:
        return batch[0].edge_index.shape[1]

    def energy_and_forces(self, batch: Any, *, training: bool) -> tuple[Tensor, Tensor]:
        # Potential keeps the graph of the forces if it is in training mode
        if self.module.training != training:
            self.module.train(training)
        energy, forces, *_ = self.module(*batch)
        return energy.reshape(-1), forces


def build(variant: str, domain: str) -> Model:
    return TensorNetModel()
