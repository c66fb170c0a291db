"""Predicting: from a user's file or object to named values with units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sfm.data.batching import row_counts
from sfm.data.rows import not_finite, rows_left_out
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError, OutsideError
from sfm.model.guard import HOW, Finding, Guard
from sfm.model.inputs import is_many, read_samples, refuse, token_batches
from sfm.model.readout import force_uncertainty, uncertainty
from sfm.nn import compiled as kernels

if TYPE_CHECKING:
    from sfm.model.foundation import FoundationModel


@dataclass(frozen=True, repr=False)
class Prediction(Mapping[str, np.ndarray]):
    """Predicted quantities of one system.

    A key is a quantity's name, or `name@level` where the model knows several levels of theory.

    Attributes:
        id: the system's name.
        domain: its domain.
        data: numpy arrays by key.
        units: unit by key.
        levels: level of theory by key.
        uncertainty: standard error by key, in the same unit, where calibrated: of scalars a number,
            of forces (N,), for each component of an atom's.
        warnings: what the user should know; for example that the input is unlike the training data.
        sample: the system.
    """

    id: str
    domain: str
    data: Mapping[str, np.ndarray]
    units: Mapping[str, str]
    levels: Mapping[str, str]
    uncertainty: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    sample: Sample | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        numbers = {k: f"{float(v):.6g}" for k, v in self.data.items() if np.size(v) == 1}
        shown = [
            f"{k}={numbers.get(k, f'array{np.shape(v)}')} {self.units[k]}"
            for k, v in self.data.items()
        ]
        return f"Prediction({self.id!r}, {', '.join(shown)})"

    def __getitem__(self, key: str) -> np.ndarray:
        return self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)


def predict(
    model: FoundationModel,
    inputs: Any,
    *,
    domain: str | None = None,
    level: str | None = None,
    quantities: Collection[str] | None = None,
    extrapolate: bool = False,
    compiled: bool = False,
) -> Prediction | list[Prediction]:
    """Everything that the model was trained to say of the inputs.

    Args:
        model: the model.
        inputs: a file, an object that an installed plugin reads (ase.Atoms, rdkit Mol, pymatgen
            Structure, a field), a `Sample`, or a list of these.
        domain: treat the systems as this domain's (a molecule as input of `dft`); if None, that of
            the file, or where it does not know the level, the one that does.
        level: only this level of theory.
        quantities: only these.
        extrapolate: also say what lies outside the training data of a level, with a warning.
            Otherwise that level is left out with a warning, or the system refused if none is left.
        compiled: use compiled kernels on a CPU (`sfm.nn.compiled`), twice as fast.

    Returns:
        One `Prediction`, or a list for a list or a file with several systems. Within
        `sfm.data.rows.collecting`, without those that cannot be read or answered.

    Raises:
        InputError: unreadable input, or a domain, level or quantity that the model does not know.
        OutsideError: elements, charge, spin or distances of a system lie outside the training data.
        RunError: the model returned a value that is not finite.
    """
    samples = read_samples(model, inputs, domain, level)
    answers = [_Answer(sample) for sample in samples]
    asked = False
    for encoder, its_domain in model.config.encoder_domains.items():
        accepted = [
            answer
            for answer in answers
            if answer.sample.domain == its_domain and model.encoder(encoder).accepts(answer.sample)
        ]
        names = _asked_names(model, encoder, level, quantities)
        if accepted and names:
            asked = True
            with kernels.compiled(compiled):
                _ask(
                    model,
                    encoder,
                    names,
                    accepted,
                    each_level=level is None,
                    extrapolate=extrapolate,
                )
    if not asked:
        said = sorted({f"{t.quantity}@{t.level}" for t in model.targets()})
        what = ", ".join(quantities or ["anything"])
        raise InputError(
            f"model '{model.config.name}' cannot say {what}"
            f"{f' at level {level!r}' if level else ''} of this input; it says {', '.join(said)}"
        )
    for answer in answers:
        if answer.refused and not answer.values:
            refuse(OutsideError(f"{answer.sample.id}: {answer.refused[0]}; {HOW}"), samples)
    skipped = rows_left_out()
    predictions = [a.prediction() for a in answers if a.values or not skipped]
    if not predictions and skipped:
        raise InputError(f"no row of the input can be used; {skipped.rows[0]}")
    return predictions if is_many(inputs, samples) else predictions[0]


@dataclass(eq=False)
class _Answer:
    """What is gathered for one sample on the way to its `Prediction`."""

    sample: Sample
    values: dict[str, np.ndarray] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    levels: dict[str, str] = field(default_factory=dict)
    uncertainty: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def tell(
        self, findings: Sequence[Finding], names: Collection[str], extrapolate: bool
    ) -> set[str]:
        """Put the findings where they are told; the quantities of `names` that are left out."""
        left_out: set[str] = set()
        for finding in findings:
            if finding.quantity is not None and finding.quantity not in names:
                continue
            if finding.refused and not extrapolate:
                self.refused.append(finding.text)
                left_out |= set(names) if finding.quantity is None else {finding.quantity}
            else:
                text = f"extrapolated: {finding.text}" if finding.refused else finding.text
                self.warnings.append(text)
        return left_out

    def add(self, key: str, unit: str, level: str, value: _Value) -> None:
        """Take a value in, under its key."""
        self.values[key], self.units[key], self.levels[key] = value.array, unit, level
        if value.sigma is not None and np.isfinite(value.sigma).all():
            self.uncertainty[key] = value.sigma
        if value.outside:
            self.warnings.append(f"{key}: this system is unlike the training data at {level}")

    def prediction(self) -> Prediction:
        """As users get it; what was left out comes last among the warnings."""
        warnings = [*self.warnings, *(f"left out: {text}" for text in self.refused)]
        return Prediction(
            id=self.sample.id,
            domain=self.sample.domain,
            sample=self.sample,
            data=self.values,
            units=self.units,
            levels=self.levels,
            uncertainty=self.uncertainty,
            warnings=tuple(dict.fromkeys(warnings)),
        )


@dataclass(frozen=True)
class _Value:
    """One quantity of one system: the array, its standard error, whether it is extrapolated."""

    array: np.ndarray
    sigma: float | np.ndarray | None
    outside: bool


def _asked_names(
    model: FoundationModel, encoder: str, level: str | None, quantities: Collection[str] | None
) -> dict[str, list[str]]:
    """Quantities by level that are asked for and that the encoder's targets hold."""
    names: dict[str, list[str]] = {}
    for t in model.targets(encoder=encoder):
        if level in (None, t.level) and (quantities is None or t.quantity in quantities):
            names.setdefault(t.level, []).append(t.quantity)
    return names


def _ask(
    model: FoundationModel,
    encoder: str,
    names: Mapping[str, list[str]],
    answers: Sequence[_Answer],
    *,
    each_level: bool,
    extrapolate: bool,
) -> None:
    """Put what the model says of these samples into their answers.

    Args:
        model: the model.
        encoder: takes all of them.
        names: quantities by level.
        answers: one for each sample.
        each_level: a quantity that the encoder knows at several levels is called `name@level`.
        extrapolate: answer outside the training data, too.
    """
    levels = Counter(t.quantity for t in model.targets(encoder=encoder) if each_level)
    samples = [answer.sample for answer in answers]
    for numbers, tokens in token_batches(model, encoder, samples, next(iter(names))):
        batch = [answers[n] for n in numbers]
        for level, quantities in names.items():
            context = torch.full_like(tokens.context, model.context(encoder, level))
            routed = tokens.replace(context=context)
            stated = [answer.sample.conditions for answer in batch]
            findings = Guard(model, encoder, level).findings(routed, stated)
            values: list[dict[str, _Value]] = [{} for _ in batch]
            if extrapolate or not all(map(_all_refused, findings)):
                values = _predict_batch(model, encoder, quantities, routed)
            for answer, doubts, said in zip(batch, findings, values, strict=True):
                left_out = answer.tell(doubts, quantities, extrapolate)
                for name, value in said.items():
                    if name not in left_out and _is_finite(answer.sample, name, value):
                        key = f"{name}@{level}" if levels[name] > 1 else name
                        answer.add(key, model.config.quantities[name].unit, level, value)


def _all_refused(findings: Sequence[Finding]) -> bool:
    return any(f.refused and f.quantity is None for f in findings)


def _is_finite(sample: Sample, name: str, value: _Value) -> bool:
    """Whether a predicted value is one; if not, an error, or a row that is left out."""
    if np.isfinite(value.array).all():
        return True
    not_finite(f"{sample.id}: the predicted {name} is not a finite number")
    return False


def _predict_batch(
    model: FoundationModel, encoder: str, names: Sequence[str], tokens: Tokens
) -> list[dict[str, _Value]]:
    """The values of each system by quantity."""
    with torch.no_grad():
        said, features = model.values_and_features({encoder: tokens}, {encoder: names})
    values: list[dict[str, _Value]] = [{} for _ in range(tokens.n_systems)]
    for name in names:
        rows = split_rows(model, name, said[encoder][name], tokens)
        if name == "forces":
            errors = force_uncertainty(model, encoder, tokens, features[encoder])
            split = None if errors is None else split_rows(model, name, errors, tokens)
            for i, array in enumerate(rows):
                values[i][name] = _Value(array, None if split is None else split[i], outside=False)
            continue
        judged = uncertainty(model, encoder, name, tokens, features[encoder])
        for i, array in enumerate(rows):
            sigma = None if judged is None else float(judged[0][i])
            outside = judged is not None and bool(judged[1][i])
            values[i][name] = _Value(array, sigma, outside)
    return values


def split_rows(
    model: FoundationModel, name: str, values: Float[Tensor, "_ ..."], tokens: Tokens
) -> list[Any]:
    """The rows of a batched quantity, one array (...) or (rows, ...) per system, in its unit."""
    quantity = model.config.quantities[name]
    array = values.detach().cpu().numpy()
    if quantity.per == "system":
        return list(array)
    return np.split(array, np.cumsum(row_counts(quantity, tokens).cpu().numpy())[:-1])
