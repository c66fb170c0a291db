"""A trunk with the Fock module on it: what predicts, and is saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn.bounded import checked_options
from sfm.nn.saving import load_module, save_module
from sfm_dft.density.guess import ENCODER
from sfm_dft.fock.basis import WIDTH, present, to_blocks, to_matrix
from sfm_dft.fock.blocks import FockBlocks
from sfm_dft.fock.pairs import Pairs

FILE = "fock.safetensors"


class FockModel(nn.Module):
    """A trunk with the Fock module on it.

    Args:
        base: a model with the one context `dft/atoms`; it needs no head (`single_context`).
        options: of `FockBlocks`.
    """

    def __init__(self, base: FoundationModel, **options: float) -> None:
        super().__init__()
        self.base, self.options = base, options
        self.blocks = FockBlocks(base.trunk.config.channels, **options)  # type: ignore[arg-type]

    def tokens(self, types: Int[np.ndarray, " A"], positions: Float[np.ndarray, "A 3"]) -> Tokens:
        """Tokens of a neutral molecule, positions (A, 3) in angstrom."""
        present(types)  # refuses what the basis lacks
        sample = Sample(
            id="molecule",
            domain="dft",
            types=types,
            positions=positions,
            conditions={"charge": 0.0},
        )
        tokens = self.base.encoder(ENCODER).tokenize(sample)  # context 0, the only one there is
        return tokens.to(self.base.device, self.base.dtype)

    def forward(
        self, tokens: Tokens, pairs: Pairs, overlap: Float[Tensor, "P 5 5"]
    ) -> Float[Tensor, "P 5 5"]:
        """F - F0 of a batch, (P, 5, 5) in hartree."""
        features = self.base.features({ENCODER: tokens})[ENCODER]
        correction: Tensor = self.blocks(features, pairs, overlap)
        return correction

    @torch.no_grad()
    def predict(
        self,
        types: Int[np.ndarray, " A"],
        positions: Float[np.ndarray, "A 3"],
        overlap: Float[np.ndarray, "n n"],
        start: Float[np.ndarray, "n n"],
    ) -> Float[np.ndarray, "n n"]:
        """Fock matrix (n, n) in hartree, PySCF's order, from S and F0 (n, n) of the molecule."""
        tokens, atoms = self.tokens(types, positions), len(types)
        blocks = torch.from_numpy(to_blocks(overlap, types)).to(tokens.positions)
        values = self(tokens, Pairs.of(torch.tensor([atoms])), blocks.flatten(0, 1))
        whole = values.reshape(atoms, atoms, WIDTH, WIDTH).double().numpy()
        matrix: np.ndarray = start + to_matrix(whole, types)
        return matrix

    def save(self, folder: str | Path) -> Path:
        """Write the trunk as a model folder, and `fock.safetensors` beside it."""
        path = self.base.save_pretrained(folder) / FILE
        save_module(self.blocks, path, {"options": self.options})
        return path.parent

    @classmethod
    def load(cls, folder: str | Path, **options: float) -> FockModel:
        """What `save` wrote.

        Args:
            folder: of the trunk.
            options: that it was made with, for a file that does not say them.

        Raises:
            InputError: the folder has no Fock module, or one made with other options.
        """
        path = Path(folder) / FILE
        if not path.exists():
            raise InputError(f"{folder}: no {FILE}; recipes/fock_matrix.py makes one")
        base = FoundationModel.from_pretrained(folder)
        models: list[FockModel] = []

        def build(config: dict[str, Any]) -> FockBlocks:
            stated = checked_options(config.get("options", options))
            if options and options != stated:
                raise InputError(f"{path}: was made with options {stated}, not {options}")
            models.append(cls(base, **stated))
            return models[0].to(base.dtype).blocks  # single precision would round the weights

        load_module(path, build)
        return models[0].eval()
