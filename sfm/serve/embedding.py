"""A model's features of an input for the page: what `sfm embed` writes, to look at and download."""

from __future__ import annotations

from typing import Any

from sfm.serve.desk import Desk
from sfm.serve.numbers import plain
from sfm.serve.predicting import names_box, systems_of
from sfm.serve.snippets import embed_command, embed_python


def embed(
    desk: Desk,
    *,
    model: str,
    name: str,
    content: bytes,
    level: str | None = None,
    extrapolate: bool = False,
) -> dict[str, Any]:
    """The job `embed`: of every system of the file the invariant features, (C,) without unit.

    Args:
        desk: holds the models.
        model: one of them.
        name, content: the file.
        level: level of theory that routes the experts.
        extrapolate: answer outside the training data too.

    Raises:
        InputError: as `FoundationModel.embed`; more systems or atoms than this page takes.
        OutsideError: outside the model's training data.
    """
    loaded = desk.model(model)
    samples, asked = systems_of(name, content, desk.limits)
    with names_box():
        answer = loaded.embed(samples, level=level, extrapolate=extrapolate)
    embeddings = answer if isinstance(answer, list) else [answer]
    return {
        "systems": [
            {
                "id": one.id,
                "encoder": one.encoder,
                "level": one.level,
                "invariant": plain(one.invariant),
                "tokens": {kind: list(getattr(one, kind).shape) for kind in KINDS},
            }
            for one in embeddings
        ],
        "warnings": [],
        "command": embed_command(model, asked, level, extrapolate),
        "python": embed_python(model, asked, level, extrapolate),
    }


KINDS = ("scalars", "vectors", "tensors")  # of every token; their shapes are told
