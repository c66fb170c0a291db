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
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor, nn

from sfm.data.atomic import atomic
from sfm.data.labelling import note
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm_dft.density.descent import descend
from sfm_dft.density.guess import ENCODER
from sfm_dft.fock.basis import WIDTH, padded, present, to_blocks, to_matrix
from sfm_dft.fock.blocks import CLASSES, FockBlocks
from sfm_dft.fock.labels import FockLabel
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


class FockModel(nn.Module):
    """A trunk with the Fock module on it.

    Args:
        base: a model with the one context `dft/atoms`; it needs no head (`single_context`).
        options: of `FockBlocks`.
    """

    def __init__(self, base: FoundationModel, **options: float) -> None:
        super().__init__()
        self.base = base
        self.blocks = FockBlocks(base.trunk.config.channels, **options)  # type: ignore[arg-type]

    def tokens(self, types: np.ndarray, positions: np.ndarray) -> Tokens:
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

    def forward(self, tokens: Tokens, pairs: Pairs, overlap: Tensor) -> Tensor:
        """F - F0 of a batch, (P, 5, 5) in hartree."""
        return self.blocks(self.base.features({ENCODER: tokens})[ENCODER], pairs, overlap)

    @torch.no_grad()
    def predict(
        self, types: np.ndarray, positions: np.ndarray, overlap: np.ndarray, start: np.ndarray
    ) -> np.ndarray:
        """Fock matrix (n, n) in hartree, PySCF's order, from S and F0 (n, n) of the molecule."""
        tokens, atoms = self.tokens(types, positions), len(types)
        blocks = torch.from_numpy(to_blocks(overlap, types)).to(tokens.positions)
        values = self(tokens, Pairs.of(torch.tensor([atoms])), blocks.flatten(0, 1))
        whole = values.reshape(atoms, atoms, WIDTH, WIDTH).double().numpy()
        return start + to_matrix(whole, types)

    def save(self, folder: str | Path) -> Path:
        """Write the trunk as a model folder, and `fock.safetensors` beside it."""
        from safetensors.torch import save_file

        path = self.base.save_pretrained(folder) / "fock.safetensors"
        with atomic(path) as scratch:
            blocks = {k: v.contiguous() for k, v in self.blocks.state_dict().items()}
            save_file(blocks, str(scratch))
            scratch.chmod(0o644)  # safetensors writes files that only their owner may read
        return path.parent

    @classmethod
    def load(cls, folder: str | Path, **options: float) -> FockModel:
        """What `save` wrote; `options` are those that it was made with.

        Raises:
            InputError: the folder has no Fock module, or one made with other options.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = Path(folder) / "fock.safetensors"
        if not path.exists():
            raise InputError(f"{folder}: no fock.safetensors; recipes/fock_matrix.py makes one")
        model = cls(FoundationModel.from_pretrained(folder), **options)
        model.to(model.base.dtype)  # before loading, which would round to single precision
        try:
            model.blocks.load_state_dict(load_file(str(path)))
        except SafetensorError as error:
            raise InputError(f"{path}: damaged, or no safetensors file ({error})") from None
        except RuntimeError as error:
            raise InputError(f"{path}: {str(error).splitlines()[0]}; give its options") from None
        return model.eval()


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

    def loss(self, batch: Sequence[Example], model: FockModel | None = None) -> Tensor:
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
            Losses: `step`, `train` (moving mean) and `validation` (averaged weights, all terms).

        Raises:
            RunError: the loss is not a finite number.
        """

        def loss(chosen: list[Example]) -> Tensor:
            terms = self.loss(chosen).mean(0)
            return terms.sum() if self.aligned else terms[0]

        return descend(
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
