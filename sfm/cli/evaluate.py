"""`sfm evaluate MODEL`: errors beside baselines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sfm.cli.labels import add_names, names_of
from sfm.cli.rows import add_skip, skipping


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm evaluate`."""
    parser.add_argument("model", metavar="MODEL", help="bundled name, folder or Hub id")
    parser.add_argument(
        "--data",
        action="append",
        metavar="FILE|DATASET",
        help="labelled systems or a dataset; may be repeated (default: all installed that fit)",
    )
    add_names(parser)
    add_skip(parser)
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--level", help="level of theory at which to ask the model")
    parser.add_argument("--encoder", help="which encoder, where several fit")
    parser.add_argument("--max-samples", type=int, help="at most this many systems of each")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE|DIR", help="parity plots: a .png, or DIR/parity.png"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.epilog = "example: sfm evaluate sfm-tiny --data crystals/crystals-forces --plot plots"
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate on each set and print one table."""
    from sfm.cli.inputs import refuse_missing_data
    from sfm.cli.output import emit_json, note, warn
    from sfm.cli.pretrain import show_metrics
    from sfm.data.atomic import atomic, refuse_unwritable

    plot = None if arguments.plot is None else _picture(arguments.plot)
    if plot is not None:
        refuse_unwritable(plot)
    for data in arguments.data or ():
        refuse_missing_data(data)
    note(f"loading {arguments.model}")
    from sfm.model import FoundationModel
    from sfm.train.report import plot_parity

    model = FoundationModel.from_pretrained(arguments.model)
    metrics, points, warnings = _evaluate(model, arguments)
    rows = [m.to_dict() for m in metrics]
    if plot is not None:
        with atomic(plot) as scratch:
            plot_parity(points, metrics, scratch)
        note(f"wrote {plot}")
    if arguments.json:
        report = {"part": model.config.name, "split": arguments.split, "metrics": rows}
        emit_json({**report, "plot": plot, "warnings": warnings})
    else:
        show_metrics(rows)
        warn(warnings)
    return 0


def _picture(path: Path) -> Path:
    """The file of the parity plots.

    Raises:
        InputError: it is to be of another format than PNG.
    """
    from sfm.errors import InputError

    if path.suffix.lower() == ".png" and not path.is_dir():
        return path
    if path.suffix and not path.is_dir():
        raise InputError(f"{path}: draw to .png, not '{path.suffix}', or name a folder")
    return path / "parity.png"


def _evaluate(
    model: Any, arguments: argparse.Namespace
) -> tuple[list[Any], dict[str, Any], list[str]]:
    from sfm.cli.output import input_warnings, note
    from sfm.errors import InputError
    from sfm.train.evaluate import evaluate

    names = names_of(arguments)
    metrics: list[Any] = []
    points: dict[str, Any] = {}
    warnings: list[str] = []
    for data in arguments.data or _installed(model):
        note(f"evaluating on {data}")
        try:
            with input_warnings(warnings), skipping(arguments) as skipped:
                outcome = evaluate(
                    model,
                    data,
                    split=arguments.split,
                    encoder=arguments.encoder,
                    level=arguments.level,
                    max_samples=arguments.max_samples,
                    names=names,
                )
            if skipped.rows:
                warnings.append(skipped.summary())
        except InputError as error:
            if arguments.data:
                raise
            warnings.append(f"{data}: {error}")
            continue
        metrics += outcome.metrics
        points |= outcome.points
    if not metrics:
        raise InputError("no installed dataset has labels that this model can say; give --data")
    return metrics, points, warnings


def _installed(model: Any) -> list[str]:
    """Datasets at hand whose quantities and levels the model was trained to say."""
    from sfm.registry import parts

    names = []
    said = {(t.level, t.quantity) for t in model.targets()}
    for part in parts("datasets"):
        if part.domain not in model.domains:
            continue
        spec = part.load()
        if spec.built and any((v, q) in said for v in spec.levels for q in spec.quantities):
            names.append(part.full_name)
    return names
