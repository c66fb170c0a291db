"""MACE (mace-torch, Batatia et al., arXiv:2206.07697), 128x0e.

Every setting is the default of its command line `mace_run_train --num_channels=128 --max_L=0`.
It knows only the elements of the two workloads, as a model trained for them would: its cost and
its size grow with the number of elements, so this is the case that favours it.
"""

from __future__ import annotations

from typing import Any

import mace  # noqa: F401 - before e3nn: it says how the constants of e3nn 0.4 are to be read
import numpy as np
import torch
from e3nn import o3
from mace import data as mace_data
from mace import modules
from mace.tools import AtomicNumberTable, torch_geometric
from systems import CUTOFF, Structure
from torch import Tensor

from models.base import Model

ELEMENTS = (1, 6, 7, 8, 9, 14, 16, 17)
SETTINGS = {
    "hidden_irreps": "128x0e",
    "num_interactions": 2,
    "correlation": 3,
    "max_ell": 3,
    "r_max": CUTOFF,
    "num_bessel": 8,
    "num_polynomial_cutoff": 5,
    "radial_MLP": [64, 64, 64],
    "MLP_irreps": "16x0e",
    "interaction_first": "RealAgnosticInteractionBlock",
    "interaction": "RealAgnosticResidualInteractionBlock",
    "gate": "silu",
    "use_reduced_cg": False,
    "avg_num_neighbors": 16.0,
    "elements": list(ELEMENTS),
}


class Mace(Model):
    packages = ("torch", "mace-torch", "e3nn")

    def __init__(self) -> None:
        s = self.settings = SETTINGS
        self.table = AtomicNumberTable(list(ELEMENTS))
        self.module = modules.ScaleShiftMACE(
            r_max=s["r_max"],
            num_bessel=s["num_bessel"],
            num_polynomial_cutoff=s["num_polynomial_cutoff"],
            max_ell=s["max_ell"],
            interaction_cls=modules.interaction_classes[s["interaction"]],
            interaction_cls_first=modules.interaction_classes[s["interaction_first"]],
            num_interactions=s["num_interactions"],
            num_elements=len(ELEMENTS),
            hidden_irreps=o3.Irreps(s["hidden_irreps"]),
            MLP_irreps=o3.Irreps(s["MLP_irreps"]),
            atomic_energies=np.zeros(len(ELEMENTS)),
            avg_num_neighbors=s["avg_num_neighbors"],
            atomic_numbers=list(ELEMENTS),
            correlation=s["correlation"],
            gate=modules.gate_dict[s["gate"]],
            use_reduced_cg=s["use_reduced_cg"],
            radial_MLP=s["radial_MLP"],
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )

    def prepare(self, structures: tuple[Structure, ...], device: torch.device) -> Any:
        graphs = [
            mace_data.AtomicData.from_config(
                mace_data.Configuration(
                    atomic_numbers=s.numbers,
                    positions=s.positions,
                    properties={},
                    property_weights={},
                    cell=s.cell,
                    pbc=(s.cell is not None,) * 3,
                ),
                z_table=self.table,
                cutoff=CUTOFF,
            )
            for s in structures
        ]
        return torch_geometric.Batch.from_data_list(graphs).to(device).to_dict()

    def n_edges(self, batch: Any) -> int:
        return batch["edge_index"].shape[1]

    def energy_and_forces(self, batch: Any, *, training: bool) -> tuple[Tensor, Tensor]:
        out = self.module(dict(batch), training=training)
        return out["energy"], out["forces"]


def build(variant: str, domain: str) -> Model:
    return Mace()
