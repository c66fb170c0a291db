"""Fitting where more than the parameters is unknown, such as the state that a run starts from.

The unknown fields z are eliminated: for any parameters theta they take the values z*(theta) that
fit best, and only theta is left to search (variable projection: Golub and Pereyra 1973,
doi:10.1137/0710036; derivative after Kaufman 1975, doi:10.1007/BF01932995). With J_z and J the
weighted derivatives of the predictions,

    d prediction(theta, z*(theta)) / d theta = (1 - J_z (J_z^T J_z)^-1 J_z^T) J

so that standard errors of theta contain what is not known about z.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sfm.errors import InputError, RunError
from sfm.simulate.base import Observations, Simulator
from sfm.simulate.fit_problem import Problem

LARGEST = 200_000_000  # numbers of J_z
CORRECTIONS = 12
NEAR = 0.01  # relative change of the parameters over which J_z is kept


class Profiled(Problem):
    """A problem with `observations.unknowns`; of these it finds the best values by itself.

    Parameters, predictions and unknowns have their own units.
    """

    def __init__(
        self, simulator: Simulator, observations: Observations, names: Sequence[str]
    ) -> None:
        super().__init__(simulator, observations, names)
        n, m, p = len(self.observed), len(self.fields), len(self.start)
        part, names = self.module.simulator.part, ", ".join(self.observations.unknowns)
        if n * m > LARGEST:
            raise InputError(
                f"{part}: {names} ({m} unknown numbers) cannot be estimated from {n} observations "
                f"in less than {8 * n * m / 1e9:.0f} GB: give it with the data, or give fewer or "
                "coarser data"
            )
        if n <= m + p:
            raise InputError(
                f"{part}: {n} observations cannot determine {p} parameters and the {m} numbers of "
                f"{names}"
            )
        self._slopes: Tensor | None = None
        self._at: tuple[Tensor, Tensor] | None = None  # parameters, and d z* / d theta there
        self._linear_at: Tensor | None = None  # parameters where J_z was made

    def weigh(self, sigma: Float[Tensor, " quantities"]) -> None:
        super().weigh(sigma)
        self._slopes = self._at = self._linear_at = None

    def value(self, flat: Float[Tensor, " p"]) -> Float[Tensor, " n"]:
        flat, fields = flat.detach(), self.fields
        if self._at is not None:
            fields = fields - self._at[1] @ (flat - self._at[0])
        return self._settle(flat, fields)[0]

    def jacobian(
        self, flat: Float[Tensor, " p"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n p"]]:
        flat = flat.detach()
        if self._at is not None:  # the fields that `value` settled on, here
            self.fields = self._settle(flat, self.fields - self._at[1] @ (flat - self._at[0]))[1]
        if self._linear_at is None or _distance(flat, self._linear_at) > NEAR:
            self._relinearise(flat)
        prediction, columns = super().jacobian(flat)
        response = self._solved(columns)
        self._at = flat, response
        assert self._slopes is not None
        return prediction, columns - self._slopes @ response

    def _relinearise(self, flat: Tensor) -> None:
        """J_z at the best fields, which move with it: repeated until they stay."""
        for _ in range(4):
            before = self._cost(self._predicted(flat, self.fields))
            self._linearise(flat)
            after, self.fields = self._settle(flat, self.fields)
            if not self._cost(after) < 0.99 * before:
                break
        self._linear_at = flat

    def _predicted(self, flat: Tensor, fields: Tensor) -> Tensor:
        with torch.no_grad():
            return self.predict(flat, fields).detach()

    def _cost(self, prediction: Tensor) -> float:
        return float((self.weights * (self.observed - prediction)).square().sum())

    def _linearise(self, flat: Tensor) -> None:
        """J_z at the best fields, forward mode, many columns at once."""
        fields = self.fields

        def column(direction: Tensor) -> Tensor:
            values = torch.func.jvp(lambda z: self.predict(flat, z), (fields,), (direction,))
            slope: Tensor = values[1]
            return slope

        chunk = max(1, 4_000_000 // len(self.observed))
        unit = torch.eye(len(fields), dtype=fields.dtype, device=fields.device)
        with torch.no_grad(), warnings.catch_warnings():
            # torch's own first use of forward mode compiles with a deprecated torch.jit
            warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
            self._slopes = torch.func.vmap(column, chunk_size=chunk)(unit).detach().T
        weighted = (self.weights[:, None] * self._slopes).double()
        factor, failed = torch.linalg.cholesky_ex(weighted.T @ weighted)
        if int(failed):
            raise RunError(
                f"{self.module.simulator.part}: these observations do not determine "
                f"{', '.join(self.observations.unknowns)}"
            )
        self._factor = factor

    def _solved(self, columns: Tensor) -> Tensor:
        """The change of the fields that explains `columns` (n, k) best: (m, k)."""
        assert self._slopes is not None
        weighted = self._slopes.T @ (self.weights.square()[:, None] * columns)
        return torch.cholesky_solve(weighted.double(), self._factor).to(columns)

    def _settle(self, flat: Tensor, fields: Tensor) -> tuple[Tensor, Tensor]:
        """Prediction and best fields, from a guess, with the derivatives at hand."""
        prediction = self._predicted(flat, fields)
        cost = self._cost(prediction)
        for _ in range(CORRECTIONS if self._slopes is not None else 0):
            change = self._solved((self.observed - prediction)[:, None])[:, 0]
            trial = self._predicted(flat, fields + change)
            new = self._cost(trial)
            if not new < cost:
                break
            done = cost - new < 1e-10 * cost
            fields, prediction, cost = fields + change, trial, new
            if done:
                break
        return prediction, fields


def _distance(a: Tensor, b: Tensor) -> float:
    """Largest relative difference of two parameter vectors."""
    return float(((a - b).abs() / (a.abs() + b.abs() + 1e-300)).max())
