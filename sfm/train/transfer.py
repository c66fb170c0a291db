"""Growing a pretrained model towards new data: targets, heads, references, what may move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sfm.model import FoundationModel
from sfm.nn.derive import DERIVED
from sfm.nn.normalise import design
from sfm.recipe import FinetuneRecipe
from sfm.train.build import fit_normalisers, heads_of, measure_neighbours, targets_of
from sfm.train.data import INFERENCE, Tokenizer, pack
from sfm.train.lora import add_lora
from sfm.train.tasks import TaskData, subset

REFERENCE_SAMPLES = 2_000


def grow(
    base: FoundationModel, task: TaskData, seed: int
) -> tuple[FoundationModel, dict[str, dict[int, float]]]:
    """A copy of `base` that can learn `task`, and the scales of its stress labels.

    Everything that the base knows is kept. For a new level of a known quantity, the scale is
    that of a level that the model knows, and the references are its own plus a least-squares fit of
    what is left: so training starts at the old prediction, shifted. For a new quantity, references
    and scale are fitted to the labels.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grown = base.extended(targets_of(task), heads_of(task), task.definitions)
    contexts = {grown.context(task.encoder, level) for level in task.levels}
    old = set(base.config.targets)
    kept = {name: value.clone() for name, value in grown.normalisers.state_dict().items()}
    _, stresses = fit_normalisers(grown, [task], contexts=contexts)
    known_heads = {h.key for h in base.config.heads}
    for target in targets_of(task):
        key = f"{target.encoder}:{target.quantity}"
        if target.quantity in DERIVED or key not in known_heads:
            continue
        context = grown.context(*target.context)
        alike = (t for t in base.targets(encoder=target.encoder) if t.quantity == target.quantity)
        donor = next(alike, None)
        source = context if target in old else grown.context(*donor.context) if donor else None
        if source is None:
            continue
        normaliser = grown.normalisers[key]
        for name in ("scale", "shift"):
            getattr(normaliser, name)[context] = kept[f"{key}.{name}"][source]
        if target not in old:
            _shift_to_labels(grown, task, target.level, target.quantity)
    if not {base.config.contexts.index(c) for c in base.config.contexts if c[0] == task.encoder}:
        measure_neighbours(grown, [task], contexts=contexts)
    return grown, stresses


@torch.no_grad()
def _shift_to_labels(model: FoundationModel, task: TaskData, level: str, name: str) -> None:
    """Move a scalar's references by a minimum-norm fit of label minus prediction."""
    key, quantity = f"{task.encoder}:{name}", model.config.quantities[name]
    mode = str(model.heads[key].normalisation)
    if quantity.dim != 1 or quantity.per != "system" or mode not in ("references", "standard"):
        return
    samples = [s for s in subset(task.train, REFERENCE_SAMPLES) if s.level == level]
    samples = [s for s in samples if name in s.labels]
    tokenizer = Tokenizer(model, [task], 1)
    items = [tokenizer.make(0, s) for s in samples]
    left: list[np.ndarray] = []
    for batch in pack(items, INFERENCE, tokenizer.quantities):
        batch = batch.to(model.device)
        value = model(batch.tokens, {task.encoder: [name]})[task.encoder][name].double()
        left.append((batch.labels[task.encoder][name].values[:, 0] - value).cpu().numpy())
    rest = np.concatenate(left)
    shift = model.normalisers[key].shift[model.context(task.encoder, level)]  # type: ignore[union-attr,index]
    if mode == "references":
        columns = design(quantity, [i.tokens.types.numpy() for i in items])
        solution, *_ = np.linalg.lstsq(columns, rest, rcond=1e-8)
        shift[:, 0] += torch.from_numpy(solution).to(shift)
    else:
        shift[:, 0] += float(np.median(rest))


def choose_trainable(
    model: FoundationModel,
    task: TaskData,
    recipe: FinetuneRecipe,
    *,
    new_contexts: bool,
) -> dict[str, int]:
    """Freeze what the mode keeps.

    - `full`: everything moves.
    - `head`: the heads of the target's quantities; the trunk stays bit for bit.
    - `lora`: those heads, low-rank updates in trunk and encoder, and the table rows of new levels.

    Returns:
        Numbers of trainable and of all parameters.
    """
    if recipe.mode != "full":
        model.requires_grad_(False)
        for name in task.goals:
            if name not in DERIVED:
                model.heads[f"{task.encoder}:{name}"].requires_grad_(True)
    if recipe.mode == "lora":
        add_lora(model.trunk, recipe.lora, recipe.training.seed)
        add_lora(model.encoder(task.encoder), recipe.lora, recipe.training.seed + 1)
        if new_contexts:
            # rows of other levels get no gradient and have no weight decay: they stay
            model.trunk.context_scalars.requires_grad_(True)
            model.trunk.router.level_logits.requires_grad_(True)
    parameters = list(model.parameters())
    return {
        "trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "all": sum(p.numel() for p in parameters),
    }


def limited(tasks: Sequence[TaskData], n: int) -> list[TaskData]:
    """Tasks with few training samples, for measuring scales quickly."""
    return [task.limited(n, 0) for task in tasks]
