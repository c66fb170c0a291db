"""Rows of the bundled sets by trajectory."""

from __future__ import annotations

from collections.abc import Iterable

from sfm.data.sample import Sample


def trajectories(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Samples by trajectory, each in order of the condition `time`.

    The id of a row is that of its trajectory, a hyphen and a number: `re125-ring-902-003`.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.id.rpartition("-")[0], []).append(sample)
    return {k: sorted(v, key=lambda s: s.conditions["time"]) for k, v in groups.items()}
