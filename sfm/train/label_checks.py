"""Labels held against what the model expects of them, before anything is trained or compared.

Three tests, each of which knows a unit by the factor that it makes: energies against the model's
references and those of free atoms (`sfm.data.composition`), forces and stress against energies
(`sfm.data.consistency`), and every label against the model's own prediction of it, which is of
another level of theory but of the same size. Only a factor that a unit, a sign or an order of
components explains is a finding.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from sfm.data.composition import wrong_energy_unit
from sfm.data.consistency import consistency
from sfm.data.sample import Sample
from sfm.data.unit_factors import as_if, candidates, explained_by
from sfm.data.voigt import VOIGT_AXES, wrong_order
from sfm.errors import InputError, InputWarning, SfmError
from sfm.model import FoundationModel
from sfm.nn.derive import DERIVED
from sfm.quantity import Quantity
from sfm.train.tasks import TaskData, subset

COMPARED = 48  # systems whose labels are held against predictions
LOOKED_AT = 400  # for the tests without the model
TOKENS = 4096
ALIKE = 0.7  # correlation below which a prediction says nothing of a label
FEWEST = 6  # numbers


def check_labels(
    model: FoundationModel, task: TaskData, *, trust: bool = False, split: str = "train"
) -> None:
    """Stop before labels in another unit, of another sign or in another order are used.

    Args:
        model: the model before training.
        task: the labels.
        trust: a finding is a warning only.
        split: whose labels are looked at.

    Raises:
        InputError: what is wrong, and the flag that mends it.
    """
    samples = list(subset(task.split(split), LOOKED_AT))
    findings: dict[str, str] = {}
    for level in task.levels:
        at_level = [s for s in samples if s.level == level]
        for quantity, message in _findings(model, task, level, at_level):
            findings.setdefault(quantity, message)
    if not findings:
        return
    said = "; ".join(findings.values())
    if trust:
        warnings.warn(f"{task.name}: {said}; taken as they are", InputWarning, stacklevel=2)
        return
    raise InputError(
        f"{task.name}: {said}. Give the flag (a minus sign in front of a unit for the opposite "
        "sign), or --trust-labels if they are right"
    )


def _findings(
    model: FoundationModel, task: TaskData, level: str, samples: Sequence[Sample]
) -> list[tuple[str, str]]:
    faults: list[tuple[str, str]] = []
    if not samples:
        return faults
    if "energy" in task.goals and (
        text := wrong_energy_unit(samples, references(model, task.encoder))
    ):
        faults.append(("energy", text))
    faults += [f for f in consistency(samples) if f[0] in task.goals]
    compared = list(subset(samples, COMPARED))
    names = [n for n in task.goals if candidates(task.definitions[n].unit)]
    for name, predicted in _predictions(model, task.encoder, level, names, compared).items():
        pairs = [(s, p) for s, p in zip(compared, predicted, strict=True) if name in s.labels]
        labels = [np.asarray(s.labels[name], dtype=np.float64) for s, _ in pairs]
        types = [s.types for s, _ in pairs]
        if pairs and (
            text := compare(task.definitions[name], labels, [p for _, p in pairs], types)
        ):
            faults.append((name, text))
    return faults


def references(model: FoundationModel, encoder: str) -> dict[str, Float[np.ndarray, " 119"]]:
    """(119,) eV per element at every level of the encoder's domain, by name.

    NaN for elements that the level's data do not hold, whose references were never fitted. Levels
    of other domains would explain by chance what none of this one does.
    """
    tables = {}
    domains, taught = model.config.encoder_domains, model.config.targets
    for context, (part, level) in enumerate(model.config.contexts):
        key = f"{part}:energy"
        if key not in model.normalisers or domains[part] != domains[encoder]:
            continue
        if model.baselines.knows(context):  # its references are of what is left
            continue
        if not any((t.encoder, t.level, t.quantity) == (part, level, "energy") for t in taught):
            continue
        shift = model.normalisers[key].shift[context, :, 0].cpu().numpy()  # type: ignore[index]
        known = model.known.elements[context].cpu().numpy() & (shift != 0)
        tables[f"the references of {model.config.name} at {level}"] = np.where(
            known, shift, np.nan
        )[:119]
    return tables


def _predictions(
    model: FoundationModel, part: str, level: str, names: Sequence[str], samples: Sequence[Sample]
) -> dict[str, list[np.ndarray]]:
    """The model's values by quantity, at this level or at the first that it knows.

    Without those that it cannot say, and empty where a sample is beyond what it knows.
    """
    said = {t.quantity for t in model.targets(encoder=part)}
    quantities = [n for n in names if n in said or (n in DERIVED and "energy" in said)]
    if not all(s.pbc.all() for s in samples):
        quantities = [n for n in quantities if n != "stress"]
    levels = [v for p, v in model.config.contexts if p == part]
    if not quantities or not levels:
        return {}
    asked = level if level in levels else levels[0]
    values: dict[str, list[np.ndarray]] = {name: [] for name in quantities}
    for sample in samples:
        try:
            tokens = model.tokenize(part, [sample], asked)
        except SfmError:
            return {}
        if tokens.n_tokens > TOKENS:
            return {}
        for name, value in model({part: tokens}, {part: quantities})[part].items():
            values[name].append(value.detach().cpu().numpy().astype(np.float64))
    return values


def compare(  # noqa: C901
    quantity: Quantity,
    labels: Sequence[Float[np.ndarray, " ..."]],
    predicted: Sequence[Float[np.ndarray, " ..."]],
    types: Sequence[Int[np.ndarray, " _"]],
) -> str:
    """What unit, sign or order makes labels and predictions differ; empty if none does.

    Args:
        quantity: what they are.
        labels: (rows, dim) of each system.
        predicted: likewise.
        types: (N,) atomic numbers of each system.
    """
    if any(y.size != p.size for y, p in zip(labels, predicted, strict=True)):
        return ""
    y = np.concatenate([np.ravel(x) for x in labels])
    p = np.concatenate([np.ravel(x) for x in predicted])
    if quantity.per == "system" and quantity.dim == 1:
        y, p = (_beyond_composition(v, types, quantity) for v in (y, p))
    elif quantity.irreps == "0e":
        y, p = y - y.mean(), p - p.mean()
    if len(y) < FEWEST or not (np.isfinite(y).all() and np.isfinite(p).all()):
        return ""
    sizes = [float(np.sqrt((v**2).mean())) for v in (y, p)]
    if min(sizes) < 1e-9:
        return ""
    name = quantity.name
    text = []
    if name == "stress" and (order := _voigt_order(labels, predicted)):
        return order
    alike = float((y * p).mean()) / (sizes[0] * sizes[1])
    if abs(alike) < ALIKE:
        return ""
    ratio, negative = sizes[0] / sizes[1], alike < 0 and quantity.irreps != "0e"
    unit = explained_by(ratio, quantity.unit, 0.5) if not 1 / 3 < ratio < 3 else None
    if negative:
        text.append(f"the sign of '{name}' is wrong")
    if unit:
        text.append(
            f"'{name}' is {ratio:.3g} times what the model expects, "
            f"{as_if(name, unit, quantity.unit, negative=negative)}"
        )
    elif negative:
        text[-1] += f" (--unit {name}=-{quantity.unit})"
    return " and ".join(text)


def _beyond_composition(
    values: np.ndarray, types: Sequence[np.ndarray], quantity: Quantity
) -> np.ndarray:
    from sfm.nn.normalise import design

    counts = design(quantity, types)
    counts = counts[:, counts.any(0)]
    if len(values) < counts.shape[1] + FEWEST:
        return np.zeros_like(values)
    solution, *_ = np.linalg.lstsq(counts, values, rcond=1e-10)
    rest: np.ndarray = values - counts @ solution
    return rest


def _voigt_order(labels: Sequence[np.ndarray], predicted: Sequence[np.ndarray]) -> str:
    if any(np.size(x) != 9 for x in (*labels, *predicted)):
        return ""
    i, j = np.array(VOIGT_AXES[3:]).T  # the shears
    y, p = (np.stack([np.reshape(x, (3, 3)) for x in v])[:, i, j] for v in (labels, predicted))
    norm = float(np.linalg.norm(y) * np.linalg.norm(p))
    if norm < 1e-18 or y.size < 3 * FEWEST:
        return ""
    alike = {o: float((p[:, o] * y).sum()) / norm for o in itertools.permutations(range(3))}
    best = max(alike, key=lambda o: abs(alike[o]))
    if abs(alike[best]) < ALIKE or abs(alike[best]) < abs(alike[0, 1, 2]) + 0.3:
        return ""
    return wrong_order(best)
