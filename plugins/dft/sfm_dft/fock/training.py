"""Training the Fock module and the trunk under it.

Element-wise errors alone mislead: one error of the matrix is felt through S^-1/2, whose largest
eigenvalues are large, and where levels lie close (Li et al., WALoss, arXiv:2502.19227). With the
true orbitals C, levels e and

    E = C^T (F - F*) C,

first-order perturbation theory says what an error does: E_kk shifts level k, and
E_ai / (e_i - e_a) rotates the occupied orbital i into the virtual a. The loss of a molecule is

    l = mean |F - F*| + w1 mean_k<=LUMO |E_kk| + w2 sqrt(mean_i sum_a (E_ai / (e_i - e_a))^2)

without a diagonalisation to differentiate. Hartree; reported in units of 10 mHa.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh
from torch import Tensor

from sfm.data.labelling import note
from sfm.data.tokens import Tokens
from sfm_dft.density.descent import train_on_molecules
from sfm_dft.fock.basis import padded, to_blocks
from sfm_dft.fock.blocks import CLASSES, FockBlocks
from sfm_dft.fock.labels import FockLabel
from sfm_dft.fock.model import FockModel
from sfm_dft.fock.pairs import Pairs

UNIT = 0.01  # hartree: losses of a half-trained model are of order one
LEVELS, ROTATION = 0.2, 0.05  # w1; w2 in hartree
SMALLEST_GAP = 0.05  # hartree: first-order perturbation theory says nothing below


@dataclass(frozen=True)
class Example:
    """One molecule with A atoms and K orbitals, K the number of functions.

    Attributes:
        tokens: of the trunk's encoder.
        overlap, difference: (A * A, 5, 5), S and F* - F0.
        orbitals: (5 A, K) of F*, zero rows where an atom lacks a function.
        energies: (K,) hartree, ascending.
        occupied: number of doubly occupied orbitals.
    """

    tokens: Tokens
    overlap: Tensor
    difference: Tensor
    orbitals: Tensor
    energies: Tensor
    occupied: int


def example(model: FockModel, label: FockLabel) -> Example:
    """A label made ready, in the model's dtype."""
    types = label.types
    energies, orbitals = eigh(label.fock, label.overlap)
    tokens = model.tokens(types, label.positions)

    def ready(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(tokens.positions)

    return Example(
        tokens=tokens,
        overlap=ready(to_blocks(label.overlap, types)).flatten(0, 1),
        difference=ready(to_blocks(label.fock - label.start, types)).flatten(0, 1),
        orbitals=ready(padded(orbitals, types)),
        energies=ready(energies),
        occupied=label.occupied,
    )


def normalise(blocks: FockBlocks, train: Sequence[Example]) -> None:
    """Fit mean and scales of A_i and B_ij.

    A_i solves 1/2 (A_i S_ii + S_ii A_i) = (F* - F0)_ii; its mean by element keeps the invariant
    parts. What A leaves of the other blocks scales B_ij, symmetric in i and j.
    """
    rows: dict[int, list[Tensor]] = {}
    solved, rests = [], []
    for x in train:
        pairs = Pairs.of(torch.tensor([len(x.tokens.types)]))
        same = pairs.first == pairs.second
        values, vectors = torch.linalg.eigh(x.overlap[same].double())
        turned = vectors.mT @ x.difference[same].double() @ vectors
        sums = (values.unsqueeze(2) + values.unsqueeze(1)).clamp_min(1e-3)  # zero where padded
        on_site = vectors @ (2.0 * turned / sums) @ vectors.mT
        solved.append(on_site)
        for number, block in zip(x.tokens.types.tolist(), on_site, strict=True):
            rows.setdefault(number, []).append(block)
        overlap = x.overlap.double()
        rest = x.difference - 0.5 * (
            on_site[pairs.first] @ overlap + overlap @ on_site[pairs.second]
        )
        apart = ~same
        edge = x.tokens.positions[pairs.first] - x.tokens.positions[pairs.second]
        fading = torch.exp(-0.5 * edge.square().sum(-1) / blocks.decay**2)[apart]
        near = fading > 0.1
        inside = blocks.mask(x.tokens.types, pairs)[apart][near]
        rests.append((rest[apart][near] / fading[near][:, None, None], inside))
    eye = torch.eye(3, dtype=torch.float64)
    for number, blocks_of in rows.items():
        mean = torch.stack(blocks_of).mean(0)
        trace = mean[2:, 2:].trace() / 3.0
        blocks.mean[number] = torch.block_diag(mean[:2, :2], trace * eye).to(blocks.mean)
    numbers = torch.cat([x.tokens.types for x in train])
    inside = blocks.present[numbers]
    inside = inside.unsqueeze(2) * inside.unsqueeze(1)
    blocks.atom_scale.copy_(_class_rms(torch.cat(solved) - blocks.mean[numbers], inside))
    if any(len(r) for r, _ in rests):
        parts = [torch.cat(p) for p in zip(*rests, strict=True)]
        blocks.pair_scale.copy_(_class_rms(*parts))


def _class_rms(values: Tensor, inside: Tensor) -> Tensor:
    """(5, 5) rms of (N, 5, 5) over N and over functions of one class, symmetric."""
    squares = (values.square() * inside).sum(0)
    counts = inside.sum(0).to(squares)
    classes = torch.nn.functional.one_hot(torch.tensor(CLASSES)).to(squares)
    mean = (classes.T @ (squares + squares.T) @ classes) / (
        classes.T @ (counts + counts.T) @ classes
    ).clamp_min(1.0)
    return (classes @ mean @ classes.T).sqrt().clamp_min(1e-4)


class FockTraining:
    """A model trained on examples with the loss of the module's docstring.

    Args:
        model: changed in place.
        train: examples; they also fit the scales.
        aligned: with the losses on levels and occupied space; else on elements alone.
    """

    def __init__(self, model: FockModel, train: Sequence[Example], *, aligned: bool = True) -> None:
        self.model = model
        self.train = list(train)
        self.aligned = aligned
        normalise(model.blocks, self.train)

    def loss(
        self, batch: Sequence[Example], model: FockModel | None = None
    ) -> Float[Tensor, "B 3"]:
        """(B, 3) mean error of elements, of levels, and rotation of the occupied space.

        Each in units of 10 mHa, weighted.
        """
        model = model or self.model
        tokens = Tokens.cat([x.tokens for x in batch])
        pairs = Pairs.of(tokens.counts())
        predicted = model(tokens, pairs, torch.cat([x.overlap for x in batch]))
        error = predicted - torch.cat([x.difference for x in batch])
        inside = model.blocks.mask(tokens.types, pairs)
        sums = torch.stack([error.abs().sum((1, 2)), inside.sum((1, 2))], dim=1)
        sums = sums.new_zeros(len(batch), 2).index_add(0, pairs.molecule, sums)
        elements = sums[:, 0] / sums[:, 1]
        matrices = pairs.whole(error)
        levels, rotations = [], []
        for x, matrix in zip(batch, matrices, strict=True):
            size, count = len(x.orbitals), x.occupied
            seen = x.orbitals.T @ matrix[:size, :size] @ x.orbitals
            levels.append(seen.diagonal()[: count + 1].abs().mean())
            gaps = (x.energies[count:, None] - x.energies[:count]).clamp_min(SMALLEST_GAP)
            mixed = (seen[count:, :count] / gaps).square().sum() / count
            rotations.append((mixed + 1e-12).sqrt())
        terms = [elements, LEVELS * torch.stack(levels), ROTATION * torch.stack(rotations)]
        return torch.stack(terms, dim=1) / UNIT

    def run(
        self,
        validation: Sequence[Example],
        *,
        steps: int = 600,
        batch: int = 16,
        lr: float = 3e-3,
        ema: float = 0.99,
        weight_decay: float = 1.0,
        clip: float = 1.0,
        seed: int = 0,
        every: int = 250,
        report: Callable[[str], None] = note,
    ) -> list[dict[str, float]]:
        """Train with AdamW and a cosine; the model ends with its averaged weights.

        The decay of weights is strong as the data are few: 0.01 fits the training molecules better
        and costs a quarter more error on the others.

        Returns:
            Losses: `step`, `train` (mean since the last row) and `validation` (averaged weights,
            all terms).

        Raises:
            RunError: the loss is not a finite number.
        """

        def loss(chosen: list[Example]) -> Tensor:
            terms = self.loss(chosen).mean(0)
            return terms.sum() if self.aligned else terms[0]

        return train_on_molecules(
            self.model,
            self.train,
            loss,
            steps=steps,
            batch=batch,
            lr=lr,
            weight_decay=weight_decay,
            clip=clip,
            ema=ema,
            seed=seed,
            every=every,
            validate=lambda model: self.mean_loss(validation, model),
            report=report,
        )

    @torch.no_grad()
    def mean_loss(
        self, examples: Sequence[Example], model: FockModel | None = None, batch: int = 32
    ) -> float:
        """Mean of all terms over molecules; NaN where there are none."""
        parts = [self.loss(examples[i : i + batch], model) for i in range(0, len(examples), batch)]
        return float(torch.cat(parts).sum(1).mean()) if parts else math.nan
