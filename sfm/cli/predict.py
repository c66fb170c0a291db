"""`sfm predict MODEL INPUT`: quantities with units and uncertainty."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sfm.cli.inputs import add_compiled, add_extrapolate, add_model_and_input
from sfm.cli.rows import add_skip, skipping

XYZ = (".extxyz", ".xyz")


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm predict`."""
    add_model_and_input(parser)
    add_skip(parser)
    parser.add_argument(
        "--domain", help="treat the systems as this domain's (default: the file's, or the level's)"
    )
    parser.add_argument("--level", help="only this level of theory")
    parser.add_argument(
        "--quantity", action="append", metavar="NAME", help="only this quantity; may be repeated"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help=".npz, .h5 or .extxyz")
    add_extrapolate(parser)
    add_compiled(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.epilog = "example: sfm predict sfm-tiny molecule.xyz --json"
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Predict and print."""
    from sfm.cli.inputs import refuse_missing_input
    from sfm.cli.output import emit_json, input_warnings, note, warn
    from sfm.cli.results import refuse_no_arrays

    refuse_missing_input(arguments.input)
    if arguments.output:
        refuse_no_arrays(arguments.output, *XYZ)
    note(f"loading {arguments.model}")
    from sfm.model import FoundationModel

    model = FoundationModel.from_pretrained(arguments.model)
    told: list[str] = []
    with input_warnings(told), skipping(arguments) as skipped:
        answers = model.predict(
            arguments.input,
            domain=arguments.domain,
            level=arguments.level,
            quantities=arguments.quantity,
            extrapolate=arguments.extrapolate,
            compiled=arguments.compiled,
        )
    predictions = answers if isinstance(answers, list) else [answers]
    if arguments.output:
        _write(arguments.output, predictions)
    systems = [_entry(p, arguments.output) for p in predictions]
    warnings = [*told, *dict.fromkeys(w for s in systems for w in s["warnings"])]
    if skipped.rows:
        warnings.append(skipped.summary())
    if arguments.json:
        body: dict[str, Any] = {"part": model.config.name}
        if arguments.skip_errors or arguments.max_errors is not None:
            body["skipped"] = skipped.rows
        if len(systems) == 1:
            emit_json({**body, **systems[0], "warnings": warnings})
        else:
            emit_json({**body, "systems": systems, "warnings": warnings})
        return 0
    _print(systems)
    warn(warnings)
    return 0


def _entry(prediction: Any, output: Path | None) -> dict[str, Any]:
    from sfm.cli.results import quantity

    warnings = list(prediction.warnings)
    entries = {}
    for name, value in prediction.items():
        entry = quantity(name, value, prediction.units[name], path=output, warnings=warnings)
        entry["level"] = prediction.levels[name]
        if name in prediction.uncertainty:
            entry["uncertainty"] = _uncertainty(prediction.uncertainty[name])
        entries[name] = entry
    return {
        "id": prediction.id,
        "domain": prediction.domain,
        "quantities": entries,
        "warnings": warnings,
    }


def _uncertainty(sigma: Any) -> Any:
    """A number, or a list of one for each row; of many rows the least, mean and largest."""
    from sfm.cli.results import PRINTED, as_array, summary_of

    array = as_array(sigma)
    return array.tolist() if array.size <= PRINTED else summary_of(array)


def _error_text(sigma: Any) -> str:
    """`± 0.1`, or the range of several."""
    if sigma is None:
        return ""
    if isinstance(sigma, float):
        return f"± {sigma:.2g}"
    ends = (sigma["min"], sigma["max"]) if isinstance(sigma, dict) else (min(sigma), max(sigma))
    return f"± {ends[0]:.2g} to {ends[1]:.2g}"


def _print(systems: list[dict[str, Any]]) -> None:
    from sfm.cli.output import table
    from sfm.cli.results import text_of

    rows = []
    for system in systems:
        for name, entry in system["quantities"].items():
            rows.append(
                (
                    system["id"],
                    name,
                    text_of(entry),
                    _error_text(entry.get("uncertainty")),
                    entry["unit"],
                    "x".join(map(str, entry["shape"])),
                    entry["level"],
                )
            )
    table(rows, ("system", "quantity", "value", "±", "unit", "shape", "level"))


def _write(path: Path, predictions: list[Any]) -> None:
    from sfm.cli.output import note
    from sfm.cli.results import write_arrays

    if path.suffix.lower() in XYZ:
        from sfm.data.extxyz import write_extxyz

        write_extxyz(path, [_labelled(p) for p in predictions])
    else:
        many = len(predictions) > 1
        arrays, units = {}, {}
        for number, prediction in enumerate(predictions):
            for name, value in prediction.items():
                key = f"{number}/{name}" if many else name
                arrays[key], units[key] = value, prediction.units[name]
        write_arrays(path, arrays, units)
    note(f"wrote {path}")


def _labelled(prediction: Any) -> Any:
    levels = list(dict.fromkeys(prediction.levels.values()))
    return prediction.sample.replace(
        labels=dict(prediction.items()), level=levels[0] if len(levels) == 1 else None
    )
