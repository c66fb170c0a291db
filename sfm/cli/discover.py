"""`sfm discover FILE`: the differential equation behind a time series."""

from __future__ import annotations

import argparse
from pathlib import Path

from sfm.cli.inputs import refuse_missing


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm discover`."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="times and variables: .csv with a head, or .npz"
    )
    parser.add_argument("--method", metavar="PART", help="plugin/part; the only one if not given")
    parser.add_argument("--degree", type=int, default=2, help="highest degree of terms (default 2)")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.02,
        help="smallest share of the largest term that a term must have (default 0.02)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the ensemble behind intervals")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.epilog = "example: sfm discover lorenz.csv --degree 2"
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Find the equation and print it with units and intervals."""
    from sfm.cli.output import emit, emit_json, input_warnings, table, warn
    from sfm.errors import PluginError
    from sfm.registry import find, parts

    refuse_missing(arguments.file)
    known = [part.full_name for part in parts("discoverers")]
    if not known:
        raise PluginError(
            "no installed plugin discovers equations: pip install 'sfm-hub[dynamics]'"
        )
    part = find("discoverers", arguments.method or known[0])
    told: list[str] = []
    with input_warnings(told):
        report = part.load()(
            arguments.file,
            degree=arguments.degree,
            threshold=arguments.threshold,
            seed=arguments.seed,
        )
    report = {"part": part.full_name, **report, "warnings": [*told, *report["warnings"]]}
    if arguments.json:
        emit_json(report)
        return 0
    for line in report["equations"]:
        emit(line)
    rows = [
        (name, f"{q['value']:.6g}", "{:.4g} to {:.4g}".format(*q["interval_95"]), q["unit"])
        for name, q in report["quantities"].items()
    ]
    table(rows, ("coefficient", "value", "95% interval", "unit"))
    warn(report["warnings"])
    return 0
