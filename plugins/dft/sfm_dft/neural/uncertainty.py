"""How sure a learned functional is: a Gaussian over its last layers, through self-consistency.

With J the derivatives of the training reactions' energies by the last layers' weights w (at fixed
densities), noise s of a reaction's kind and a prior that pulls w to the base functional, w = 0:

    covariance  C = (J^T S^-2 J + p 1)^-1,    standard error of an observable y:  sqrt(y_w C y_w)

Any observable of `dft/kohn-sham` has its derivative y_w by weights: energies by the envelope
theorem, dipoles and levels by one linear response, forces by both. Noise and prior are those of
largest evidence: MacKay's fixed point, where g counts the directions of w that the data determine,

    g = tr(J^T S^-2 J C),    p = g / |w|^2,    s_k^2 = |r_k|^2 / (R_k - g_k).

The noise s is what no weights explain: errors of the form, of densities, and of the references. An
error of a new reaction is expected to be sqrt(s^2 + standard error^2).

References: MacKay, Neural Comput. 4, 448 (1992); Daxberger et al., NeurIPS 34, 20089 (2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError, RunError
from sfm.nn.saving import load_tensors, save_tensors
from sfm_dft.neural.functional import Gain, NeuralFunctional
from sfm_dft.neural.reactions import Kind, Reaction
from sfm_dft.neural.saving import Ensemble
from sfm_dft.neural.spectra import SpeciesSpectra
from sfm_dft.neural.training import signed_errors

KINDS: tuple[Kind, ...] = ("atomisation", "ionisation")
ROUNDS = 500
FILE = "laplace.safetensors"


def last_layers(functional: nn.Module) -> list[Float[Tensor, " ..."]]:
    """Weights (1, n) and biases (1,) of the last layer of every network of a learned functional.

    Raises:
        InputError: it has none.
    """
    weights: list[Tensor] = []
    for module in functional.modules():
        if isinstance(module, Gain):
            last = module.layers[-1]
            assert isinstance(last, nn.Linear)
            weights += [last.weight, last.bias]
    if not weights:
        raise InputError(f"{type(functional).__name__} has no network, so nothing is uncertain")
    return weights


def jacobian(
    values: Float[Tensor, " ..."], weights: Sequence[Float[Tensor, " ..."]]
) -> Float[Tensor, "V P"]:
    """(V, P) derivatives of each of V values by all weights."""
    rows = []
    for value in values.reshape(-1):
        parts = torch.autograd.grad(value, weights, retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([part.reshape(-1) for part in parts]))
    return torch.stack(rows)


def reaction_energies(
    functional: NeuralFunctional | Ensemble,
    prepared: Mapping[str, SpeciesSpectra],
    chosen: Sequence[Reaction],
) -> Float[Tensor, " R"]:
    """(R,) errors in kcal/mol at fixed densities, differentiable in the weights."""
    members = functional.members if isinstance(functional, Ensemble) else [functional]
    return signed_errors(members, prepared, chosen).mean(0)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Laplace:
    """Gaussian posterior over the last layers of one functional, whose gradients it switches on.

    Attributes:
        functional: whose weights. covariance: (P, P) of them.
        noise: kcal/mol by kind of reaction. prior: p.
        determined: g, how many directions of the weights the reactions determine.
    """

    functional: NeuralFunctional | Ensemble
    covariance: Float[Tensor, "P P"]
    noise: Mapping[str, float]
    prior: float
    determined: float

    @classmethod
    def fit(
        cls,
        functional: NeuralFunctional | Ensemble,
        prepared: Mapping[str, SpeciesSpectra],
        chosen: Sequence[Reaction],
    ) -> Laplace:
        """From the reactions that it was trained on, and spectra of their species.

        Raises:
            InputError: no reaction, or a species without spectra.
            RunError: the reactions say nothing about the weights.
        """
        if not chosen:
            raise InputError("a posterior needs the reactions that the functional was trained on")
        weights = _watched(functional)
        errors = reaction_energies(functional, prepared, chosen)
        rows, errors = jacobian(errors, weights), errors.detach()
        kinds = torch.tensor([KINDS.index(r.kind) for r in chosen])
        size = float(sum(w.detach().square().sum() for w in weights))
        covariance, noise, prior, determined = _evidence(rows, errors, kinds, size)
        named: dict[str, float] = {
            k: float(noise[i]) for i, k in enumerate(KINDS) if bool((kinds == i).any())
        }
        return cls(functional, covariance, named, prior, determined)

    def standard_error(self, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Of an observable (...) that carries a graph to the weights, in its own unit.

        Raises:
            InputError: it does not depend on them through a graph.
        """
        if not value.requires_grad:
            raise InputError("this value carries no derivative: compute it outside torch.no_grad")
        return self.of_derivatives(jacobian(value, last_layers(self.functional))).view(value.shape)

    def of_derivatives(self, rows: Float[Tensor, "V P"]) -> Float[Tensor, " V"]:
        """Standard errors (V,) of values with these derivatives (V, P) by the last layers."""
        return ((rows @ self.covariance) * rows).sum(-1).clamp(min=0.0).sqrt()

    def samples(self, count: int, seed: int = 0) -> Float[Tensor, "{count} P"]:
        """(count, P) deviations of the weights from their trained values."""
        values, vectors = torch.linalg.eigh(self.covariance)
        generator = torch.Generator().manual_seed(seed)
        normal = torch.randn(count, len(values), generator=generator, dtype=torch.float64)
        deviations: Tensor = normal * values.clamp(min=0.0).sqrt() @ vectors.mT
        return deviations

    def save(self, folder: str | Path) -> Path:
        """Write it beside the functional's files, so that both are published together."""
        path = Path(folder) / FILE
        numbers = {f"noise.{kind}": value for kind, value in self.noise.items()}
        numbers |= {"prior": self.prior, "determined": self.determined}
        tensors = {name: torch.tensor(x, dtype=torch.float64) for name, x in numbers.items()}
        return save_tensors({"covariance": self.covariance, **tensors}, path, {})

    @classmethod
    def load(cls, functional: NeuralFunctional | Ensemble, folder: str | Path) -> Laplace:
        """Of the functional that it was fitted for.

        Raises:
            InputError: the folder has none, or one for a functional of another size.
        """
        path = Path(folder) / FILE
        if not path.exists():
            raise InputError(f"{folder} holds no {FILE}: fit one with Laplace.fit and save it")
        try:
            read = load_tensors(path)[1]
            noise = {k.split(".")[1]: float(v) for k, v in read.items() if k.startswith("noise.")}
            prior, determined = float(read["prior"]), float(read["determined"])
            covariance = read["covariance"]
        except (KeyError, RuntimeError, IndexError) as error:
            raise InputError(f"{path}: damaged ({' '.join(str(error).split())[:200]})") from None
        size = sum(weight.numel() for weight in _watched(functional))
        if len(covariance) != size:
            raise InputError(f"{path} is for {len(covariance)} weights, this functional has {size}")
        return cls(functional, covariance, noise, prior, determined)


def _watched(functional: nn.Module) -> list[Tensor]:
    weights = last_layers(functional)
    functional.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_()
    return weights


def _evidence(
    rows: Tensor, errors: Tensor, kinds: Tensor, size: float
) -> tuple[Tensor, Tensor, float, float]:
    """Covariance, noise of each kind, prior and g of largest evidence."""
    count = len(KINDS)
    squares = torch.stack([errors[kinds == k].square().sum() for k in range(count)])
    numbers = torch.stack([(kinds == k).sum() for k in range(count)]).double()
    noise2 = (squares / numbers.clamp(min=1.0)).clamp(min=1e-8)
    prior = rows.shape[1] / max(size, 1e-12)
    eye = torch.eye(rows.shape[1], dtype=rows.dtype)
    for _ in range(ROUNDS):
        scaled = rows / noise2[kinds].sqrt()[:, None]
        covariance = torch.linalg.inv(scaled.mT @ scaled + prior * eye)
        leverage = ((scaled @ covariance) * scaled).sum(1)
        by_kind = torch.stack([leverage[kinds == k].sum() for k in range(count)])
        determined = float(by_kind.sum())
        if not determined > 1e-9:
            raise RunError("the reactions do not depend on the last layers: nothing to determine")
        before = (prior, noise2)
        prior = determined / max(size, 1e-12)
        noise2 = (squares / (numbers - by_kind).clamp(min=1.0)).clamp(min=1e-8)
        if abs(prior / before[0] - 1.0) < 1e-8 and torch.allclose(noise2, before[1], rtol=1e-8):
            break
    return covariance, noise2.sqrt(), prior, determined


@dataclass(frozen=True)
class Calibration:
    """How errors compare with what was expected of them.

    Attributes:
        within_one, within_two: fraction inside one and two standard deviations; 0.683 and 0.954
            for a Gaussian. spread: root of mean square of error over expectation; 1 if right.
        expected: mean expectation. error: root mean square error. count: of values.
    """

    within_one: float
    within_two: float
    spread: float
    expected: float
    error: float
    count: int

    @classmethod
    def of(cls, errors: Float[Tensor, " V"], expected: Float[Tensor, " V"]) -> Calibration:
        """Of errors (V,) with expected standard deviations (V,)."""
        z = (errors / expected).abs()
        return cls(
            within_one=float((z < 1.0).double().mean()),
            within_two=float((z < 2.0).double().mean()),
            spread=float(z.square().mean().sqrt()),
            expected=float(expected.mean()),
            error=float(errors.square().mean().sqrt()),
            count=len(z),
        )


def calibration(
    posterior: Laplace, prepared: Mapping[str, SpeciesSpectra], chosen: Sequence[Reaction]
) -> dict[str, dict[str, Calibration]]:
    """On reactions that were not trained on, by kind: of the weights' uncertainty alone
    (``weights``) and together with the noise of the fit (``total``)."""
    values = reaction_energies(posterior.functional, prepared, chosen)
    deviation = posterior.of_derivatives(jacobian(values, last_layers(posterior.functional)))
    return _by_kind(values.detach(), deviation, posterior.noise, chosen)


def ensemble_calibration(
    members: Float[Tensor, "seeds R"], noise: Mapping[str, float], chosen: Sequence[Reaction]
) -> dict[str, dict[str, Calibration]]:
    """The same for the spread of several seeds, whose errors are (seeds, R)."""
    return _by_kind(members.mean(0), members.std(0), noise, chosen)


def _by_kind(
    errors: Tensor, deviation: Tensor, noise: Mapping[str, float], chosen: Sequence[Reaction]
) -> dict[str, dict[str, Calibration]]:
    out = {}
    for kind, noise_of_kind in noise.items():
        inside = torch.tensor([r.kind == kind for r in chosen])
        if not bool(inside.any()):
            continue
        e, s = errors[inside], deviation[inside].clamp(min=1e-12)
        total = (s.square() + noise_of_kind**2).sqrt()
        out[kind] = {"weights": Calibration.of(e, s), "total": Calibration.of(e, total)}
    return out
