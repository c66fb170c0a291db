"""Checks of encoders, each inside a small model with all heads of its plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.model import FoundationModel
from sfm.nn.encoder import PointEncoder
from sfm.nn.symmetry import random_rotation, rotate_tokens
from sfm.plugin import Plugin
from sfm.registry import find
from sfm.testing import tolerances as tol
from sfm.testing.checks import Check, Skipped, ensure
from sfm.testing.models import LEVEL, encoder_samples, model_for, said

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def checks(plugin: Plugin) -> list[Check]:
    """Checks of all the plugin's encoders."""
    checklist = []
    for short in plugin.encoders:
        part = f"{plugin.name}/{short}"
        for precision in DTYPES:
            for what, function in (
                ("outputs-follow-symmetries", outputs_follow_symmetries),
                ("features-turn", features_turn),
                ("permutation", permutation),
                ("batch-equals-singles", batch_equals_singles),
            ):
                run = partial(function, part, precision)
                checklist.append(Check(part, f"{what}-{precision}", run))
        for what, single in (
            ("no-leak", no_leak),
            ("extensivity", extensivity),
            ("smooth-at-cutoff", smooth_at_cutoff),
            ("forces-are-differences", forces_are_differences),
            ("stress-is-a-difference", stress_is_a_difference),
            ("one-token", one_token),
            ("trainable", trainable),
            ("options", options),
        ):
            checklist.append(Check(part, what, partial(single, part)))
    return checklist


def error(value: Shaped[Tensor, " ..."], expected: Shaped[Tensor, " ..."]) -> float:
    """Largest deviation over the root mean square (at least 0.01), both in float64.

    Of two tensors of the same shape, in any unit.
    """
    value, expected = value.detach().double(), expected.detach().double()
    ensure(
        value.shape == expected.shape,
        f"has shape {tuple(value.shape)}, not {tuple(expected.shape)}",
    )
    if not expected.numel():
        return 0.0
    scale = max(float(expected.square().mean().sqrt()), 1e-2)
    return float((value - expected).abs().max()) / scale


def evaluate(
    model: FoundationModel, part: str, samples: list[Sample]
) -> dict[str, Float[Tensor, "_ ..."]]:
    """All quantities of the samples in one batch, (rows, ...) each, in canonical units."""
    tokens = model.tokenize(part, samples, LEVEL)
    values: dict[str, Tensor] = model({part: tokens}, {part: said(model, part, samples)})[part]
    return values


def points_of(part: str) -> list[Sample]:
    """The samples of an encoder of points in space; the check is skipped for others."""
    if not isinstance(model_for(part).encoder(part), PointEncoder):
        raise Skipped("for encoders of points in space only")
    return list(encoder_samples(part))


def outputs_follow_symmetries(part: str, precision: str) -> str:
    """Every head's output follows the encoder's symmetries."""
    model, worst, names = model_for(part, DTYPES[precision]), 0.0, []
    for number, sample in enumerate(encoder_samples(part)):
        generator = torch.Generator().manual_seed(number)
        before = None
        for name, move, move_output in model.encoder(part).symmetries(generator):
            names.append(name)
            moved = evaluate(model, part, [move(sample)])
            before = evaluate(model, part, [sample]) if before is None else before
            for quantity, value in before.items():
                deviation = error(moved[quantity], move_output(quantity, value))
                ensure(
                    deviation < tol.EQUIVARIANCE[precision],
                    f"{quantity} of {sample.id} breaks {name}: relative error {deviation:.2e}",
                )
                worst = max(worst, deviation)
    return f"{', '.join(dict.fromkeys(names))}: {worst:.1e}"


def features_turn(part: str, precision: str) -> str:
    """Scalars, vectors and tensors of the trunk turn as irreps, and do not feel a translation."""
    model, worst = model_for(part, DTYPES[precision]), 0.0
    generator = torch.Generator().manual_seed(0)
    mirror = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))
    for sample in encoder_samples(part):
        tokens = model.tokenize(part, [sample], LEVEL)
        for turn in (random_rotation(generator), random_rotation(generator) @ mirror):
            shift = torch.randn(3, generator=generator, dtype=torch.float64).to(tokens.positions)
            moved = rotate_tokens(tokens, turn)
            moved = moved.replace(positions=moved.positions + shift)
            turned = model.features({part: moved})[part]
            expected = rotate_tokens(model.features({part: tokens})[part], turn)
            for name in ("scalars", "vectors", "tensors"):
                deviation = error(getattr(turned, name), getattr(expected, name))
                ensure(
                    deviation < tol.EQUIVARIANCE[precision],
                    f"{name} of {sample.id} do not turn: relative error {deviation:.2e}",
                )
                worst = max(worst, deviation)
    return f"{worst:.1e}"


def on_atoms(
    sample: Sample,
    move: Callable[[Shaped[np.ndarray, "n ..."]], Shaped[np.ndarray, "n ..."]],
    **changes: Any,
) -> Sample:
    """`sample` with `move` applied to every array (n, ...) of its n atoms, and `changes`.

    Units stay what they are.
    """
    n = len(sample.positions)

    def moved(values: Mapping[str, Any]) -> dict[str, Any]:
        return {k: move(v) if np.ndim(v) and len(v) == n else v for k, v in values.items()}

    # bonds that dynamics keeps name atoms by number, and no encoder looks at them
    unbound: dict[str, Any] = {"rigid_pairs": None, "rigid_lengths": None}
    whole = {**unbound, "positions": move(sample.positions), **changes}
    for name in ("masses", "velocities", "fixed"):
        if (array := getattr(sample, name)) is not None:
            whole[name] = move(array)
    return sample.replace(
        types=move(sample.types),
        fields=moved(sample.fields),
        labels=moved(sample.labels),
        **whole,
    )


def permutation(part: str, precision: str) -> str:
    """Another order of the atoms gives the same values in that order."""
    model, worst = model_for(part, DTYPES[precision]), 0.0
    for number, sample in enumerate(points_of(part)):
        order = np.random.default_rng(number).permutation(len(sample.positions))
        moved = on_atoms(sample, partial(np.take, indices=order, axis=0))
        before, after = (evaluate(model, part, [s]) for s in (sample, moved))
        for name, value in before.items():
            per_token = model.config.quantities[name].per == "token"
            expected = value[torch.from_numpy(order)] if per_token else value
            deviation = error(after[name], expected)
            ensure(
                deviation < tol.EQUIVARIANCE[precision],
                f"{name} of {sample.id} depends on the order: relative error {deviation:.2e}",
            )
            worst = max(worst, deviation)
    return f"{worst:.1e}"


def batch_equals_singles(part: str, precision: str) -> str:
    """A batch gives what its systems give alone."""
    model, samples = model_for(part, DTYPES[precision]), list(encoder_samples(part))
    together, worst = evaluate(model, part, samples), 0.0
    alone = [evaluate(model, part, [s]) for s in samples]
    for name, value in together.items():
        if any(name not in single for single in alone):
            continue
        deviation = error(value, torch.cat([single[name] for single in alone]))
        ensure(deviation < tol.BATCH[precision], f"{name} in a batch is off by {deviation:.2e}")
        worst = max(worst, deviation)
    return f"{len(samples)} systems: {worst:.1e}"


def no_leak(part: str) -> None:
    """A system full of NaN leaves the values of its neighbours in the batch alone."""
    model = model_for(part)
    samples = list(encoder_samples(part))
    samples = [samples[0], samples[-1], samples[0]]
    names = [n for n in said(model, part, samples) if n not in ("forces", "stress")]
    tokens = model.tokenize(part, samples, LEVEL)
    sick = tokens.system == 1

    def poisoned(values: Tensor) -> Tensor:
        values = values.clone()
        values[sick] = torch.nan
        return values

    bad = tokens.replace(
        scalars=poisoned(tokens.scalars),
        vectors=poisoned(tokens.vectors),
        tensors=poisoned(tokens.tensors),
        positions=poisoned(tokens.positions),
    )
    good = model({part: tokens}, {part: names})[part]
    mixed = model({part: bad}, {part: names})[part]
    for name in names:
        rows = _rows(model, part, name, tokens)
        for system in (0, 2):
            same = error(mixed[name][rows == system], good[name][rows == system])
            ensure(same < tol.BATCH["float64"], f"{name} leaks from one system to another")


def _rows(model: FoundationModel, part: str, name: str, tokens: Tokens) -> Tensor:
    """The system of each row of a quantity."""
    normaliser: Any = model.normalisers[f"{part}:{name}"]
    rows: Tensor = normaliser.rows(tokens)
    return rows


def doubled(sample: Sample, far: float) -> Sample:
    """Two copies: a supercell of a crystal, or two molecules `far` apart."""
    shift, cell = np.array([far, 0.0, 0.0]), sample.cell
    if sample.cell is not None and sample.pbc[0]:
        shift = sample.cell[0]
        cell = sample.cell * np.array([[2.0], [1.0], [1.0]])
    return on_atoms(
        sample,
        lambda a: np.concatenate([a, a]),
        positions=np.concatenate([sample.positions, sample.positions + shift]),
        cell=cell,
    )


def extensivity(part: str) -> str:
    """Two copies have twice the extensive values, and the same intensive ones and forces."""
    model, worst = model_for(part), 0.0
    for sample in points_of(part):
        one = evaluate(model, part, [unlabelled(part, sample)])
        two = evaluate(model, part, [unlabelled(part, doubled(sample, 1e3))])
        for name, value in one.items():
            quantity = model.config.quantities[name]
            expected = torch.cat([value, value]) if quantity.per == "token" else value
            if quantity.per == "system" and quantity.extensive:
                expected = 2 * value
            elif quantity.irreps != "0e" and name not in ("stress",) and quantity.per == "system":
                continue
            deviation = error(two[name], expected)
            ensure(
                deviation < tol.EXTENSIVITY,
                f"{name} of two copies of {sample.id} is off by {deviation:.2e}",
            )
            worst = max(worst, deviation)
    return f"{worst:.1e}"


def unlabelled(part: str, sample: Sample) -> Sample:
    """Labels that are no input of the encoder go; those that it reads stay."""
    read = find("encoders", part).load().label_inputs
    return sample.replace(labels={k: v for k, v in sample.labels.items() if k in read})


def smooth_at_cutoff(part: str) -> str:
    """Features, energy and forces do not jump as an atom crosses the cutoff."""
    model, worst = model_for(part), 0.0
    cutoff = model.encoder(part).cutoff
    for sample in points_of(part):
        if len(sample.positions) < 2:
            continue

        def at(factor: float, sample: Sample = sample) -> list[Tensor]:
            moved = _pulled_out(sample, cutoff * factor)
            tokens = model.tokenize(part, [moved], LEVEL)
            values = [model.features({part: tokens})[part].scalars.detach()]
            out = model({part: tokens}, {part: said(model, part, [moved])})[part]
            return values + [out[name].detach() for name in ("energy", "forces") if name in out]

        step, wide = tol.SMOOTH_STEP, tol.SMOOTH_CROSSING
        for inside, outside, near, far in zip(
            at(1 - step), at(1 + step), at(1 - wide), at(1 + wide), strict=True
        ):
            jump = float((inside - outside).abs().max())
            change = float((near - far).abs().max())
            ensure(
                jump <= tol.SMOOTH * change + 1e-11,
                f"{sample.id}: jumps by {jump:.1e} at the cutoff and changes by {change:.1e} there",
            )
            worst = max(worst, jump / max(change, 1e-6))
    return f"{worst:.1e}"


def _pulled_out(sample: Sample, distance: float) -> Sample:
    """An open system whose last atom is `distance` from the nearest of the others."""
    rest = sample.positions[:-1]
    direction = np.array([0.6, 0.64, 0.48])
    # the distance to the nearest atom grows without bound along a ray: bisection
    low, high = 0.0, distance + 10 * np.abs(rest - rest[0]).max() + 1.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        probe = rest[0] + middle * direction
        if np.linalg.norm(rest - probe, axis=1).min() < distance:
            low = middle
        else:
            high = middle
    positions = np.vstack([rest, rest[0] + high * direction])
    return sample.replace(positions=positions, cell=None, pbc=(False, False, False))


def _energy(model: FoundationModel, part: str, sample: Sample) -> float:
    with torch.no_grad():
        tokens = model.tokenize(part, [sample], LEVEL)
        return float(model({part: tokens}, {part: ["energy"]})[part]["energy"])


def forces_are_differences(part: str) -> str:
    """Forces are minus the central differences of the energy, in float64."""
    model, h = model_for(part), tol.DIFFERENCE_STEP
    projected, differences = [], []
    samples = points_of(part)
    if "forces" not in said(model, part, samples):
        raise Skipped("no energy head")
    rng = np.random.default_rng(0)
    for sample in samples:
        forces = evaluate(model, part, [sample])["forces"].detach().numpy()
        for _ in range(3):
            d = rng.normal(size=forces.shape)
            plus, minus = (
                _energy(model, part, sample.replace(positions=sample.positions + s * h * d))
                for s in (1, -1)
            )
            differences.append(-(plus - minus) / (2 * h))
            projected.append(float((forces * d).sum()))
    deviation = error(torch.tensor(projected), torch.tensor(differences))
    ensure(deviation < tol.DIFFERENCE, f"forces differ from differences by {deviation:.2e}")
    return f"{len(projected)} directions: {deviation:.1e}"


def stress_is_a_difference(part: str) -> str:
    """V times stress is the central difference of the energy with strain, in float64."""
    model, h = model_for(part), tol.DIFFERENCE_STEP
    samples = points_of(part)
    if "stress" not in said(model, part, samples):
        raise Skipped("no energy head, or no periodic samples")
    projected, differences = [], []
    rng = np.random.default_rng(0)
    for sample in samples:
        cell = np.asarray(sample.cell)
        stress = evaluate(model, part, [sample])["stress"].detach().numpy()[0]
        ensure(bool(np.allclose(stress, stress.T, atol=1e-12)), "stress is not symmetric")
        for _ in range(3):
            e = rng.normal(size=(3, 3))
            e = 0.5 * (e + e.T)
            energies = []
            for s in (1, -1):
                deform = np.eye(3) + s * h * e
                moved = sample.replace(positions=sample.positions @ deform, cell=cell @ deform)
                energies.append(_energy(model, part, moved))
            differences.append((energies[0] - energies[1]) / (2 * h))
            projected.append(float(abs(np.linalg.det(cell)) * (stress * e).sum()))
    deviation = error(torch.tensor(projected), torch.tensor(differences))
    ensure(deviation < tol.DIFFERENCE, f"stress differs from differences by {deviation:.2e}")
    return f"{len(projected)} strains: {deviation:.1e}"


def one_token(part: str) -> None:
    """A single atom has finite values and no force."""
    model = model_for(part)
    sample = points_of(part)[0]
    first = on_atoms(sample, lambda a: a[:1], cell=None, pbc=(False, False, False))
    for name, value in evaluate(model, part, [first]).items():
        ensure(bool(torch.isfinite(value).all()), f"{name} of a single atom is not finite")
        if name == "forces":
            ensure(float(value.detach().abs().max()) < 1e-9, "a single atom feels a force")


def trainable(part: str) -> str:
    """Losses on all outputs, derivatives included, have finite gradients for every parameter."""
    model, samples = model_for(part), list(encoder_samples(part))
    tokens = model.tokenize(part, samples, LEVEL)
    names = said(model, part, samples)
    parameters = [p for p in model.parameters() if p.requires_grad]
    out = model({part: tokens}, {part: names}, create_graph=True)[part]
    loss = torch.stack([out[name].double().square().mean() for name in names]).sum()
    grads = torch.autograd.grad(loss, parameters, allow_unused=True)
    finite = all(bool(torch.isfinite(g).all()) for g in grads if g is not None)
    ensure(finite, "a gradient is not finite")
    owned = [
        name
        for (name, p), g in zip(model.named_parameters(), grads, strict=True)
        if g is None and name.startswith("heads.") and p.numel()
    ]
    ensure(not owned, f"{owned[0] if owned else ''} never gets a gradient")
    return f"{len(parameters)} tensors"


def options(part: str) -> None:
    """`options` rebuild the same encoder."""
    encoder = model_for(part).encoder(part)
    again = type(encoder)(channels=encoder.channels, **encoder.options)
    ensure(again.options == encoder.options, f"options {encoder.options} become {again.options}")
    mine = {k: v.shape for k, v in encoder.state_dict().items()}
    ensure(mine == {k: v.shape for k, v in again.state_dict().items()}, "weights change shape")
