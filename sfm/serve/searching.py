"""Nearest structures of an installed dataset for the page: what `sfm neighbours` says, to draw."""

from __future__ import annotations

from typing import Any

from sfm.serve.desk import Desk
from sfm.serve.predicting import atoms, fields, names_box, systems_of
from sfm.serve.snippets import neighbours_command, neighbours_python


def neighbours(
    desk: Desk,
    *,
    model: str,
    name: str,
    content: bytes,
    dataset: str,
    count: int = 5,
    level: str | None = None,
    extrapolate: bool = False,
) -> dict[str, Any]:
    """The job `neighbours`: of every system of the file, the nearest ones of a dataset.

    Args:
        desk: holds the models.
        model: one of them.
        name, content: the file.
        dataset: `plugin/part`, never a folder.
        count: how many neighbours.
        level: level of theory that routes the experts.
        extrapolate: answer outside the training data too.

    Raises:
        PluginError: no such dataset.
        InputError: as `FoundationModel.neighbours`; more systems or atoms than this page takes.
        OutsideError: outside the model's training data.
    """
    import sfm
    from sfm.cli.neighbours import entry

    loaded = desk.model(model)
    data = sfm.dataset(dataset)
    samples, asked = systems_of(name, content, desk.limits)
    samples = [s.replace(domain=data.domain) for s in samples]
    with names_box():
        hoods = loaded.neighbours(samples, data, count=count, level=level, extrapolate=extrapolate)
    systems = []
    for hood in hoods:
        body = entry(hood)
        for row, near in zip(body["neighbours"], hood.neighbours, strict=True):
            row |= {"atoms": atoms(near.sample), "fields": fields(near.sample)}
        systems.append(body)
    return {
        "systems": systems,
        "warnings": list(dict.fromkeys(w for s in systems for w in s["warnings"])),
        "command": neighbours_command(model, asked, dataset, count, level, extrapolate),
        "python": neighbours_python(model, asked, dataset, count, level, extrapolate),
    }
