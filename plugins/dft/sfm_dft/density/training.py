"""Training the head `density_coefficients` on the Coulomb energy of the error.

The 45 functions of an atom overlap strongly, and so do those of its neighbours: most directions
of coefficient space hardly change the density, so a loss on single coefficients is spent on
noise. Here the loss of a molecule is what its labels minimise (`density_basis.fit`),

    l = sqrt((rho - rho* | rho - rho*) / N),    (f | g) = integral of f(r) g(r') / |r - r'|,

with N electrons: blind to what does not matter, and close to what a self-consistent field feels
(the metric of B. I. Dunlap, J. W. D. Connolly and J. R. Sabin, J. Chem. Phys. 71, 3396, 1979).

For the same reason the last linear layers learn in a basis that is orthonormal in the Coulomb
metric of one atom, each direction in units of its own spread: `fold` goes there and back. That is
a linear map within each l, so the trained model is an ordinary one.

Atomic units: coefficients of functions normalised in L2, energies in hartree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.labelling import note
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm_dft.basis.density_basis import COUNTS, DIM, auxiliary_molecule, to_e3nn
from sfm_dft.basis.pyscf_molecule import build_molecule
from sfm_dft.density.descent import train_on_molecules
from sfm_dft.density.guess import ENCODER, QUANTITY
from sfm_dft.model.heads import AtomicDensity

HEAD = f"{ENCODER}:{QUANTITY}"


@dataclass(frozen=True)
class Example:
    """One molecule: tokens, coefficients (A, 45), Coulomb metric (45 A, 45 A), electrons."""

    tokens: Tokens
    coefficients: Tensor
    metric: Tensor
    electrons: float


def example(model: FoundationModel, sample: Sample, level: str) -> Example:
    """A sample with a label `density_coefficients`, made ready.

    Raises:
        InputError: it has no such label.
    """
    if QUANTITY not in sample.labels:
        raise InputError(f"{sample.id}: no label '{QUANTITY}' to train on")
    auxiliary = auxiliary_molecule(build_molecule(sample.types, sample.positions))
    half = to_e3nn(auxiliary.intor("int2c2e")).reshape(auxiliary.nao, auxiliary.nao)
    metric = to_e3nn(np.ascontiguousarray(half.T)).reshape(auxiliary.nao, auxiliary.nao)
    return Example(
        model.tokenize(ENCODER, [sample], level),
        torch.tensor(np.array(sample.labels[QUANTITY]), dtype=torch.float64),
        torch.tensor(metric, dtype=torch.float32),
        float(np.sum(sample.types)),
    )


class CoulombTraining:
    """A model's `density_coefficients` at one level, trained in whitened form.

    Args:
        model: changed in place; its other heads go their own way while the trunk moves.
        level: level of theory of the labels.
        train: examples; they also say how far each direction of coefficient space spreads.

    Raises:
        InputError: the head is no `AtomicDensity`.
    """

    def __init__(self, model: FoundationModel, level: str, train: Sequence[Example]) -> None:
        self.model = model
        self.train = list(train)
        head = model.heads[HEAD]
        if not isinstance(head, AtomicDensity):
            raise InputError(f"'{QUANTITY}' has a head of another kind: {type(head).__name__}")
        self.head = head
        normaliser: Any = model.normalisers[HEAD]
        context = model.context(ENCODER, level)
        self.scale: Tensor = normaliser.scale[context]
        self.shift: Tensor = normaliser.shift[context].float()
        rest = [x.coefficients - self.shift[x.tokens.types] for x in self.train]
        self.map = whitening(torch.cat(rest).double())

    def loss(
        self, batch: Sequence[Example], model: FoundationModel | None = None
    ) -> Float[Tensor, " B"]:
        """(B,) l of each molecule, of the model or a copy of it; the head must be folded."""
        model = model or self.model
        tokens = Tokens.cat([x.tokens for x in batch])
        features = model.features({ENCODER: tokens})[ENCODER]
        values = model.heads[HEAD](features, tokens) @ self.map.float().T + self.shift[tokens.types]
        out = []
        for x, predicted in zip(
            batch, values.split([len(x.coefficients) for x in batch]), strict=True
        ):
            error = (predicted - x.coefficients.float()).reshape(-1)
            out.append(((error @ x.metric @ error).clamp_min(1e-12) / x.electrons).sqrt())
        return torch.stack(out)

    @torch.no_grad()
    def fold(self, inwards: bool) -> None:
        """Let the last layers give whitened values, or coefficients again (in their scales)."""
        # coefficients = shift + scale * plain = shift + map @ whitened
        change = self.map / self.scale[:, None]
        matrix = torch.linalg.inv(change) if inwards else change
        layers = (self.head.scalars.outer, self.head.vectors, self.head.tensors)
        for layer, rows in zip(layers, _radial_rows(), strict=True):
            weight = matrix[rows[0]][:, rows[0]] @ layer.weight.double()
            layer.weight.copy_(weight.to(layer.weight.dtype))

    def run(
        self,
        validation: Sequence[Example],
        *,
        steps: int = 4000,
        batch: int = 16,
        lr: float = 4e-3,
        ema: float = 0.998,
        weight_decay: float = 0.03,
        seed: int = 0,
        every: int = 250,
        report: Callable[[str], None] = note,
    ) -> list[dict[str, float]]:
        """Train with AdamW and a cosine; the model ends with its averaged weights.

        Returns:
            Losses: `step`, `train` (mean since the last row) and `validation` (averaged weights).

        Raises:
            RunError: the loss is not a finite number.
        """
        self.fold(inwards=True)
        history = train_on_molecules(
            self.model,
            self.train,
            lambda chosen: self.loss(chosen).mean(),
            steps=steps,
            batch=batch,
            lr=lr,
            weight_decay=weight_decay,
            clip=1.0,
            ema=ema,
            seed=seed,
            every=every,
            validate=lambda model: self.mean_loss(validation, model),
            report=report,
        )
        self.fold(inwards=False)
        return history

    @torch.no_grad()
    def mean_loss(
        self, examples: Sequence[Example], model: FoundationModel | None = None, batch: int = 32
    ) -> float:
        """Mean l over molecules; NaN where there are none. The head must be folded."""
        parts = [self.loss(examples[i : i + batch], model) for i in range(0, len(examples), batch)]
        return float(torch.cat(parts).mean()) if parts else math.nan


def whitening(rest: Float[Tensor, "N 45"]) -> Float[Tensor, "45 45"]:
    """Map (45, 45) from whitened values of spread one to deviations of coefficients.

    rest: (N, 45) float64 deviations from the elements' means. The map mixes the functions of one l
    alike in each component, so it is equivariant.
    """
    from pyscf import gto

    one = auxiliary_molecule(gto.M(atom="He", verbose=0)).intor("int2c2e")
    half = to_e3nn(one).reshape(DIM, DIM)
    metric = torch.from_numpy(to_e3nn(np.ascontiguousarray(half.T)).reshape(DIM, DIM).copy())
    out = torch.zeros(DIM, DIM, dtype=torch.float64)
    for rows in _radial_rows():
        values, vectors = torch.linalg.eigh(metric[rows[0]][:, rows[0]])
        seen = torch.stack([rest[:, row] @ (vectors * values.sqrt()) for row in rows])
        spread = seen.square().mean((0, 1)).sqrt().clamp_min(1e-8)
        for row in rows:
            out[row[:, None], row] = vectors / values.sqrt() * spread
    return out


def _radial_rows() -> list[list[Tensor]]:
    """For each l, for each of its components, the places of the radial functions among the 45."""
    rows, start = [], 0
    for degree, count in enumerate(COUNTS):
        width = 2 * degree + 1
        rows.append([start + k + width * torch.arange(count) for k in range(width)])
        start += width * count
    return rows
