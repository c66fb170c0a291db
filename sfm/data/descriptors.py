"""Classical descriptors of a sample: what plugins supply beside the model's own features.

A plugin's `descriptors` maps a name to a callable `(Sample) -> {descriptor: number}`. It depends on
what the sample is, not on its orientation, and leaves out (or says NaN for) what it cannot tell.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from sfm.data.sample import Sample
from sfm.registry import find, parts

KEPT = 20_000
_known: OrderedDict[tuple[str, bytes], Mapping[str, float]] = OrderedDict()


def available(encoder: str) -> list[str]:
    """Full names of the descriptor parts of the encoder's plugin."""
    plugin = encoder.partition("/")[0]
    return [part.full_name for part in parts("descriptors") if part.plugin == plugin]


def describe(part: str, sample: Sample) -> Mapping[str, float]:
    """The descriptors of one sample; the last ones asked for are remembered.

    Raises:
        PluginError: the part, or a package that it needs, is not installed.
    """
    key = (part, _fingerprint(sample))
    if key not in _known:
        _known[key] = dict(find("descriptors", part).load()(sample))
        if len(_known) > KEPT:
            _known.popitem(last=False)
    return _known[key]


def row(sample: Sample, names: Mapping[str, Sequence[str]]) -> Float[np.ndarray, " K"]:
    """(K,) float64: the named descriptors of each part, one part after another; NaN if missing."""
    values: list[float] = []
    for part, columns in names.items():
        described = describe(part, sample)
        values += [float(described.get(name, np.nan)) for name in columns]
    return np.where(np.isfinite(values), values, np.nan).astype(np.float64)


def _fingerprint(sample: Sample) -> bytes:
    cell = b"" if sample.cell is None else sample.cell.tobytes()
    conditions = repr(sorted(sample.conditions.items())).encode()
    return sample.types.tobytes() + sample.positions.tobytes() + cell + conditions
