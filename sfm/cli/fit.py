"""`sfm fit SIMULATOR --data FILE --param NAME`: parameters from observations, with uncertainty."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sfm.cli.describe import more_help
from sfm.cli.inputs import refuse_missing


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm fit`."""
    parser.add_argument("simulator", metavar="SIMULATOR", help="plugin/part")
    parser.add_argument("--data", type=Path, metavar="FILE", required=True, help="observations")
    parser.add_argument(
        "--param", action="append", required=True, metavar="NAME", help="may be repeated"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="K=V",
        help="starts and fixed values of parameters, settings: --set a=1 b=2",
    )
    parser.add_argument("--max-iterations", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.epilog = (
        "example: sfm fit fluids/navier-stokes-2d --data fields.h5 --param viscosity --json"
    )
    parser.set_defaults(handler=run, more=more_help)


def run(arguments: argparse.Namespace) -> int:
    """Fit; exit code 1 if it did not converge."""
    from sfm.cli.output import emit_json, input_warnings, note, table, warn
    from sfm.cli.values import parse_settings
    from sfm.registry import find

    refuse_missing(arguments.data)
    from sfm.simulate.fit import fit

    part = find("simulators", arguments.simulator)
    simulator = part.load()(**parse_settings(arguments.set))
    told: list[str] = []
    with input_warnings(told):
        observations = simulator.read_observations(arguments.data)
    for name, guess in observations.unknowns.items():
        note(f"{name} is not given: its {guess.numel()} numbers are estimated, too")
    result = fit(
        simulator,
        observations,
        arguments.param,
        max_iterations=arguments.max_iterations,
        progress=lambda i, cost: note(f"iteration {i}: weighted sum of squares {cost:.6g}"),
    )
    report: dict[str, Any] = {
        "part": part.full_name,
        "quantities": {
            name: {
                "value": e.value.tolist(),
                "unit": e.unit,
                "shape": list(e.value.shape),
                "standard_error": e.standard_error.tolist(),
                "interval_95": [e.low.tolist(), e.high.tolist()],
            }
            for name, e in result.estimates.items()
        },
        "iterations": result.iterations,
        "converged": result.converged,
        "observations": result.n_observations,
        "residual_rms": dict(result.residual_rms),
        "warnings": [*told, *result.warnings],
    }
    if arguments.json:
        emit_json(report)
    else:
        rows = []
        for name, e in result.estimates.items():
            flat = zip(
                e.value.ravel(),
                e.standard_error.ravel(),
                e.low.ravel(),
                e.high.ravel(),
                strict=True,
            )
            for number, (value, error, low, high) in enumerate(flat):
                key = name if e.value.ndim == 0 else f"{name}[{number}]"
                rows.append(
                    (key, f"{value:.8g}", f"± {error:.2g}", f"[{low:.6g}, {high:.6g}]", e.unit)
                )
        table(rows, ("parameter", "value", "standard error", "95% interval", "unit"))
        warn(report["warnings"])
    return 0 if result.converged else 1
