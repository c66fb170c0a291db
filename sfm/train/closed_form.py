"""Closed forms: regressions on frozen features that are fitted in seconds and judge themselves.

Each form is a Gaussian process (`sfm.nn.kernel`) on some blocks of inputs, for the label itself or
for its difference to a baseline: the model's own value of the same quantity at the nearest level,
or of a related one (`Quantity.affine`). Errors are leave-one-out, until `sfm.train.cross_fit` says
what labels think of a form that has not seen their relatives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfm.config import HeadSpec, Target
from sfm.data.budget import filled
from sfm.data.descriptors import available, describe, row
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.model import FoundationModel
from sfm.model.descriptors import OWN, said, sayable
from sfm.model.readout import baseline
from sfm.nn.derive import DERIVED
from sfm.nn.head import KERNEL
from sfm.nn.kernel import (
    COMPOSITION,
    FEATURES,
    SAID,
    KernelHead,
    Standard,
    block_of,
    is_tame,
    pooled_blocks,
)
from sfm.nn.uncertainty import interval_factor
from sfm.progress import report
from sfm.train.cover import cover
from sfm.train.data import INFERENCE
from sfm.train.gaussian import Gaussian, fit_gaussian
from sfm.train.tasks import TaskData

LARGEST = 2_000
USUAL = 0.99


@dataclass(frozen=True)
class Form:
    """A way to say a number in closed form.

    Attributes:
        name: for reports.
        blocks: inputs; none leaves a constant.
        smooth: whether features and descriptors have a Matern kernel besides the linear one.
        against: name of the baseline that it adds itself to (`baselines_of`), None for none.
        rival: whether it is a simple rival, which knows nothing of the model.
        fixed: whether even the constant is zero: the baseline as it is.
        skewed: whether labels may be bent to one side (`sfm.nn.skew`).
    """

    name: str
    blocks: tuple[str, ...] = ()
    smooth: bool = False
    against: str | None = None
    rival: bool = False
    fixed: bool = False
    skewed: bool = False


@dataclass(frozen=True)
class Inputs:
    """What the forms rest on, for the labelled training systems of one target.

    Attributes:
        target: encoder, level, quantity.
        raw: (n, D_b) float64 by block, NaN where missing.
        labels: (n,) float64.
        baselines: (n,) by the name of the baseline.
        descriptors: names by plugin part.
        ids: names of the systems.
    """

    target: Target
    raw: Mapping[str, Tensor]
    labels: Tensor
    baselines: Mapping[str, Tensor]
    descriptors: Mapping[str, Sequence[str]]
    ids: tuple[str, ...]

    def of(self, rows: Sequence[int]) -> Inputs:
        """Those of some of the systems."""
        index = torch.as_tensor(rows)
        return dataclasses.replace(
            self,
            raw={name: rows[index] for name, rows in self.raw.items()},
            labels=self.labels[index],
            baselines={name: rows[index] for name, rows in self.baselines.items()},
            ids=tuple(self.ids[i] for i in rows),
        )


@dataclass(frozen=True)
class Fitted:
    """A form that was fitted.

    Attributes:
        form: which.
        inputs: to what.
        gaussian: the fit; None for a fixed form.
        standards: of its blocks.
        left_out: (n,) predictions of each label from the others.
        mae: mean absolute error on labels that were left out.
        sigma: (n,) calibrated standard errors of `left_out`.
        factor: of the standard errors, so that 90 % of intervals hold 90 %.
        how: labels were left out.
    """

    form: Form
    inputs: Inputs
    gaussian: Gaussian | None
    standards: Mapping[str, Standard]
    left_out: Tensor
    mae: float
    sigma: Tensor
    factor: float
    how: str = "leave-one-out"


def baselines_of(model: FoundationModel, target: Target) -> dict[str, dict[str, Any]]:
    """What the model knows that the target may be a difference to, by name."""
    part, quantity = target.encoder, model.config.quantities[target.quantity]
    baselines: dict[str, dict[str, Any]] = {}
    if f"{part}:{quantity.name}" in model.heads:
        baselines["own"] = {
            "quantity": quantity.name, "factor": 1.0, "references": True, "per_token": False,
        }  # fmt: skip
    if quantity.affine is not None and f"{part}:{quantity.affine[0]}" in model.heads:
        other, factor = quantity.affine
        per_token = model.config.quantities[other].extensive and not quantity.extensive
        baselines[other] = {
            "quantity": other, "factor": factor, "references": False, "per_token": per_token,
        }  # fmt: skip
    return baselines


def forms_of(
    model: FoundationModel, target: Target, *, descriptors: Sequence[str], known: bool
) -> list[Form]:
    """All forms of a target.

    Args:
        model: with the target's level.
        target: what.
        descriptors: blocks of them.
        known: whether the model says the quantity at this or another level.
    """
    both = (COMPOSITION, FEATURES, *descriptors)
    forms = [Form("mean", rival=True), Form("composition", (COMPOSITION,), rival=True)]
    for name in descriptors:
        if name != SAID:
            forms.append(Form(name, (COMPOSITION, name), smooth=True, rival=True))
    # bent numbers of parts would not add up
    skewed = not model.config.quantities[target.quantity].extensive
    forms += [
        Form("ridge", both, skewed=skewed),
        Form("gp", both, smooth=True, skewed=skewed),
    ]
    for name in baselines_of(model, target):
        delta = "delta" if name == "own" else f"delta {name}"
        if name == "own" and known:
            forms.append(Form("zero-shot", against=name, fixed=True))
        forms += [
            Form(delta, (COMPOSITION,), against=name),
            Form(f"{delta} ridge", both, against=name, skewed=skewed),
            Form(f"{delta} gp", both, smooth=True, against=name, skewed=skewed),
        ]
    return forms


@torch.no_grad()
def gather(
    model: FoundationModel,
    task: TaskData,
    target: Target,
    samples: Sequence[Sample],
    *,
    descriptors: bool = True,
) -> Inputs:
    """Inputs and labels of the samples that have the target's label.

    Args:
        model: with the target's level among its contexts.
        task: gives the quantity's definition.
        target: what.
        samples: labelled ones, at the target's level.
        descriptors: whether to ask the encoder's plugin for some.
    """
    part, quantity = target.encoder, model.config.quantities[target.quantity]
    encoder, context = model.encoder(part), model.context(part, target.level)
    # a derivative has to be that of all the energy, and descriptors have none
    described = descriptors and quantity.name not in ("energy", *DERIVED)
    names = {p: _names(p, samples) for p in (available(part) if described else ())}
    names = {p: columns for p, columns in names.items() if columns}
    known = sayable(model, part, quantity.name) if described else []
    specs = baselines_of(model, target)
    blocks: dict[str, list[Tensor]] = {}
    values: dict[str, list[Tensor]] = {name: [] for name in specs}

    def tokenized() -> Iterator[Tokens]:
        for done, sample in enumerate(samples):
            report(f"{task.name}: features", done, len(samples))
            tokens = encoder.tokenize(sample)
            yield tokens.replace(context=torch.full_like(tokens.context, context))

    chunks = filled(
        tokenized(), lambda t: (t.n_tokens, t.n_edges), tokens=INFERENCE.tokens_per_batch
    )
    for chunk in chunks:
        tokens = Tokens.cat(chunk).to(model.device, model.dtype)
        features = model.features({part: tokens}, invariants=True)[part]
        pooled = pooled_blocks(features, tokens, quantity, (COMPOSITION, FEATURES))
        for name, value in pooled.items():
            blocks.setdefault(name, []).append(value.cpu())
        if known:
            blocks.setdefault(SAID, []).append(said(model, part, known, tokens).cpu())
        for name, spec in specs.items():
            values[name].append(baseline(model, part, spec, features, tokens).cpu())
    raw = {name: torch.cat(rows) for name, rows in blocks.items()}
    for describer, columns in names.items():
        rows = torch.from_numpy(np.stack([row(s, {describer: columns}) for s in samples]))
        raw[block_of(describer)] = rows
    for name in set(raw) - {COMPOSITION, FEATURES}:
        raw[name] = raw[name].float().double()  # what they will be when they come in tokens
    labels = [float(np.asarray(s.labels[quantity.name]).ravel()[0]) for s in samples]
    return Inputs(
        target=target,
        raw=raw,
        labels=torch.tensor(labels, dtype=torch.float64),
        baselines={name: torch.cat(rows).double() for name, rows in values.items()},
        descriptors={**names, **({OWN: known} if known else {})},
        ids=tuple(s.id for s in samples),
    )


def _names(part: str, samples: Sequence[Sample]) -> list[str]:
    """Descriptors that vary among the samples, in the order of their first appearance."""
    values_of: dict[str, set[float]] = {}
    for done, sample in enumerate(samples):
        report(f"{part}: descriptors", done, len(samples))
        for name, value in describe(part, sample).items():
            if np.isfinite(value):
                values_of.setdefault(name, set()).add(value)
    return [name for name, values in values_of.items() if len(values) > 1]


def fit_form(form: Form, inputs: Inputs) -> Fitted:
    """Fit one form to all labels."""
    base = inputs.baselines[form.against] if form.against else torch.zeros_like(inputs.labels)
    rest = inputs.labels - base
    if form.fixed:
        spread = rest.square().mean().sqrt().clamp(min=1e-300).expand(len(rest))
        return _judged(form, inputs, None, {}, base, spread)
    raw = {b: inputs.raw[b] for b in form.blocks if b in inputs.raw}
    standards = {b: Standard.of(rows) for b, rows in raw.items()}
    standards = {b: s for b, s in standards.items() if len(s.columns)}
    blocks = {b: s(raw[b], tame=is_tame(b)) for b, s in standards.items()}
    smooth = {b: form.smooth and b != COMPOSITION for b in blocks}
    gaussian = fit_gaussian(blocks, rest, smooth, skewed=form.skewed)
    return _judged(
        form, inputs, gaussian, standards, gaussian.left_out + base, gaussian.left_out_sigma
    )


def _judged(
    form: Form,
    inputs: Inputs,
    gaussian: Gaussian | None,
    standards: Mapping[str, Standard],
    left_out: Tensor,
    sigma: Tensor,
) -> Fitted:
    errors = (left_out - inputs.labels).abs()
    factor = interval_factor(errors / sigma)
    return Fitted(
        form, inputs, gaussian, standards, left_out, float(errors.mean()), factor * sigma, factor
    )


@torch.no_grad()
def answers(
    model: FoundationModel, fitted: Fitted, inputs: Inputs
) -> tuple[Float[Tensor, " S"], Float[Tensor, " S"]]:
    """What a fitted form says of other systems (S,), and standard errors (S,), in its unit.

    The same as `install` and predicting, for inputs that are gathered already.
    """
    base = inputs.baselines[fitted.form.against] if fitted.form.against else 0.0
    spec = _spec(model, fitted)
    head = KernelHead(
        model.config.quantities[fitted.inputs.target.quantity], 0, **dict(spec.options)
    )
    _fill(head, fitted)
    if not fitted.standards:
        flat = torch.zeros_like(inputs.labels)
        return flat + head.offset + base, flat + head.factor * head.noise.sqrt()
    blocks = {b: s(inputs.raw[b], tame=is_tame(b)) for b, s in fitted.standards.items()}
    values, sigma, _ = head.of_blocks(blocks)
    return values + base, sigma


def all_forms(model: FoundationModel, inputs: Inputs, *, known: bool) -> list[Fitted]:
    """Every form, fitted."""
    described = [b for b in inputs.raw if is_tame(b)]
    forms = forms_of(model, inputs.target, descriptors=described, known=known)
    fits = []
    for done, form in enumerate(forms):
        report(f"{inputs.target.quantity}: closed forms", done, len(forms), form.name)
        fits.append(fit_form(form, inputs))
    return fits


def labelled_rows(task: TaskData, target: Target) -> Int[np.ndarray, " n"]:
    """Positions (n,) of the training systems that have the target's label, at most `LARGEST`."""
    level, name = target.level, target.quantity
    rows = [i for i, s in enumerate(task.train) if s.level == level and name in s.labels]
    if len(rows) > LARGEST:
        rows = sorted(np.random.default_rng([0, len(rows)]).permutation(rows)[:LARGEST])
    return np.asarray(rows, dtype=int)


def labelled(task: TaskData, target: Target) -> list[Sample]:
    """Training systems with the target's label, at most `LARGEST`."""
    return [task.train[i] for i in labelled_rows(task, target)]


def install(model: FoundationModel, chosen: Sequence[Fitted]) -> FoundationModel:
    """A copy of the model with the chosen forms as heads of their targets' levels."""
    specs = [_spec(model, fitted) for fitted in chosen]
    grown = model.extended([f.inputs.target for f in chosen], specs)
    for fitted, spec in zip(chosen, specs, strict=True):
        _fill(grown.heads[spec.key], fitted)  # type: ignore[arg-type]
    return grown


def _spec(model: FoundationModel, fitted: Fitted) -> HeadSpec:
    target, blocks, against = fitted.inputs.target, fitted.standards, fitted.form.against
    options = {
        "points": len(fitted.inputs.labels) if blocks else 0,
        "widths": {name: len(s.columns) for name, s in blocks.items()},
        "descriptors": {
            k: list(v) for k, v in fitted.inputs.descriptors.items() if block_of(k) in blocks
        },
        "baseline": baselines_of(model, target)[against] if against else None,
        "kind": fitted.form.name,
    }
    return HeadSpec(target.encoder, target.quantity, KERNEL, options, target.level)


@torch.no_grad()
def _fill(head: KernelHead, fitted: Fitted) -> None:
    """Put the fit into the head's buffers."""
    gaussian = fitted.gaussian
    head.factor.fill_(fitted.factor)
    if gaussian is None:
        rest = fitted.inputs.labels - fitted.left_out
        head.noise.copy_(rest.square().mean())
        return
    head.noise.fill_(gaussian.noise)
    head.offset.fill_(gaussian.offset)
    for name in ("middle", "size", "skew"):
        getattr(head, name).copy_(getattr(gaussian.bend, name))
    if not fitted.standards:
        return
    head.coefficients.copy_(gaussian.coefficients)
    head.cholesky.copy_(gaussian.cholesky)
    head.limit.copy_(torch.quantile(gaussian.nearest, USUAL))
    for name, standard in fitted.standards.items():
        raw = fitted.inputs.raw[name]
        getattr(head, f"{name}_columns").copy_(standard.columns)
        getattr(head, f"{name}_mean").copy_(standard.mean)
        getattr(head, f"{name}_spread").copy_(standard.spread)
        getattr(head, f"{name}_inputs").copy_(standard(raw, tame=is_tame(name)))
        getattr(head, f"{name}_weights").copy_(gaussian.weights[name])


def with_levels(
    base: FoundationModel, task: TaskData, nearest: Mapping[tuple[str, str], tuple[str, str]]
) -> FoundationModel:
    """A copy of the model that knows the task's levels and quantities, without heads for them.

    Its targets stay: what it cannot say yet it does not promise.
    """
    targets = [Target(task.encoder, level, name) for level, name in task.present]
    grown = base.extended(targets, (), task.definitions, nearest=nearest)
    grown.config = dataclasses.replace(grown.config, targets=base.config.targets)
    cover(grown, [task], base=base.config)
    return grown
