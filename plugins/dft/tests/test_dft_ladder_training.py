"""Training through the field by least squares; which molecules train, choose and test."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from sfm_dft.data.specs import HYDROGEN_1D
from sfm_dft.ladder.benchmark import FAMILIES, SPLITS, labels_of, mixture, samples, used
from sfm_dft.ladder.gauss_newton import Residuals, train_by_least_squares
from sfm_dft.ladder.kohn_sham_1d import KohnSham1D
from sfm_dft.ladder.labels import TRAIN, VALIDATION
from sfm_dft.ladder.molecules import batch, build
from sfm_dft.ladder.neural import GlobalXC, LocalXC
from sfm_dft.ladder.training import Labels, train_through
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from sfm.data.storage import open_dataset
from sfm.errors import InputError


def made_up(points: int) -> Labels:
    """Two and four electrons, one molecule without mirror symmetry; labels far from any truth."""
    molecules = batch([build("H2", 1.5), build("H4", 2.1)])
    molecules.positions[0, 1] += 0.3
    generator = torch.Generator().manual_seed(0)
    density = torch.rand(2, points, generator=generator, dtype=torch.float64)
    return Labels(molecules, torch.tensor([-1.0, -2.0], dtype=torch.float64), density)


@pytest.mark.parametrize("kind", [LocalXC, GlobalXC])
def test_rows_of_the_jacobian_match_differences_through_the_field(kind):
    functional = kind(seed=3)
    simulator = KohnSham1D(closure=functional, points=81, dx=0.3, tolerance=1e-12)
    residuals = Residuals(simulator, made_up(81), density_weight=0.3, stride=6)
    weights = parameters_to_vector(functional.parameters()).detach().clone()
    direction = torch.randn(
        len(weights), generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    guess = residuals.cold.field.density
    state = residuals.solve(guess)
    slopes = residuals.jacobian(state, functional) @ direction

    def moved(amount: float) -> torch.Tensor:
        vector_to_parameters(weights + amount * direction, functional.parameters())
        return residuals(residuals.solve(guess)).flatten()

    step = 1e-4
    differences = 8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))
    torch.testing.assert_close(slopes, differences / (12 * step), rtol=1e-5, atol=1e-7)


def test_a_few_steps_beat_as_many_evaluations_of_a_gradient_method():
    """And the loss never rises; frozen weights stay where they are."""
    _, labels = labels_of("H2", [0.96, 5.44])
    labels = labels.cropped(193)
    options = {"channels": 3, "hidden": 4, "layers": 1, "seed": 0}
    functional = GlobalXC(**options)
    functional.eta.requires_grad_(False)
    frozen = functional.eta.clone()
    fit = train_by_least_squares(functional, labels, steps=8)
    assert all(after < before for before, after in zip(fit.losses, fit.losses[1:], strict=False))
    assert torch.equal(functional.eta, frozen)
    assert np.isnan(fit.validation)
    other = train_through(GlobalXC(**options), labels, steps=9, density_weight=0.1)
    assert min(fit.losses) < 0.5 * min(other.losses)
    with pytest.raises(InputError, match="stride=0: give 1 to 48"):
        train_by_least_squares(functional, labels, stride=0)


def test_validation_chooses_the_step():
    """The error that is reported is that of the functional that is left."""
    stored = samples()
    labels = mixture({"H2": (0.96, 5.44)}, stored).cropped(193)
    held = mixture({"H2": (2.56,)}, stored).cropped(193)
    functional = GlobalXC(channels=3, hidden=4, layers=1, seed=0)
    fit = train_by_least_squares(functional, labels, steps=6, validation=held)
    simulator = KohnSham1D(closure=functional, points=193)
    with torch.no_grad():
        wrong = [
            simulator.energy(simulator.solve(each.molecules)) - each.energy
            for each in (labels, held)
        ]
    error = torch.cat(wrong).square().mean().sqrt()
    assert float(error) == pytest.approx(fit.validation, rel=1e-3)


def test_splits_do_not_overlap_and_leave_every_family_something_to_test():
    stored = {sample.id for sample in samples()}
    for split in SPLITS.values():
        for name, chosen in split.train.items():
            assert not set(chosen) & set(split.validation.get(name, ()))
        for part in (split.train, split.validation):
            assert {f"{n}/{r:.2f}" for n, rs in part.items() for r in rs} <= stored
    for family in FAMILIES:
        keys, _ = labels_of(family)
        assert len(set(keys.tolist()) - used(family)) >= 6
    for split, chosen in (("train", TRAIN), ("validation", VALIDATION)):
        ids = {sample.id for sample in open_dataset(HYDROGEN_1D.folder, split=split)}
        assert ids == {f"{name}/{r:.2f}" for name, rs in chosen.items() for r in rs}
    mixed = mixture({"H2": (1.28,), "H4": (2.08,), "H2+": (0.64,)})
    assert mixed.molecules.charges.sum(-1).tolist() == [2.0, 4.0, 2.0]
    assert mixed.molecules.electrons.tolist() == [2, 4, 1]


def test_labels_that_are_not_there_are_said_in_one_line():
    with pytest.raises(InputError, match=r"H2 at 1\.3 bohr .* nearest is at 1\.28"):
        labels_of("H2", [1.28, 1.3])
    with pytest.raises(InputError, match="family 'H3'"):
        labels_of("H3")


@pytest.mark.parametrize("words", ["--restarts 0", "--density-weight nan", "--seeds -1", "--out F"])
def test_mistakes_in_the_recipe_are_one_line(words, monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[3] / "recipes")
    recipe = importlib.import_module("kohn_sham_1d")
    (tmp_path / "F").touch()
    monkeypatch.chdir(tmp_path)
    assert recipe.main(words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {words}")
    assert said.count("\n") == 1
