"""Fine-tuning: three modes, low-rank updates, forgetting, evaluation."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from sfm.cli import main
from sfm.config import Target
from sfm.data.convert import write_items
from sfm.data.packing import Item
from sfm.data.splits import assign
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.nn.lora import add_lora, merge_lora
from sfm.recipe import FinetuneRecipe, Lora, validate
from sfm.train.evaluate import evaluate
from sfm.train.finetune import finetune
from sfm.train.finetune_task import make_task
from sfm.train.losses import task_losses
from sfm.train.pretrain import pretrain
from sfm.train.sources import open_source
from sfm.train.transfer import grow, nearest_levels


@pytest.fixture(scope="module")
def base(make_recipe, tmp_path_factory):
    return pretrain(make_recipe(steps=60), tmp_path_factory.mktemp("base") / "model", log=False)


def settings(*overrides: str) -> FinetuneRecipe:
    training = {
        "steps": 25,
        "tokens_per_batch": 100,
        "edges_per_batch": 1000,
        "validate_every": 25,
        "log_every": 5,
        "accelerator": "cpu",
    }
    return validate(FinetuneRecipe, {"training": training, "optimizer": {"warmup": 2}}, overrides)


@pytest.mark.parametrize("mode", ["full", "head", "lora"])
def test_every_mode_lowers_the_loss_and_keeps_old_heads(base, tmp_path, mode):
    out = finetune(
        base,
        "spiders/held-webs",
        "extent",
        mode,
        tmp_path / mode,
        recipe=settings("training.steps=80", "optimizer.lr=1e-2"),
        scratch=mode == "full",
        log=False,
    )
    report = json.loads((out / "report.json").read_text())
    losses = [row["loss"] for row in report["history"] if "loss" in row]
    assert sum(losses[-4:]) < sum(losses[:4])
    assert set(report["forgetting"]["before"]) == set(report["forgetting"]["after"])
    assert report["forgetting"]["before"]["loss"] > 0
    (row,) = report["target"]
    assert row["baseline"].startswith("composition reference")
    assert (row.get("scratch_mae") is not None) == (mode == "full")
    old, new = FoundationModel.from_pretrained(base), FoundationModel.from_pretrained(out)
    assert set(old.config.targets) < set(new.config.targets)
    before, after = old.state_dict(), new.state_dict()
    frozen = all(torch.equal(before[k], after[k]) for k in before if k.startswith("trunk."))
    assert frozen == (mode == "head")
    # heads of other quantities stay, whatever the mode trains, unless it trains everything
    if mode != "full":
        key = "birds/points:energy"
        assert all(torch.equal(before[k], after[k]) for k in before if f"heads.{key}" in k)


def test_head_mode_forgets_nothing(base, tmp_path):
    out = finetune(
        base, "spiders/held-webs", "extent", "head", tmp_path / "h", recipe=settings(), log=False
    )
    forgetting = json.loads((out / "report.json").read_text())["forgetting"]
    assert forgetting["after"] == pytest.approx(forgetting["before"])


def test_a_file_with_a_new_level_starts_from_the_old_prediction(base, toy, tmp_path):
    from sfm.data.storage import open_dataset

    samples = [
        s.replace(level="better theory", labels={"energy": s.labels["energy"] + 3.0})
        for s in open_dataset(toy / "held-webs")
    ]
    out = finetune(base, samples, "energy", "full", tmp_path / "f", recipe=settings(), log=False)
    report = json.loads((out / "report.json").read_text())
    (row,) = report["target"]
    model = FoundationModel.from_pretrained(out)
    assert model.level("spiders/points", "better theory") == "better theory"
    assert row["level"] == "better theory"
    assert row["before_mae"] < 3.0
    assert report["forgetting"]["before"]


def shifted(toy, level, shift, n=40):
    """Energies of `held-webs` moved by a constant, at a level of another name."""
    from sfm.data.storage import open_dataset

    return [
        s.replace(level=level, labels={"energy": s.labels["energy"] + shift})
        for s, _ in zip(open_dataset(toy / "held-webs"), range(n), strict=False)
    ]


def test_a_new_level_is_a_copy_of_its_nearest(base, toy):
    """Of two known levels, the one whose predictions follow the labels, whatever its place."""
    old = FoundationModel.from_pretrained(base)
    part = "spiders/points"
    model = old.extended([Target(part, "wrong", "energy")])
    table = model.trunk.context_scalars.weight
    with torch.no_grad():
        noise = torch.randn(table.shape[1], generator=torch.Generator().manual_seed(2))
        table[model.context(part, "wrong")] += 10 * noise
    for level, shift in (("pair", 0.0), ("wrong", 1.0)):
        context = model.context(part, level)
        model.normalisers[f"{part}:energy"].shift[context] += shift
    task = make_task(
        model, open_source(shifted(toy, "new", 5.0), whole=False), "energy", settings()
    )
    assert nearest_levels(model, task) == {(part, "new"): (part, "pair")}
    grown, _ = grow(model, task, 0)
    new, near = grown.context(part, "new"), grown.context(part, "pair")
    assert torch.equal(grown.trunk.context_scalars.weight[new], table[near])
    assert torch.equal(grown.trunk.neighbours[new], model.trunk.neighbours[near])
    both = torch.tensor([new, near])
    weights = grown.trunk.router(*grown.trunk.contexts[both].unbind(1), both)
    assert torch.equal(weights[0], weights[1])
    key = f"{part}:energy"
    scale = grown.normalisers[key].scale
    assert torch.equal(scale[new], scale[near])
    start = evaluate(grown, task, split="test").of("energy").mae
    donor = evaluate(model, shifted(toy, "pair", 0.0), split="test").of("energy").mae
    assert start < 2 * donor + 0.1


def test_few_labels_do_not_worsen_a_known_quantity(base, toy):
    """Labels equal to the old level's: the references stay as they are, or nearly."""
    model = FoundationModel.from_pretrained(base)
    task = make_task(
        model, open_source(shifted(toy, "same", 0.0), whole=False), "energy", settings()
    )
    grown, _ = grow(model, task.limited(6, 0), 0)
    after = evaluate(grown, task, split="test").of("energy").mae
    before = evaluate(model, list(task.test), level="pair").of("energy").mae
    assert after <= 1.1 * before


def test_replay_mixes_old_tasks_in(base, tmp_path):
    recipe = settings("replay=0.5")
    out = finetune(base, "spiders/held-webs", "extent", "full", tmp_path / "r", recipe=recipe)
    history = json.loads((out / "report.json").read_text())["history"]
    assert any("nests/extent" in row for row in history)


def test_unknown_targets_and_modes_are_named(base, tmp_path):
    with pytest.raises(InputError, match=r"no labels 'extend'.*Did you mean 'extent'"):
        finetune(base, "spiders/held-webs", "extend", "full", tmp_path / "a")
    with pytest.raises(InputError, match=r"mode 'lore' is not one of auto, ridge, .*, lora"):
        finetune(base, "spiders/held-webs", "extent", "lore", tmp_path / "b")
    with pytest.raises(InputError, match="no such file, folder or dataset"):
        finetune(base, "nowhere.xyz", "extent", "full", tmp_path / "c")


def test_merged_updates_predict_the_same(base, toy):
    from sfm.data.storage import open_dataset

    model = FoundationModel.from_pretrained(base).double()
    samples = [open_dataset(toy / "held-webs")[i] for i in range(3)]
    part = "spiders/points"
    tokens = model.tokenize(part, samples, "pair")
    plain = copy.deepcopy(model)
    assert add_lora(model.trunk, Lora(rank=2), seed=0) > 0
    asked = {part: ["energy", "forces"]}
    with torch.no_grad():
        for p in (p for n, p in model.named_parameters() if n.endswith(".b")):
            p.normal_(std=0.3, generator=torch.Generator().manual_seed(2))
    updated = model({part: tokens}, asked)[part]
    merge_lora(model)
    merged = model({part: tokens}, asked)[part]
    untouched = plain({part: tokens}, asked)[part]
    assert model.state_dict().keys() == plain.state_dict().keys()
    for name in asked[part]:
        assert torch.allclose(updated[name], merged[name], rtol=1e-12, atol=1e-12)
        assert not torch.allclose(updated[name], untouched[name], rtol=1e-4)


def test_evaluation_is_in_physical_units_beside_baselines(base, toy):
    model = FoundationModel.from_pretrained(base)
    result = evaluate(model, "spiders/webs", split="train", max_samples=30)
    energy = result.of("energy")
    assert energy.unit == "eV"
    assert energy.n == 30
    assert energy.baseline.startswith("composition reference")
    assert energy.mae_per_token < energy.mae
    forces = result.of("forces")
    assert forces.values > 3 * 3 * 30
    assert forces.r2 <= 1
    # the errors again, by hand
    task_samples = list(_webs(toy))
    tokens = model.tokenize("spiders/points", task_samples, "pair")
    with torch.no_grad():
        said = model({"spiders/points": tokens}, {"spiders/points": ["energy"]})
    truth = torch.tensor([float(s.labels["energy"]) for s in task_samples], dtype=torch.float64)
    by_hand = float((said["spiders/points"]["energy"] - truth).abs().mean())
    whole = evaluate(model, "spiders/webs", split="test").of("energy")
    assert whole.mae == pytest.approx(by_hand, rel=1e-4)
    # the points of the picture are the labels as they are; the worst systems stand by name
    every = evaluate(model, "spiders/webs", split="test")
    labels, predicted = every.points[f"spiders/points:energy@{whole.level}"]
    assert np.allclose(np.sort(labels), np.sort(truth.numpy()), rtol=1e-6)
    assert float(np.abs(predicted - labels).mean()) == pytest.approx(by_hand, rel=1e-4)
    error = (said["spiders/points"]["energy"] - truth).abs().flatten() / tokens.counts()
    first = int(error.argmax())
    assert len(whole.worst) == 5
    assert whole.worst[0][0] == task_samples[first].id
    assert whole.worst[0][1] == pytest.approx(float(error[first]), rel=1e-3)
    assert whole.token == "atom"


def _webs(toy):
    from sfm.data.storage import open_dataset

    return open_dataset(toy / "webs", split="test")


def test_nothing_to_compare_is_an_error(base, toy):
    from sfm.data.storage import open_dataset

    model = FoundationModel.from_pretrained(base)
    samples = [
        open_dataset(toy / "held-webs")[0].replace(
            level="unheard", labels={"extent": open_dataset(toy / "held-webs")[0].labels["extent"]}
        )
    ]
    with pytest.raises(InputError, match="nothing to compare"):
        evaluate(model, samples)


def two_levels(toy, names=("pair", "other")):
    """Samples of `held-webs` at two levels; the second has other energies and no `extent`."""
    from sfm.data.storage import open_dataset

    first, second = names
    samples = []
    for s in open_dataset(toy / "held-webs"):
        energy = s.labels["energy"]
        samples.append(s.replace(id=f"{s.id}@{first}", level=first))
        moved = s.replace(id=f"{s.id}@{second}", level=second, labels={"energy": energy + 7.0})
        samples.append(moved)
    return samples


def test_a_level_chooses_among_the_labels_of_two(base, toy):
    model = FoundationModel.from_pretrained(base)
    both = two_levels(toy)
    alone = evaluate(model, [s for s in both if s.level == "pair"]).of("energy")
    chosen = evaluate(model, both, level="pair").of("energy")
    assert (chosen.n, chosen.mae) == (alone.n, pytest.approx(alone.mae))
    with pytest.raises(InputError, match=r"'energy' have 2 levels.*cannot all be compared"):
        evaluate(model, two_levels(toy, ("A", "B")), level="pair", quantities=["energy"])


def test_a_level_chooses_what_is_trained_on(base, toy):
    model, both = FoundationModel.from_pretrained(base), two_levels(toy)
    source = open_source(both, whole=False)
    task = make_task(model, source, "energy", settings("training.steps=2"), level="other")
    assert task.levels == ("other",)
    assert {s.level for split in ("train", "test") for s in task.split(split)} == {"other"}
    with pytest.raises(InputError, match="cannot all be 'third'"):
        make_task(model, source, "energy", settings("training.steps=2"), level="third")


def test_only_levels_with_the_target_are_trained_on(base, toy, tmp_path):
    """Of two levels, one has the target: a sample of the other would teach nothing."""
    model, both = FoundationModel.from_pretrained(base), two_levels(toy)
    recipe = settings("training.steps=2")
    write_items(tmp_path / "both", [Item(s, assign(s.id.split("@")[0])) for s in both], name="both")
    for data in (both, tmp_path / "both"):
        task = make_task(model, open_source(data, whole=False), "extent", recipe)
        for split in ("train", "validation", "test"):
            assert {s.level for s in task.split(split)} == {"pair"}
    out = finetune(base, both, "extent", "head", tmp_path / "out", recipe=recipe, log=False)
    report = json.loads((out / "report.json").read_text())
    assert [m["quantity"] for m in report["metrics"]] == ["extent"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_on_a_gpu_can_be_fine_tuned(base, tmp_path):
    model = FoundationModel.from_pretrained(base).to("cuda")
    out = finetune(
        model, "spiders/held-webs", "extent", "full", tmp_path / "g", recipe=settings(), log=False
    )
    assert model.device.type == "cuda"
    assert FoundationModel.from_pretrained(out).device.type == "cpu"


def test_training_ends_with_the_weights_of_the_best_validation(base, tmp_path):
    """At a rate that diverges, the first validations are the best ones, and it stops early."""
    recipe = settings("training.steps=60", "training.validate_every=5", "optimizer.lr=0.3")
    out = finetune(base, "spiders/webs", "arrow", "full", tmp_path / "b", recipe=recipe, log=False)
    report = json.loads((out / "report.json").read_text())
    losses = [r["validation/loss"] for r in report["history"] if "validation/loss" in r]
    assert report["steps"] == 60 or len(losses) - losses.index(min(losses)) == 5
    model = FoundationModel.from_pretrained(out)
    task = make_task(model, open_source("spiders/webs", whole=False), "arrow", recipe)
    assert task_losses(model, [task])["loss"] == pytest.approx(min(losses), rel=0.05)


def test_a_head_that_the_encoder_cannot_feed_is_refused_at_once(base, monkeypatch):
    """Its needs are named before anything starts, not missed in the first step."""
    model = FoundationModel.from_pretrained(base)
    monkeypatch.setattr("sfm.nn.head.ScalarMean.needs", ("angles",))
    with pytest.raises(InputError, match="'extent' needs angles of the encoder, which 'spiders/po"):
        make_task(model, open_source("spiders/held-webs", whole=False), "extent", settings())


def test_a_quantity_of_the_users_own(base, toy, tmp_path):
    """Defined, learned, stored: a fresh process of its own needs no plugin for it."""
    from sfm import registry
    from sfm.data.storage import open_dataset
    from sfm.quantity import Quantity

    with pytest.raises(InputError, match="no labels"):
        open_source([s.replace(labels={"fame": 1.0}) for s in open_dataset(toy / "held-webs")])
    fame = Quantity("fame", "eV", summary="user's own")
    registry.define(fame)
    try:
        samples = [
            s.replace(labels={"fame": np.asarray(float((s.types == 6).mean()))})
            for s in open_dataset(toy / "held-webs")
        ]
        out = finetune(base, samples, "fame", "ridge", tmp_path / "own", log=False)
    finally:
        registry._defined.clear()
    model = FoundationModel.from_pretrained(out)
    assert model.config.quantities["fame"] == fame
    assert registry.quantities()["fame"] == fame
    said = model.predict([samples[0]], quantities=["fame"])[0]
    assert float(said["fame"]) == pytest.approx(float(samples[0].labels["fame"]), abs=0.05)
    assert said.units["fame"] == "eV"
    registry._defined.clear()


def test_the_energy_by_itself_brings_the_forces_on_the_command_line_too(base, tmp_path):
    """A list of one target was taken as it is, and the forces of the data were dropped."""
    learned = {}
    for targets in (["energy"], ["energy", "extent"]):
        out = tmp_path / "-".join(targets)
        flags = [word for name in targets for word in ("--target", name)]
        small = ["--steps", "2", "--set", "training.tokens_per_batch=100"]
        assert main(["finetune", str(base), "--data", "spiders/held-webs", *flags, *small,
                     "--mode", "full", "--out", str(out)]) == 0  # fmt: skip
        rows = json.loads((out / "report.json").read_text())["target"]
        learned[len(targets)] = {row["quantity"] for row in rows}
    assert learned == {1: {"energy", "forces"}, 2: {"energy", "extent"}}
