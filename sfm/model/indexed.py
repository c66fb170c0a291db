"""The trunk's features of a whole dataset, one row per structure, computed once and kept.

They go to the cache (`SFM_CACHE`) under a name that is made of the model's weights, the dataset's
files, the encoder and the level, so that another model or another build never reads them.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sfm.data.atomic import atomic
from sfm.data.rows import Skipped, collecting
from sfm.data.sample import Sample
from sfm.data.storage import Dataset, cache_dir, stamp
from sfm.errors import InputError, SfmError, SfmWarning
from sfm.model.inputs import token_batches
from sfm.nn.pooling import pool
from sfm.progress import report

if TYPE_CHECKING:
    from sfm.model.foundation import FoundationModel
    from sfm.nn.encoder import Encoder

FORMAT = 1
CHUNK = 512  # structures between two words of progress


@dataclass(frozen=True)
class Indexed:
    """Features of the structures of some data.

    Attributes:
        features: (S, C) float32, mean over the tokens of the last layer's scalars.
        samples: (S,) int64, index of each structure's first sample in the data.
        left_out: one line for each structure that the encoder cannot read.
    """

    features: np.ndarray
    samples: np.ndarray
    left_out: tuple[str, ...] = ()


def indexed(
    model: FoundationModel, data: Dataset | Sequence[Sample], encoder: str, level: str
) -> Indexed:
    """Features of all structures of `data`; of a dataset on disk from the cache, if they are there.

    Args:
        model: gives the features.
        data: a dataset, or samples; labels of one structure at several levels count once.
        encoder: name of the encoder.
        level: level of theory that routes the experts.

    Raises:
        InputError: the encoder can read none of them.
    """
    place = _place(model, data, encoder, level) if isinstance(data, Dataset) else None
    if place is not None and place.is_file():
        with np.load(place, allow_pickle=False) as kept:
            return Indexed(kept["features"], kept["samples"], tuple(kept["left_out"].tolist()))
    result = _computed(model, data, encoder, level)
    if place is not None:
        _keep(result, place)
    return result


def _computed(
    model: FoundationModel, data: Dataset | Sequence[Sample], encoder: str, level: str
) -> Indexed:
    rows = data.rows if isinstance(data, Dataset) else np.arange(len(data))
    first = np.unique(rows, return_index=True)[1]
    features: list[np.ndarray] = []
    kept: list[int] = []
    skipped = Skipped()
    reader = model.encoder(encoder)
    for start in range(0, len(first), CHUNK):
        report("features of structure", start, len(first))
        numbers = first[start : start + CHUNK]
        chunk = [(int(i), data[int(i)]) for i in numbers]
        chunk = [(i, s) for i, s in chunk if _readable(reader, s, skipped)]
        with collecting(skipped), torch.no_grad():
            for places, tokens in token_batches(model, encoder, [s for _, s in chunk], level):
                out = model.features({encoder: tokens})[encoder]
                features.append(pool(out.scalars, out, "mean").float().cpu().numpy())
                kept += [chunk[place][0] for place in places]
    if not kept:
        why = f"; {skipped.rows[0]}" if skipped.rows else ""
        raise InputError(f"encoder '{encoder}' can read no system of the data{why}")
    return Indexed(np.concatenate(features), np.array(kept), tuple(skipped.rows))


def _readable(encoder: Encoder, sample: Sample, skipped: Skipped) -> bool:
    if encoder.accepts(sample):
        return True
    skipped.add(InputError(f"{sample.id}: the encoder does not take it"))
    return False


def _keep(result: Indexed, place: Path) -> None:
    """Into the cache; where that cannot be written they are computed again next time."""
    lines = np.array(result.left_out, dtype=np.str_)
    try:
        with atomic(place) as scratch:
            np.savez(scratch, features=result.features, samples=result.samples, left_out=lines)
    except SfmError as error:
        text = f"features were not kept: {error} (SFM_CACHE names another place)"
        warnings.warn(text, SfmWarning, stacklevel=3)


def _place(model: FoundationModel, data: Dataset, encoder: str, level: str) -> Path:
    digest = hashlib.sha256()
    for part in (FORMAT, stamp(data.paths), data.split, data.level, encoder, level, model.dtype):
        digest.update(f"{part}|".encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return cache_dir() / "features" / f"{digest.hexdigest()[:24]}.npz"
