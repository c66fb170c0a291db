"""`plan`: what a recipe would do, and what it would cost, from a few measured steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sfm.recipe import Recipe
from sfm.train.build import fit_normalisers, measure_neighbours, model_config, new_model
from sfm.train.data import BatchStream, MixedData
from sfm.train.memory import peak_memory
from sfm.train.module import parameter_groups
from sfm.train.objective import Objective
from sfm.train.pretrain import probabilities
from sfm.train.tasks import open_tasks
from sfm.train.through import through_terms

WARM, MEASURED = 1, 3
FIT_SAMPLES = 100


def plan(recipe: Recipe, folders: Sequence[Path | None] | None = None) -> dict[str, Any]:
    """Counts, sizes and an estimate of time and memory, for `--dry-run`. Trains nothing.

    The estimate comes from four optimiser steps on this machine with the recipe's own batches (the
    first is not counted), with references fitted on few samples. Evaluation and the reading of all
    labels come on top. Several devices are taken to be as many times as fast.

    Args:
        recipe: what to train on what.
        folders: of each task's data, where they come from a pack (`sfm.train.packed`).

    Raises:
        SfmError: whatever stops the training before its first step.
    """
    full = open_tasks(recipe, folders)
    model = new_model(model_config(full, recipe.model, recipe.name), recipe.training.seed)
    if recipe.training.precision == 64:
        model.double()
    few = [task.limited(FIT_SAMPLES, 0) for task in full]
    _, stresses = fit_normalisers(model, few)
    measure_neighbours(model, few)
    terms = through_terms(recipe, full)
    for term in terms:
        term.check(model)
    use_gpu = recipe.training.accelerator != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if use_gpu else "cpu")
    model.to(device)
    objective = Objective(model, full, stresses, terms).to(device)
    shares = probabilities(recipe, full)
    data = MixedData(model, full, recipe.training, probabilities=shares)
    stream = BatchStream(data.tokenizer, data.mixture, recipe.training, 0, 1)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.0), lr=1e-6)
    seconds, sizes = [], []
    for number in range(WARM + MEASURED):
        start = time.perf_counter()
        batch = stream.next_batch()
        objective(model, batch.to(device), step=number).total.backward()
        optimizer.step()
        optimizer.zero_grad()
        if use_gpu:
            torch.cuda.synchronize()
        if number >= WARM:
            seconds.append(time.perf_counter() - start)
        sizes.append((batch.n_systems, batch.n_tokens, batch.n_edges))
    step = float(np.mean(seconds))
    systems, tokens, edges = np.mean(sizes, axis=0)
    return {
        "name": recipe.name,
        "steps": recipe.training.steps,
        "parameters": sum(p.numel() for p in model.parameters()),
        "tasks": [
            {
                "dataset": task.name,
                "encoder": task.encoder,
                "levels": list(task.levels),
                "quantities": list(task.goals),
                "train": len(task.train),
                "validation": len(task.validation),
                "test": len(task.test),
                "share": float(share),
            }
            for task, share in zip(full, data.token_shares, strict=True)
        ],
        "batch": {"systems": float(systems), "tokens": float(tokens), "edges": float(edges)},
        "estimate": {
            "seconds_per_step": step,
            "training_seconds": step * recipe.training.steps / recipe.training.devices,
            "memory_bytes": _peak_memory(device),
            "device": device.type,
            "method": f"mean of {MEASURED} measured steps of one process on this machine, over the "
            "number of devices; memory is the peak of " + ("the GPU" if use_gpu else "the process"),
        },
    }


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return peak_memory()
