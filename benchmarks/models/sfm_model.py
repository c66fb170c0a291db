"""Our own `FoundationModel`: one trunk, the encoders of molecules and of crystals, energy heads.

The mixture form is what is trained; the dense form is the same model collapsed to one encoder and
level, which is what inference uses; the compiled form is the mixture with kernels in C.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from systems import CUTOFF, Structure
from torch import Tensor

from models.base import Model
from sfm.config import HeadSpec, ModelConfig, Target
from sfm.data.sample import Sample
from sfm.model import FoundationModel
from sfm.nn import compiled as kernels
from sfm.nn.trunk import SIZES
from sfm.registry import quantities

PARTS = {"molecules": "molecules/atoms", "crystals": "crystals/atoms"}
LEVEL = "benchmark"


def config(size: str) -> ModelConfig:
    """Two encoders (open and periodic systems), each with an energy head."""
    contexts = tuple((part, LEVEL) for part in PARTS.values())
    return ModelConfig(
        trunk=dataclasses.asdict(SIZES[size]),
        encoders={part: {"cutoff": CUTOFF} for part in PARTS.values()},
        encoder_domains={part: domain for domain, part in PARTS.items()},
        heads=tuple(HeadSpec(p, "energy", f"{d}/energy") for d, p in PARTS.items()),
        targets=tuple(Target(part, LEVEL, "energy") for part in PARTS.values()),
        contexts=contexts,
        quantities={"energy": quantities()["energy"]},
        plugins={},
        name=f"sfm-{size}",
    )


class Sfm(Model):
    packages = ("torch", "sfm-hub", "vesin")

    def __init__(self, size: str, domain: str, *, dense: bool, compiled: bool) -> None:
        self.domain, self.part, self.compiled = domain, PARTS[domain], compiled
        full = FoundationModel(config(size))
        self.module = full.collapsed(self.part, LEVEL) if dense else full
        self.settings = {
            **self.module.config.trunk,
            "cutoff": CUTOFF,
            "encoders": list(PARTS.values()),
            "experts": 1 if dense else SIZES[size].experts,
            "kernels": "compiled" if compiled else "torch",
        }

    def prepare(self, structures: tuple[Structure, ...], device: torch.device) -> Any:
        samples = [
            Sample(
                id=f"{self.domain}-{i}",
                domain=self.domain,
                level=LEVEL,
                positions=s.positions,
                types=s.numbers,
                cell=s.cell,
                pbc=[s.cell is not None] * 3,
            )
            for i, s in enumerate(structures)
        ]
        return {self.part: self.module.tokenize(self.part, samples, LEVEL)}

    def n_edges(self, batch: Any) -> int:
        return batch[self.part].n_edges

    def energy_and_forces(self, batch: Any, *, training: bool) -> tuple[Tensor, Tensor]:
        quantities = {self.part: ("energy", "forces")}
        with kernels.compiled(self.compiled):
            out = self.module(batch, quantities, create_graph=training)[self.part]
        return out["energy"], out["forces"]


def build(variant: str, domain: str) -> Model:
    """`variant` is `tiny` or `small`, or one of these with `-dense` or `-compiled`."""
    size, _, form = variant.partition("-")
    return Sfm(size, domain, dense=form == "dense", compiled=form == "compiled")
