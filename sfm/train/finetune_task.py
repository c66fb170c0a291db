"""What is fine-tuned on: the user's labels as a task for one of the model's encoders."""

from __future__ import annotations

from collections.abc import Sequence

from sfm.errors import InputError, did_you_mean
from sfm.model import FoundationModel
from sfm.nn.head_classes import head_class
from sfm.recipe import FinetuneRecipe, Goal
from sfm.registry import parts
from sfm.train.build import heads_of
from sfm.train.sources import Source
from sfm.train.tasks import TaskData

WEIGHTS = {"forces": 10.0}


def make_task(
    model: FoundationModel,
    source: Source,
    target: str | Sequence[str] | None,
    recipe: FinetuneRecipe,
    *,
    encoder: str | None = None,
    level: str | None = None,
) -> TaskData:
    """The source as a task for one of the model's encoders.

    `level` chooses the labels of that level, if the source has it, and else is what the level of
    its labels is called.

    Raises:
        InputError: no such label, no encoder, or no samples; labels of several levels, and none of
            them is `level`.
    """
    quantities = [target] if isinstance(target, str) else list(target or source.quantities)
    for one in quantities:
        if one not in source.quantities:
            raise InputError(
                f"{source.name}: no labels '{one}' (it has: {', '.join(source.quantities)})."
                f"{did_you_mean(one, source.quantities)} A quantity of your own needs its kind, "
                "--intensive or --extensive, and --unit UNIT where its header has none"
            )
    quantities = [q for q in quantities if not q.endswith("_uncertainty")]
    derived = [q for q in ("forces", "stress") if q in quantities]
    if derived and "energy" not in quantities:
        raise InputError(f"'{derived[0]}' is a derivative of the energy: add 'energy' as a target")
    if "energy" in quantities and isinstance(target, str):
        quantities += [q for q in ("forces", "stress") if q in source.quantities]
    name = encoder or _encoder(model, source, quantities)
    model.encoder(name)
    present = [(v, q) for v, q in source.present if q in quantities]
    relabel = None
    if level in {v for v, _ in present}:
        present = [(v, q) for v, q in present if v == level]
    elif level is not None:
        levels = {v for v, _ in present}
        if len(levels) > 1:
            raise InputError(
                f"{source.name}: its labels have {len(levels)} levels of theory "
                f"({', '.join(sorted(levels))}); they cannot all be '{level}'"
            )
        relabel = dict.fromkeys(levels, level)
    goals = {q: recipe.weights.get(q, Goal(weight=WEIGHTS.get(q, 1.0))) for q in quantities}
    task = source.task(name, present, goals=goals, relabel=relabel)
    for split in ("train", "test"):
        if not len(task.split(split)):
            raise InputError(f"{source.name}: no samples in the split '{split}'")
    _check_heads(model, task)
    return task


def _check_heads(model: FoundationModel, task: TaskData) -> None:
    """Whether the encoder makes what the heads of the task's quantities read, before it starts.

    Raises:
        InputError: it does not; other encoders of the domain are named.
    """
    extras = model.encoder(task.encoder).tokenize(task.train[0]).extras
    for spec in heads_of(task):
        missing = [name for name in head_class(spec.part).needs if name not in extras]
        if missing:
            others = [p.full_name for p in parts("encoders", domain=task.domain)]
            named = ", ".join(p for p in others if p != task.encoder) or "none installed"
            raise InputError(
                f"{task.name}: '{spec.quantity}' needs {', '.join(missing)} of the encoder, which "
                f"'{task.encoder}' of model '{model.config.name}' does not make; take a model with "
                f"another encoder of {task.domain} ({named}), or pretrain one"
            )


def _encoder(model: FoundationModel, source: Source, quantities: Sequence[str]) -> str:
    sample = source.splits["train"][0] if len(source.splits["train"]) else None
    fitting = [
        name
        for name, domain in model.config.encoder_domains.items()
        if domain == source.domain and (sample is None or model.encoder(name).accepts(sample))
    ]
    if not fitting:
        raise InputError(
            f"{source.name} belongs to domain '{source.domain}'; model '{model.config.name}' has "
            f"encoders for {', '.join(model.domains)}"
        )
    heads = {h.key for h in model.config.heads}
    return max(fitting, key=lambda name: sum(f"{name}:{q}" in heads for q in quantities))
