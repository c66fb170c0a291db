"""`sfm simulate SIMULATOR`: run a differentiable simulator, with or without a learned closure."""

from __future__ import annotations

import argparse
import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sfm.cli.describe import more_help
from sfm.cli.inputs import add_compiled, refuse_missing_input


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm simulate`."""
    parser.add_argument(
        "simulator", metavar="SIMULATOR", help="plugin/part: fluids/navier-stokes-2d"
    )
    parser.add_argument(
        "--describe", action="store_true", help="equation, parameters, units; no run"
    )
    parser.add_argument(
        "--input", metavar="INPUT", help="initial system or field: a file, or a SMILES string"
    )
    parser.add_argument("--index", type=int, default=0, help="which system of the file (from 0)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="K=V",
        help="parameters and settings: grid=256 viscosity=1e-3",
    )
    parser.add_argument("--steps", type=int, help="number of steps")
    parser.add_argument("--every", type=int, help="record each such step")
    parser.add_argument(
        "--history",
        action="store_true",
        help="print the iterations of a search too (--json has them anyway)",
    )
    parser.add_argument("--closure", metavar="MODEL", help="model that supplies the missing term")
    parser.add_argument("--level", help="level of theory of the closure")
    parser.add_argument(
        "--extrapolate",
        action="store_true",
        help="let the closure answer outside its training data: elements, charges, distances",
    )
    add_compiled(parser)
    parser.add_argument("--seed", type=int, help="of random initial states")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help=".npz, .h5 or the domain's own format"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help=".png; .gif, .mp4: animations")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.epilog = "example: sfm simulate fluids/navier-stokes-2d --set grid=64 viscosity=1e-3"
    parser.set_defaults(handler=run, more=more_help)


def run(arguments: argparse.Namespace) -> int:
    """Build the simulator, run it, print its observables."""
    from sfm.cli.describe import description, show_parameters
    from sfm.cli.output import emit, emit_json, input_warnings, note, warn
    from sfm.cli.run_report import print_report, run_report, unprinted
    from sfm.cli.values import parse_settings
    from sfm.data.atomic import refuse_unwritable
    from sfm.registry import find

    if arguments.input:
        refuse_missing_input(arguments.input)
    values = parse_settings(arguments.set)
    part = find("simulators", arguments.simulator)
    cls = part.load()
    if arguments.describe:
        if arguments.json:
            emit_json(description(part.full_name, cls))
        else:
            emit(cls.describe())
            show_parameters(cls)
        return 0
    _check_files(cls, arguments.plot, arguments.output)
    closure = closure_of(arguments, part.domain)
    if closure is not None:
        values["closure"] = closure
    told: list[str] = []
    with input_warnings(told), _lists(cls, values), _compiled(arguments):
        simulator, state = start(cls, part, values, arguments)
    steps = simulator.default_steps if arguments.steps is None else arguments.steps
    for path in (arguments.output, arguments.plot):
        if path is not None:
            refuse_unwritable(path)
    many = "at most " if steps and simulator.converged(state) is not None else ""
    note(f"{part.full_name}: {many}{steps} steps")
    with input_warnings(told), _lists(cls, values), _compiled(arguments):
        trajectory = simulator.run(state, steps, every=arguments.every)
    if arguments.output:
        write_run(simulator, trajectory, arguments.output)
        note(f"wrote {arguments.output}")
    if arguments.plot:
        with _named(arguments.plot) as scratch:
            simulator.plot(trajectory, scratch)
        note(f"wrote {arguments.plot}")
    report = run_report(part.full_name, simulator, trajectory, arguments.output, told)
    if arguments.json:
        emit_json(report)
    else:
        print_report(report, history=arguments.history)
        warn([*told, *trajectory.warnings, *unprinted(report)])
    # a search that was left to itself and found nothing has failed; one of N steps was asked for
    return 1 if trajectory.converged is False and arguments.steps is None else 0


@contextlib.contextmanager
def _lists(cls: Any, values: dict[str, Any]) -> Iterator[None]:
    """A parameter's list of numbers that does not fit the run is the user's, not torch's, error."""
    from sfm.errors import InputError

    try:
        yield
    except RuntimeError as error:
        names = [p.name for p in cls.parameters_spec if isinstance(values.get(p.name), list)]
        if not names:
            raise
        raise InputError(
            f"{cls.part}: {', '.join(names)} is a list, which this run cannot take "
            f"({str(error).splitlines()[0]}); give one number"
        ) from None


def _compiled(arguments: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """The closure's compiled kernels, where they were asked for."""
    if not arguments.compiled:
        return contextlib.nullcontext()
    from sfm.nn.compiled import compiled

    return compiled()


def _check_files(cls: Any, plot: Path | None, output: Path | None) -> None:
    """Refuse before the run what could not be drawn or written after it.

    Raises:
        InputError: a suffix that the simulator does not take, or a film without ffmpeg.
    """
    from sfm.cli.results import ARRAY_FILES
    from sfm.errors import InputError
    from sfm.simulate.base import Simulator
    from sfm.simulate.films import ffmpeg

    if plot is not None:
        if cls.plot is Simulator.plot:
            raise InputError(f"{plot}: {cls.part} draws no picture")
        if plot.suffix.lower() not in cls.plots_to:
            raise InputError(f"{plot}: draw to {', '.join(cls.plots_to)}, not '{plot.suffix}'")
        if plot.suffix.lower() == ".mp4":
            ffmpeg(plot)
    if output is None or output.suffix.lower() == ".npz":
        return
    overridden = cls.write is not Simulator.write
    allowed = cls.writes_to if overridden else ARRAY_FILES
    if allowed is not None and output.suffix.lower() not in allowed:
        others = ", ".join(a for a in allowed if a != ".npz")
        raise InputError(
            f"{output}: {cls.part} writes no '{output.suffix}' files; use {others} or .npz"
        )


def closure_of(arguments: argparse.Namespace, domain: str) -> Any:
    """The closure that the model named by `--closure` supplies; None without one."""
    from sfm.errors import InputError

    if arguments.closure is None:
        for flag in ("level", "extrapolate", "compiled"):
            if getattr(arguments, flag):
                raise InputError(f"--{flag} goes with --closure MODEL")
        return None
    from sfm.cli.output import note

    note(f"loading {arguments.closure}")
    from sfm.model import FoundationModel

    model = FoundationModel.from_pretrained(arguments.closure).double()
    return model.closure(domain, level=arguments.level, extrapolate=arguments.extrapolate)


def start(cls: Any, part: Any, values: dict[str, Any], arguments: argparse.Namespace) -> Any:
    """The simulator and its first state; `--seed` reaches every random number in it."""
    import torch

    from sfm.cli.output import note
    from sfm.data.label_names import not_used
    from sfm.data.readers import read_object
    from sfm.errors import InputError, InputWarning

    has_seed = any(s.name == "seed" for s in cls.settings_spec)
    if arguments.seed is not None and has_seed:
        values.setdefault("seed", arguments.seed)
    sample = None
    if arguments.input:
        samples = read_object(arguments.input, domain=part.domain)
        if not 0 <= arguments.index < len(samples):
            raise InputError(
                f"--index {arguments.index}: {arguments.input} holds {len(samples)} systems"
            )
        sample = samples[arguments.index]
        for line in not_used([sample]):
            warnings.warn(f"{sample.id}: {line}", InputWarning, stacklevel=2)
        if stated := cls.stated(sample, **values):
            note(f"from {sample.id}: {', '.join(f'{k}={_short(v)}' for k, v in stated.items())}")
            values = {**values, **stated}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0 if arguments.seed is None else arguments.seed)
        simulator = cls(**values)
        # forward only: no graph over the run, while forces by autograd still work
        simulator.requires_grad_(False)
        return simulator, simulator.state(sample)


def _short(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def write_run(simulator: Any, trajectory: Any, path: Path) -> None:
    """Write a run to a file of arrays, or in the simulator's own format."""
    from sfm.cli.results import ARRAY_FILES, write_arrays
    from sfm.cli.run_report import arrays
    from sfm.simulate.base import Simulator

    overridden = type(simulator).write is not Simulator.write
    if path.suffix.lower() == ".npz" or (path.suffix.lower() in ARRAY_FILES and not overridden):
        values, units = arrays(simulator, trajectory)
        write_arrays(path, {**values, **simulator.stating()}, units)
        return
    with _named(path) as scratch:
        simulator.write(trajectory, scratch)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[Path]:
    """`atomic`, whose errors name the file that was asked for."""
    from sfm.data.atomic import atomic
    from sfm.errors import InputError

    with atomic(path) as scratch:
        try:
            yield scratch
        except InputError as error:
            raise InputError(str(error).replace(str(scratch), str(path))) from None
