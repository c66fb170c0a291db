"""The loss, the references and the averaged weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from sfm.errors import RecipeError, RunError
from sfm.recipe import Goal, OptimizerSection, parse
from sfm.train.build import fit_normalisers, measure_neighbours, model_config, new_model
from sfm.train.data import BatchStream, MixedData
from sfm.train.ema import Ema
from sfm.train.module import parameter_groups
from sfm.train.objective import Objective, shaped
from sfm.train.schedule import lr_factor
from sfm.train.tasks import open_tasks


@pytest.fixture
def first_batch(recipe):
    chosen = recipe()
    tasks = open_tasks(chosen)
    model = new_model(model_config(tasks, chosen.model, "toy"), 0).double()
    _, stresses = fit_normalisers(model, tasks)
    objective = Objective(model, tasks, stresses)
    data = MixedData(model, tasks, chosen.training)
    stream = BatchStream(data.tokenizer, data.mixture, chosen.training, 0, 1)
    # one that lacks some labels
    batch = next(b for b in stream if not b.labels["spiders/points"]["arrow"].mask.all())
    return tasks, model, objective, batch


def test_the_loss_is_what_its_docstring_says(first_batch):
    tasks, model, objective, batch = first_batch
    losses = objective(model, batch)
    total = 0.0
    for part, by_name in batch.labels.items():
        tokens = batch.tokens[part]
        values = model({part: tokens}, {part: list(by_name)})[part]
        starts = np.cumsum([0, *tokens.counts().tolist()])
        for name, labels in by_name.items():
            scale = float(
                model.normalisers[f"{part}:{'energy' if name == 'forces' else name}"].scale[
                    tokens.context[0], 0
                ]
            )
            each, task = [], tasks[int(batch.tasks[part][0])]
            for s in range(tokens.n_systems):
                rows = slice(starts[s], starts[s + 1]) if name == "forces" else slice(s, s + 1)
                if not labels.mask[s]:
                    continue
                error = values[name].detach().numpy()[rows].reshape(rows.stop - rows.start, -1)
                error = (error - labels.values.numpy()[rows]) / scale
                length = np.linalg.norm(error, axis=1) / error.shape[1] ** 0.5
                if name == "energy":
                    length = length / (starts[s + 1] - starts[s])
                if task.goals[name].loss == "huber":
                    length = np.where(length < 1, length**2 / 2, length - 0.5)
                each.append(length.mean())
            total += task.weight * task.goals[name].weight * float(np.mean(each))
    assert losses.total.item() == pytest.approx(total, rel=1e-10)


def test_huber_is_smooth_at_one():
    x = torch.tensor([1 - 1e-9, 1 + 1e-9], dtype=torch.float64, requires_grad=True)
    y = shaped(x, "huber")
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert y.tolist() == pytest.approx([0.5, 0.5])
    assert slope.tolist() == pytest.approx([1, 1])


def test_missing_labels_have_no_gradient(first_batch):
    _, model, objective, batch = first_batch
    part = "spiders/points"
    labels = batch.labels[part]["arrow"]
    missing = int(torch.nonzero(~labels.mask)[0])
    changed = labels.values.clone()
    changed[missing] = 1e6
    other = dataclasses.replace(
        batch,
        labels={
            **batch.labels,
            part: {**batch.labels[part], "arrow": dataclasses.replace(labels, values=changed)},
        },
    )
    assert objective(model, batch).total.item() == objective(model, other).total.item()


def test_a_diverged_prediction_names_sample_and_quantity(first_batch):
    _, model, objective, batch = first_batch
    with torch.no_grad():
        model.heads["birds/points:extent"].readout.outer.weight.fill_(torch.nan)
    first = batch.tokens["birds/points"].ids[0]
    with pytest.raises(RunError, match=f"{first}: the predicted 'extent' is not a finite number"):
        objective(model, batch)


def test_planted_references_and_force_scale_are_recovered(first_batch):
    tasks, model, _, _ = first_batch
    samples = list(tasks[0].train)
    normaliser = model.normalisers["spiders/points:energy"]
    forces = np.concatenate([s.labels["forces"].ravel() for s in samples])
    assert float(normaliser.scale[0]) == pytest.approx(float(np.sqrt((forces**2).mean())))
    # planted: -13.5, -1029.25, -2041.5 eV; the bonds of about -1 eV per atom stay in the fit
    shift = normaliser.shift[0, :, 0].numpy()
    for kind, planted in {1: -13.5, 6: -1029.25, 8: -2041.5}.items():
        assert shift[kind] == pytest.approx(planted, abs=2.5)
    assert normaliser.scale.dtype == torch.float64


def test_mean_neighbours_are_measured(first_batch):
    tasks, model, _, _ = first_batch
    before = model.trunk.neighbours.clone()
    measure_neighbours(model, tasks)
    assert (model.trunk.neighbours != before).all()
    assert ((model.trunk.neighbours >= 1) & (model.trunk.neighbours < 6)).all()


def test_averaged_weights():
    layer = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(layer.weight)
    ema = Ema(0.5)
    ema.start(layer)
    expected = torch.zeros(1, 2)
    for n in range(4):
        with torch.no_grad():
            layer.weight.add_(1.0)
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
        ema.update(layer)
    with ema.averaged(layer):
        assert torch.allclose(layer.weight, expected)
    assert (layer.weight == 4).all()
    ema.apply(layer)
    assert torch.allclose(layer.weight, expected)


def test_learning_rate_warms_up_and_decays():
    section = OptimizerSection(lr=1.0, warmup=4, final=0.1)
    rates = [lr_factor(s, section, 20) for s in range(21)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[-1] == pytest.approx(0.1)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_embeddings_biases_and_norms_have_no_weight_decay(first_batch):
    _, model, _, _ = first_batch
    groups = parameter_groups(model, 0.1)
    free = {id(p) for g in groups if g["weight_decay"] == 0 for p in g["params"]}
    assert id(model.trunk.types.weight) in free
    assert id(model.trunk.router.level_logits) in free
    assert id(model.trunk.layers[0].outer.weight) not in free
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_two_kinds_of_loss_for_one_quantity_are_refused(first_batch, recipe):
    """Errors of one encoder's quantity are measured together, so there is one kind."""
    tasks, model, _, _ = first_batch
    other = dict(tasks[0].goals) | {"energy": Goal(loss="square")}
    again = dataclasses.replace(tasks[0], name="again", goals=other)
    said = r"'energy' through 'spiders/points' is 'norm' for .*spiders/.* and 'square' for "
    with pytest.raises(RecipeError, match=said + "again"):
        Objective(model, [*tasks, again])
    values = recipe().to_dict()
    values["tasks"].append(
        {"dataset": "spiders/webs", "quantities": {"energy": {"weight": 1, "loss": "square"}}}
    )
    with pytest.raises(RecipeError, match=said + "spiders/webs"):
        parse(values)
