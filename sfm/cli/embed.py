"""`sfm embed MODEL INPUT --output FILE`: features for similarity, regression, clustering."""

from __future__ import annotations

import argparse
from pathlib import Path

from sfm.cli.inputs import add_extrapolate, add_model_and_input
from sfm.cli.rows import add_skip, skipping


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm embed`."""
    add_model_and_input(parser)
    add_skip(parser)
    parser.add_argument("--output", type=Path, metavar="FILE", required=True, help=".npz or .h5")
    parser.add_argument(
        "--domain", help="treat the systems as this domain's (default: the file's, or the level's)"
    )
    parser.add_argument("--level", help="level of theory that routes the experts")
    parser.add_argument(
        "--layers",
        choices=("last", "all"),
        default="last",
        help="scalars of the last layer, or scalars and norms of all layers",
    )
    parser.add_argument(
        "--pool",
        choices=("sum", "mean", "cumulants"),
        default="mean",
        help="over the tokens of a system; cumulants: means, then deviations",
    )
    add_extrapolate(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Write invariant (systems, C) and each system's scalars, vectors and tensors."""
    import numpy as np

    from sfm.cli.inputs import refuse_missing_input
    from sfm.cli.output import emit, emit_json, input_warnings, warn
    from sfm.cli.results import refuse_no_arrays, write_arrays

    refuse_missing_input(arguments.input)
    refuse_no_arrays(arguments.output)
    from sfm.model import FoundationModel

    model = FoundationModel.from_pretrained(arguments.model)
    told: list[str] = []
    with input_warnings(told), skipping(arguments) as skipped:
        embeddings = model.embed(
            arguments.input,
            domain=arguments.domain,
            level=arguments.level,
            extrapolate=arguments.extrapolate,
            layers=arguments.layers,
            pooling=arguments.pool,
        )
    systems = embeddings if isinstance(embeddings, list) else [embeddings]
    if skipped.rows:
        told.append(skipped.summary())
    arrays = {
        "invariant": np.stack([e.invariant for e in systems]),
        "id": np.array([e.id for e in systems], dtype=bytes),
    }
    for number, e in enumerate(systems):
        for name in ("scalars", "vectors", "tensors"):
            arrays[f"{number}/{name}"] = getattr(e, name)
    write_arrays(arguments.output, arrays, {})
    if arguments.json:
        shape = list(arrays["invariant"].shape)
        invariant = {"value": None, "unit": "1", "shape": shape, "path": str(arguments.output)}
        emit_json(
            {
                "part": model.config.name,
                "systems": [e.id for e in systems],
                "quantities": {"invariant": invariant},
                "warnings": told,
            }
        )
    else:
        emit(str(arguments.output))
        warn(told)
    return 0
