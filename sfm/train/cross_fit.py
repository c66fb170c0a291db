"""Closed forms judged on labels that were left out together with their relatives.

Leave-one-out errors in closed form keep the kernel's weights and lengths, which all labels chose,
and every label that is left out leaves relatives behind. For systems of other scaffolds or elements
they chose the wrong form, and their 90 % intervals held 79 to 90 % of new systems (ten targets of
40 to 100 labels, five splits). Here a fifth of the labels is left out, relatives together, of the
search for the kernel as well, five times over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int

from sfm.model import FoundationModel
from sfm.nn.kernel import FEATURES
from sfm.nn.uncertainty import interval_factor
from sfm.progress import report
from sfm.train.closed_form import Fitted, answers, fit_form
from sfm.train.relatives import folds_of_relatives

FOLDS = 5
HOW = f"left out with relatives, {FOLDS} folds"


def cross_fitted(model: FoundationModel, fits: Sequence[Fitted]) -> list[Fitted]:
    """The same forms and fits, their errors and intervals those of labels that no fit has seen.

    Args:
        model: with the target's level.
        fits: forms of one target, fitted to the same inputs.

    Returns:
        With `left_out`, `mae` in the target's unit, `sigma`, `factor` and `how`; the fits
        themselves where fewer than ten labels would leave too few to search with.
    """
    inputs = fits[0].inputs
    if len(inputs.labels) < 2 * FOLDS:
        return list(fits)
    fold = folds_of_relatives(inputs.raw[FEATURES], FOLDS)
    judged = []
    for done, fitted in enumerate(fits):
        report(f"{inputs.target.quantity}: relatives left out", done, len(fits), fitted.form.name)
        judged.append(_judged(model, fitted, fold))
    return judged


def _judged(model: FoundationModel, fitted: Fitted, fold: Int[np.ndarray, " n"]) -> Fitted:
    if fitted.gaussian is None:  # nothing was fitted, so nothing was seen
        return dataclasses.replace(fitted, how=HOW)
    inputs = fitted.inputs
    said, ratios = torch.zeros_like(inputs.labels), torch.zeros_like(inputs.labels)
    for k in range(FOLDS):
        held = np.flatnonzero(fold == k).tolist()
        part = fit_form(fitted.form, inputs.of(np.flatnonzero(fold != k).tolist()))
        values, sigma = answers(model, part, inputs.of(held))
        said[held] = values
        off = (values - inputs.labels[held]).abs()
        ratios[held] = part.factor * off / sigma.clamp(min=1e-300)
    factor = interval_factor(ratios)
    return dataclasses.replace(
        fitted,
        left_out=said,
        mae=float((said - inputs.labels).abs().mean()),
        factor=factor,
        sigma=fitted.sigma * factor / fitted.factor,
        how=HOW,
    )
