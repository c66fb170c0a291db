"""`transformers.pipeline("sfm", model=...)` and `"sfm-features"`: our classes, no remote code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfm.auto.classes import AutoSFM, SFMConfig
from sfm.errors import InputError


@dataclass(frozen=True)
class Loaded:
    """A model, and the config that transformers asks it for."""

    model: Any
    config: SFMConfig


class Loader:
    """What `pipeline` calls to load a model by its name."""

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **options: Any) -> Loaded:
        """As `AutoSFM`; `pipeline` adds `dtype="auto"` by itself, which models are loaded in."""
        if options.get("dtype") in (None, "auto"):
            options.pop("dtype", None)
        return Loaded(AutoSFM.from_pretrained(name_or_path, **options), SFMConfig())


class SFMPipeline:
    """The task `sfm`: what a model says of systems, as `FoundationModel.predict`.

    Args:
        model: loaded by `pipeline`, or a model of sfm.
        task: its name.
        device: a device of torch, or a number as transformers has them (-1: the CPU).
    """

    _load_tokenizer = _load_processor = _load_feature_extractor = False
    _load_image_processor = _load_video_processor = False

    def __init__(self, *, model: Any, task: str = "", device: Any = None, **options: Any) -> None:
        # transformers adds `dtype="auto"` by itself
        given = [k for k, v in options.items() if v is not None and (k, v) != ("dtype", "auto")]
        if given:
            raise InputError(f"pipeline '{task}' does not take {', '.join(given)}")
        self.task = task
        self.model = model.model if isinstance(model, Loaded) else model
        if device is not None:
            self.model.to("cpu" if device == -1 else device)

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Predictions of `inputs`: files, SMILES, atoms, ...; one for one, a list for several."""
        return self.model.predict(inputs, **options)


class SFMFeatures(SFMPipeline):
    """The task `sfm-features`: embeddings of systems, as `FoundationModel.embed`."""

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Features of `inputs`, without unit; one `Embedding` for one, a list for several."""
        return self.model.embed(inputs, **options)


TASKS = {"sfm": SFMPipeline, "sfm-features": SFMFeatures}


def add(registry: Any) -> None:
    """Put our tasks into transformers' `PIPELINE_REGISTRY`; again changes nothing."""
    for task, pipeline in TASKS.items():
        if task not in registry.supported_tasks:
            registry.register_pipeline(task, pipeline_class=pipeline, pt_model=Loader)
