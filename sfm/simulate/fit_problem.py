"""What is fitted: the map from a flat vector of parameters to a flat vector of predictions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.errors import InputError, RunError, did_you_mean
from sfm.simulate.base import Observations, Parameter, Simulator


class _Prediction(nn.Module):
    """`simulator.predict_observations` as a module's forward, for `functional_call`."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__()
        self.simulator = simulator

    def forward(self, observations: Observations) -> dict[str, Tensor]:
        return self.simulator.predict_observations(observations)


class Problem:
    """The map from a flat vector of parameters to a flat vector of predictions.

    p parameters, n predictions and the m numbers of unknown fields, each in its own unit.
    """

    def __init__(
        self, simulator: Simulator, observations: Observations, names: Sequence[str]
    ) -> None:
        specs = {p.name: p for p in simulator.parameters_spec}
        for name in names:
            if name not in specs:
                raise InputError(
                    f"{simulator.part}: no parameter '{name}' (known: "
                    f"{', '.join(specs) or 'none'})."
                    f"{did_you_mean(name, specs)}"
                )
        self.names = list(dict.fromkeys(names))
        if not self.names:
            raise InputError(f"{simulator.part}: name at least one parameter to fit")
        self.specs: list[Parameter] = [specs[name] for name in self.names]
        self.module = _Prediction(simulator)
        self.observations = observations
        self.keys = list(observations.values)
        values = [getattr(simulator, name).detach() for name in self.names]
        self.shapes = [v.shape for v in values]
        self.sizes = [v.numel() for v in values]
        self.start = torch.cat([v.reshape(-1) for v in values])
        self.observed = torch.cat(
            [torch.as_tensor(v).detach().reshape(-1) for v in observations.values.values()]
        ).to(self.start)
        if not bool(torch.isfinite(self.observed).all()):
            raise InputError(f"{simulator.part}: an observation is not a finite number")
        counts = torch.tensor([torch.as_tensor(v).numel() for v in observations.values.values()])
        self.group = torch.repeat_interleave(torch.arange(len(self.keys)), counts)
        self.weights = torch.ones_like(self.observed)
        unknowns = observations.unknowns
        self.field_shapes = {name: value.shape for name, value in unknowns.items()}
        self.fields = torch.cat(
            [self.start[:0], *(v.detach().reshape(-1).to(self.start) for v in unknowns.values())]
        )
        self.low = self._bound("low")
        self.high = self._bound("high")
        if len(self.observed) <= len(self.start):
            raise InputError(
                f"{simulator.part}: {len(self.observed)} observations cannot determine "
                f"{len(self.start)} parameters"
            )

    def _bound(self, side: str) -> Tensor:
        values = [
            torch.full((n,), float(getattr(s, side)))
            for n, s in zip(self.sizes, self.specs, strict=True)
        ]
        return torch.cat(values).to(self.start)

    def weigh(self, sigma: Float[Tensor, " quantities"]) -> None:
        """Standard errors of the quantities, (quantities,), in their own units."""
        self.weights = 1 / sigma[self.group]

    def named(self, flat: Float[Tensor, " m"]) -> dict[str, Float[Tensor, " ..."]]:
        """The unknown fields of a flat vector (m,)."""
        if not self.field_shapes:
            return {}
        sizes = [shape.numel() for shape in self.field_shapes.values()]
        pairs = zip(self.field_shapes.items(), flat.split(sizes), strict=True)
        return {name: part.reshape(shape) for (name, shape), part in pairs}

    def predict(
        self, flat: Float[Tensor, " p"], fields: Float[Tensor, " m"] | None = None
    ) -> Float[Tensor, " n"]:
        """(p,) -> (n,), differentiable; with unknown fields (m,), those of `self` if None."""
        observations = self.observations
        if self.field_shapes:
            unknowns = self.named(self.fields if fields is None else fields)
            observations = replace(observations, unknowns=unknowns)
        parts = flat.split(self.sizes)
        named = {
            f"simulator.{name}": part.reshape(shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }
        predicted = torch.func.functional_call(self.module, named, (observations,))
        missing = [key for key in self.keys if key not in predicted]
        if missing:
            raise RunError(f"{self.module.simulator.part}: did not predict {', '.join(missing)}")
        flat_values = torch.cat([predicted[key].reshape(-1) for key in self.keys])
        if flat_values.shape != self.observed.shape:
            raise RunError(
                f"{self.module.simulator.part}: predicted {len(flat_values)} numbers for "
                f"{len(self.observed)} observations"
            )
        return flat_values

    def value(self, flat: Float[Tensor, " p"]) -> Float[Tensor, " n"]:
        """(n,) prediction without a graph of the parameters."""
        return self.predict(flat.detach()).detach()

    def jacobian(
        self, flat: Float[Tensor, " p"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n p"]]:
        """(n,) prediction and its (n, p) derivatives.

        Forward mode, one parameter after another: one run each, whatever n is. Where an operation
        has no forward derivative, reverse mode over reverse mode, at the same count.
        """
        try:
            return self._forward_mode(flat)
        except (NotImplementedError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            return self._double_reverse(flat)

    def _forward_mode(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        from torch.autograd import forward_ad

        columns, value = [], flat
        for i in range(len(flat)):
            tangent = torch.zeros_like(flat)
            tangent[i] = 1.0
            with warnings.catch_warnings(), forward_ad.dual_level():
                # torch's own first use of forward mode compiles with a deprecated torch.jit
                warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
                out = self.predict(forward_ad.make_dual(flat.detach(), tangent))
                value, slope = forward_ad.unpack_dual(out)
                columns.append(torch.zeros_like(value) if slope is None else slope.detach())
        return value.detach(), torch.stack(columns, dim=1)

    def _double_reverse(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        x = flat.detach().requires_grad_()
        out = self.predict(x)
        seed = torch.zeros_like(out, requires_grad=True)
        try:
            (back,) = torch.autograd.grad(out, x, seed, create_graph=True)
            columns = []
            for i in range(len(flat)):
                unit = torch.zeros_like(flat)
                unit[i] = 1.0
                (column,) = torch.autograd.grad(back, seed, unit, retain_graph=True)
                columns.append(column.detach())
            return out.detach(), torch.stack(columns, dim=1)
        except RuntimeError:  # differentiable only once: a reverse sweep per observation
            rows = [torch.autograd.grad(o, x, retain_graph=True)[0].detach() for o in out.unbind()]
            return out.detach(), torch.stack(rows)
