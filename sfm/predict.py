"""Predicting and embedding: from a user's file or object to named values with units."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from sfm.data.batching import row_counts
from sfm.data.label_names import not_used
from sfm.data.readers import read_object
from sfm.data.rows import HINT, leave_out, row, rows_left_out
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError, InputWarning, OutsideError, RunError
from sfm.guard import HOW, Finding, Guard
from sfm.nn.pooling import POOLINGS, Pooling, pool
from sfm.nn.trunk import INVARIANTS

if TYPE_CHECKING:
    from sfm.model import FoundationModel

TOKENS_PER_BATCH = 2048


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
        uncertainty: standard error of scalars by key, in the same unit, where calibrated.
        warnings: what the user should know; for example that the input is unlike the training data.
        sample: the system.
    """

    id: str
    domain: str
    data: Mapping[str, np.ndarray]
    units: Mapping[str, str]
    levels: Mapping[str, str]
    uncertainty: Mapping[str, float] = field(default_factory=dict)
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


@dataclass(frozen=True, repr=False)
class Embedding:
    """The trunk's features of one system, channels last.

    Attributes:
        id: the system's name.
        encoder: encoder that was used.
        level: level of theory that routed the experts.
        invariant: (C,) mean of the tokens' scalars, or what `layers` and `pooling` ask for.
        scalars: (N, C).
        vectors: (N, 3, C), components x, y, z.
        tensors: (N, 5, C), components in e3nn's order.
    """

    id: str
    encoder: str
    level: str
    invariant: np.ndarray
    scalars: np.ndarray
    vectors: np.ndarray
    tensors: np.ndarray

    def __repr__(self) -> str:
        names = ("invariant", "scalars", "vectors", "tensors")
        shapes = ", ".join(f"{name} {getattr(self, name).shape}" for name in names)
        return f"Embedding({self.id!r}, {self.encoder} @ {self.level}: {shapes})"


def _samples(model: FoundationModel, inputs: Any, domain: str | None) -> list[Sample]:
    samples = read_object(inputs, domain=None)
    if domain is not None:
        samples = [s.replace(domain=domain) for s in samples]
    known = []
    for sample in samples:
        with row():
            if sample.domain not in model.domains:
                raise InputError(
                    f"{sample.id}: domain '{sample.domain}', but model '{model.config.name}' knows "
                    f"{', '.join(model.domains)}"
                )
            known.append(sample)
    for line in not_used(known):
        warnings.warn(line, InputWarning, stacklevel=4)
    return known


def _refuse(error: OutsideError, samples: Sequence[Sample]) -> None:
    """Raise it, or leave the system out where a caller collects such rows."""
    if rows_left_out() is None and len(samples) > 1:
        raise OutsideError(f"{error}; {HINT}")
    leave_out(error)


def _is_many(inputs: Any, samples: Sequence[Sample]) -> bool:
    return isinstance(inputs, (list, tuple)) or len(samples) > 1


def _batches(
    model: FoundationModel, part: str, samples: Sequence[Sample], level: str
) -> Iterator[tuple[list[int], Tokens]]:
    """Tokens of some samples and their indices, filled to a budget of tokens."""
    chunk: list[Tokens] = []
    numbers: list[int] = []
    size = 0
    for number, sample in enumerate(samples):
        tokens = None
        with row():
            tokens = model.tokenize(part, [sample], level)
        if tokens is None:
            continue
        if chunk and size + tokens.n_tokens > TOKENS_PER_BATCH:
            yield numbers, Tokens.cat(chunk)
            chunk, numbers, size = [], [], 0
        chunk.append(tokens)
        numbers.append(number)
        size += tokens.n_tokens
    if chunk:
        yield numbers, Tokens.cat(chunk)


def split_rows(model: FoundationModel, name: str, values: torch.Tensor, tokens: Tokens) -> list:
    """The rows of a batched quantity, one array per system."""
    quantity = model.config.quantities[name]
    array = values.detach().cpu().numpy()
    if quantity.per == "system":
        return list(array)
    return np.split(array, np.cumsum(row_counts(quantity, tokens).cpu().numpy())[:-1])


def predict(
    model: FoundationModel,
    inputs: Any,
    *,
    domain: str | None = None,
    level: str | None = None,
    quantities: Collection[str] | None = None,
    extrapolate: bool = False,
) -> Prediction | list[Prediction]:
    """Everything that the model was trained to say of the inputs.

    Args:
        model: the model.
        inputs: a file, an object that an installed plugin reads (ase.Atoms, rdkit Mol, pymatgen
            Structure, a field), a `Sample`, or a list of these.
        domain: treat the systems as this domain's (a molecule as input of `dft`).
        level: only this level of theory.
        quantities: only these.
        extrapolate: also say what lies outside the training data of a level, with a warning.
            Otherwise that level is left out with a warning, or the system refused if none is left.

    Returns:
        One `Prediction`, or a list for a list or a file with several systems. Within
        `sfm.data.rows.collecting`, without those that cannot be read or answered.

    Raises:
        InputError: unreadable input, or a domain, level or quantity that the model does not know.
        OutsideError: elements, charge, spin or distances of a system lie outside the training data.
        RunError: the model returned a value that is not finite.
    """
    samples = _samples(model, inputs, domain)
    collected: list[dict[str, Any]] = [
        {"values": {}, "units": {}, "levels": {}, "uncertainty": {}, "warnings": [], "refused": []}
        for _ in samples
    ]
    asked = False
    for part, own in model.config.encoder_domains.items():
        mine = [
            i for i, s in enumerate(samples) if s.domain == own and model.encoder(part).accepts(s)
        ]
        if not mine:
            continue
        known = model.targets(encoder=part)
        names: dict[str, list[str]] = {}
        for t in known:
            if level in (None, t.level) and (quantities is None or t.quantity in quantities):
                names.setdefault(t.level, []).append(t.quantity)
        if not names:
            continue
        asked = True
        times = Counter(t.quantity for t in known if level is None)
        for numbers, tokens in _batches(model, part, [samples[i] for i in mine], next(iter(names))):
            taken = [mine[n] for n in numbers]
            for one, wanted in names.items():
                context = torch.full_like(tokens.context, model.context(part, one))
                routed = tokens.replace(context=context)
                stated = [samples[i].conditions for i in taken]
                found = Guard(model, part, one).findings(routed, stated)
                if not extrapolate and all(map(_all_refused, found)):
                    results: list[dict[str, Any]] = [{} for _ in found]
                else:
                    results = _predict_batch(model, part, wanted, routed)
                for offset, result in enumerate(results):
                    entry = collected[taken[offset]]
                    left_out = _told(entry, found[offset], one, wanted, extrapolate)
                    for name, (value, sigma, outside) in result.items():
                        if name in left_out:
                            continue
                        key = f"{name}@{one}" if times[name] > 1 else name
                        entry["values"][key] = value
                        entry["units"][key] = model.config.quantities[name].unit
                        entry["levels"][key] = one
                        if sigma is not None and np.isfinite(sigma):
                            entry["uncertainty"][key] = float(sigma)
                        if outside:
                            entry["warnings"].append(
                                f"{key}: this system is unlike the training data at {one}"
                            )
    if not asked:
        said = sorted({f"{t.quantity}@{t.level}" for t in model.targets()})
        raise InputError(
            f"model '{model.config.name}' cannot say {list(quantities or ['anything'])}"
            f"{f' at level {level!r}' if level else ''} of this input; it says {', '.join(said)}"
        )
    for sample, entry in zip(samples, collected, strict=True):
        if entry["refused"] and not entry["values"]:
            _refuse(OutsideError(f"{sample.id}: {entry['refused'][0]}; {HOW}"), samples)
        entry["warnings"] += [f"left out: {text}" for text in entry["refused"]]
    skipped = rows_left_out()
    predictions = [
        Prediction(
            id=s.id,
            domain=s.domain,
            sample=s,
            data=c["values"],
            units=c["units"],
            levels=c["levels"],
            uncertainty=c["uncertainty"],
            warnings=tuple(dict.fromkeys(c["warnings"])),
        )
        for s, c in zip(samples, collected, strict=True)
        if c["values"] or not skipped
    ]
    if not predictions and skipped:
        raise InputError(f"no row of the input can be used; {skipped.rows[0]}")
    return predictions if _is_many(inputs, samples) else predictions[0]


def _all_refused(findings: Sequence[Finding]) -> bool:
    return any(f.refused and f.quantity is None for f in findings)


def _told(
    target: dict[str, Any],
    findings: Sequence[Finding],
    level: str,
    wanted: Collection[str],
    extrapolate: bool,
) -> set[str]:
    """Put the findings where they are told; the quantities that are not."""
    left_out: set[str] = set()
    for one in findings:
        if one.quantity is not None and one.quantity not in wanted:
            continue
        if one.refused and not extrapolate:
            target["refused"].append(one.text)
            left_out |= set(wanted) if one.quantity is None else {one.quantity}
        else:
            target["warnings"].append(f"extrapolated: {one.text}" if one.refused else one.text)
    return left_out


def _predict_batch(model: FoundationModel, part: str, names: list[str], tokens: Tokens):
    """Per system: {quantity: (value, standard error or None, outside)}."""
    with torch.no_grad():
        said, features = model.values_and_features({part: tokens}, {part: names})
    results: list[dict[str, Any]] = [{} for _ in range(tokens.n_systems)]
    for name in names:
        rows = split_rows(model, name, said[part][name], tokens)
        judged = model.uncertainty(part, name, tokens, features[part])
        for i, value in enumerate(rows):
            if not np.isfinite(value).all():
                raise RunError(f"{tokens.ids[i]}: the predicted {name} is not a finite number")
            sigma = None if judged is None else float(judged[0][i])
            results[i][name] = (value, sigma, judged is not None and bool(judged[1][i]))
    return results


def embed(
    model: FoundationModel,
    inputs: Any,
    *,
    domain: str | None = None,
    level: str | None = None,
    extrapolate: bool = False,
    layers: Literal["last", "all"] = "last",
    pooling: Pooling = "mean",
) -> Embedding | list[Embedding]:
    """The trunk's features: for similarity, regression on few labels, or clustering.

    Args:
        model: the model.
        inputs: as for `predict`.
        domain: treat the systems as this domain's.
        level: level of theory that routes the experts; the encoder's first one if None.
        extrapolate: warn of what lies outside the training data instead of refusing it.
        layers: `invariant` from the last layer's scalars, or from the scalars and the norms of
            vectors and tensors of all layers, 3 (layers + 1) C numbers a token.
        pooling: `sum`, `mean`, or `cumulants`, means and deviations one after another.

    Raises:
        InputError: unreadable input, or an unknown domain, level, `layers` or `pooling`.
        OutsideError: elements, charge, spin or distances of a system lie outside the training data.
    """
    if pooling not in POOLINGS or layers not in ("last", "all"):
        raise InputError(
            f"layers '{layers}', pooling '{pooling}': take last or all, and one of "
            f"{', '.join(POOLINGS)}"
        )
    samples = _samples(model, inputs, domain)
    results: list[Embedding] = []
    guards: dict[tuple[str, str], Guard] = {}
    for sample in samples:
        try:
            with row():
                results.append(
                    _embedding(model, sample, level, guards, extrapolate, layers, pooling)
                )
        except OutsideError as error:
            _refuse(error, samples)
    if not results and (skipped := rows_left_out()):
        raise InputError(f"no row of the input can be used; {skipped.rows[0]}")
    return results if _is_many(inputs, samples) else results[0]


def _embedding(
    model: FoundationModel,
    sample: Sample,
    level: str | None,
    guards: dict[tuple[str, str], Guard],
    extrapolate: bool,
    layers: Literal["last", "all"],
    pooling: Pooling,
) -> Embedding:
    part = next(
        (
            p
            for p, own in model.config.encoder_domains.items()
            if own == sample.domain and model.encoder(p).accepts(sample)
        ),
        None,
    )
    if part is None:
        raise InputError(f"{sample.id}: no encoder of '{model.config.name}' takes it")
    chosen = level or model.targets(encoder=part)[0].level
    guards.setdefault((part, chosen), Guard(model, part, chosen, extrapolate=extrapolate))
    tokens = model.tokenize(part, [sample], chosen)
    guards[part, chosen].check(tokens, [sample.conditions])
    with torch.no_grad():
        out = model.features({part: tokens}, invariants=layers == "all")[part]
        rows = out.extras[INVARIANTS] if layers == "all" else out.scalars
        invariant = pool(rows, out, pooling)[0]
    return Embedding(
        id=sample.id,
        encoder=part,
        level=chosen,
        invariant=invariant.cpu().numpy(),
        scalars=out.scalars.cpu().numpy(),
        vectors=out.vectors.cpu().numpy(),
        tensors=out.tensors.cpu().numpy(),
    )
