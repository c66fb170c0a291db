"""Checks of what an encoder does with its sample: nothing to it, and all that it states."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import torch

from sfm.data.isotropy import TRACELESS
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError
from sfm.plugin import Plugin
from sfm.testing import tolerances as tol
from sfm.testing.checks import Check, CheckFailed, ensure
from sfm.testing.conformance_encoder import error, evaluate, points_of, unlabelled
from sfm.testing.models import encoder_samples, model_for

MULTIPOLES = ("1o", TRACELESS)  # irreps of dipoles and quadrupoles of a system


def checks(plugin: Plugin) -> list[Check]:
    """Three checks for each of the plugin's encoders."""
    listed = []
    for short in plugin.encoders:
        part = f"{plugin.name}/{short}"
        listed.append(Check(part, "input-unchanged", partial(input_unchanged, part)))
        listed.append(Check(part, "boundaries", partial(boundaries, part)))
        listed.append(Check(part, "label-inputs", partial(label_inputs, part)))
    return listed


def input_unchanged(part: str) -> None:
    """A prediction leaves its sample as it was, and a second one gives the same to the last bit."""
    model = model_for(part)
    for sample in encoder_samples(part):
        given = _writable(sample)
        first, second = (evaluate(model, part, [given]) for _ in range(2))
        for what in ("positions", "types", "cell", "masses", "velocities"):
            same = np.array_equal(getattr(given, what), getattr(sample, what))
            ensure(same, f"changes the {what} of {sample.id}")
        for after, before in ((given.fields, sample.fields), (given.labels, sample.labels)):
            for name, array in after.items():
                ensure(np.array_equal(array, before[name]), f"changes {name} of {sample.id}")
        for name, value in first.items():
            ensure(torch.equal(value, second[name]), f"{name} of {sample.id} differs when repeated")


def label_inputs(part: str) -> None:
    """Tokens come from the sample's inputs and the labels that `label_inputs` names, no others.

    Else a part of a dataset, which lacks the labels that nobody learns, is another dataset.
    """
    encoder = model_for(part).encoder(part)
    for sample in encoder_samples(part):
        named = dict(unlabelled(part, sample).labels)
        bare = sample.replace(labels={**named, "nobody's": np.zeros(())})
        try:
            same = _equal(encoder.tokenize(sample), encoder.tokenize(bare))
        except InputError as error:
            raise CheckFailed(f"reads labels that `label_inputs` does not name: {error}") from None
        ensure(same, f"reads labels of {sample.id} that `label_inputs` does not name")


def _equal(one: Tokens, other: Tokens) -> bool:
    """Whether two systems have the same tokens, to the last bit."""

    def arrays(tokens: Tokens) -> dict[str, torch.Tensor]:
        values = {f.name: getattr(tokens, f.name) for f in dataclasses.fields(tokens)}
        values |= values.pop("extras")
        return {k: v for k, v in values.items() if isinstance(v, torch.Tensor)}

    first, second = arrays(one), arrays(other)
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def _writable(sample: Sample) -> Sample:
    """A copy: arrays of a dataset are read-only, a user's are not."""
    copies = {
        what: np.array(getattr(sample, what))
        for what in ("positions", "types", "cell", "masses", "velocities")
        if getattr(sample, what) is not None
    }
    return sample.replace(
        **copies,
        fields={k: np.array(v) for k, v in sample.fields.items()},
        labels={k: np.array(v) for k, v in sample.labels.items()},
    )


def boundaries(part: str) -> str:
    """Boundaries are those of the sample: open ones see no image, periodic ones no border."""
    model, done = model_for(part), 0
    for sample in points_of(part):
        size = np.ptp(sample.positions, axis=0).max() + 0.5 * model.encoder(part).cutoff
        box = {"cell": np.eye(3) * size, "pbc": (False, False, False)}
        free = sample.replace(cell=None, pbc=(False, False, False))
        where = sample.positions.copy()
        where[-1, 0] += size
        periodic = {"cell": box["cell"], "pbc": (True, True, True)}
        for one, other, message in (
            (free, sample.replace(**box), "a cell with open boundaries changes"),
            (
                sample.replace(**periodic),
                sample.replace(**periodic, positions=where),
                "an atom moved by a lattice vector changes",
            ),
        ):
            try:
                values = [evaluate(model, part, [unlabelled(part, s)]) for s in (one, other)]
            except InputError:  # such boundaries are refused, which is as good
                continue
            for name in values[0].keys() & values[1].keys():
                quantity = model.config.quantities[name]
                if quantity.per == "system" and quantity.irreps in MULTIPOLES:
                    continue  # these have no one value in a periodic system
                off = error(values[1][name], values[0][name])
                ensure(off < tol.EXTENSIVITY, f"{message} {name} of {sample.id} by {off:.1e}")
            done += 1
    return f"{done} pairs"
