"""A simulation for the page: what `sfm simulate` does, watched while it runs.

The page's choices become the words of a command line, and the command's own parser and functions
read them, so that the line which a user copies does the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from sfm.errors import InputError
from sfm.quantity import Quantity
from sfm.serve.desk import Desk
from sfm.serve.numbers import as_array, listed, picture, solid, volume
from sfm.serve.predicting import check_size
from sfm.serve.snippets import simulate_command, simulate_python
from sfm.serve.uploads import as_file

NAME = re.compile(r"[a-z][a-z0-9_]*")
SCALARS = 16  # numbers of an observable that still is a curve
PAUSE = 0.1  # seconds between two pictures
SHARE = 4.0  # a picture that took t seconds is followed by 4 t without one


def simulate(
    desk: Desk,
    *,
    simulator: str,
    values: Mapping[str, Any],
    steps: int | None = None,
    every: int | None = None,
    seed: int | None = None,
    closure: str | None = None,
    level: str | None = None,
    extrapolate: bool = False,
    name: str | None = None,
    content: bytes = b"",
    folder: str,
) -> dict[str, Any]:
    """The job `simulate`: says `start`, `progress` and `frame`, writes its results into `folder`.

    Args:
        simulator: `plugin/part`.
        values: parameters and settings.
        steps, every, seed, closure, level, extrapolate: as `sfm simulate` has them.
        name, content: a file with the initial system or field.
        folder: where results go.

    Raises:
        InputError: what `sfm simulate` refuses, and what is too large for the page.
    """
    settings = checked(values)
    if closure is not None:
        desk.model(closure)  # one of this page's
    asked = {"steps": steps, "every": every, "seed": seed, "closure": closure, "level": level}
    given = {key: value for key, value in asked.items() if value is not None}
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(as_file(name, content)) if name else None
        words = simulate_command(simulator, settings, given, extrapolate, path)
        run = _Run(desk, words, Path(folder))
        shown = simulate_command(simulator, settings, given, extrapolate, path and Path(path.name))
        code = simulate_python(run.part, run.arguments, run.values, path.name if path else None)
        desk.say("start", {"command": shown, "python": code, "steps": run.steps})
        return run.go()


def checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters and settings without anything that could name a file or a repository.

    Raises:
        InputError: another name than of a parameter, a value that is no number or plain word.
    """
    for name, value in values.items():
        if not NAME.fullmatch(name):
            raise InputError(f"'{name[:50]}' is no name of a parameter")
        if isinstance(value, str):
            if not value or len(value) > 200 or re.search(r"[/\\~\n]|^\.+$", value):
                raise InputError(
                    f"{name}={value[:50]!r}: this page takes plain words, no files or "
                    "repositories; `sfm simulate` does"
                )
        elif not isinstance(value, (bool, int, float)):
            raise InputError(f"{name}: is neither a number nor a word")
    return dict(values)


class _Run:
    """One run of `sfm simulate`, with its state held against the page's limits."""

    def __init__(self, desk: Desk, words: Sequence[str], folder: Path) -> None:
        from sfm.cli.parser import parse
        from sfm.cli.simulate import closure_of, start
        from sfm.cli.values import parse_settings
        from sfm.data.readers import read_file
        from sfm.registry import find

        self.desk, self.folder = desk, folder
        _, self.arguments = parse(list(words[1:]))
        self.part = find("simulators", self.arguments.simulator)
        cls = self.part.load()
        self.values = parse_settings(self.arguments.set)
        values = dict(self.values)
        closure = closure_of(self.arguments, self.part.domain)
        if closure is not None:
            values["closure"] = closure
        if self.arguments.input is not None:
            path = Path(self.arguments.input)
            check_size(read_file(path, domain=self.part.domain), desk.limits, path.name)
        steps = self.arguments.steps
        self.steps = cls.default_steps if steps is None else steps
        every = self.arguments.every or max(1, self.steps // 100)
        limits = desk.limits
        if self.steps > limits.steps or self.steps / every > limits.records:
            raise InputError(
                f"{self.steps} steps, recorded every {every}: this page takes {limits.steps} steps "
                f"and {limits.records} records; the command line has no limit"
            )
        self.simulator, self.state = start(cls, self.part, values, self.arguments)
        count = numbers_of(self.state)
        if count > limits.numbers:
            raise InputError(
                f"the state has {count} numbers, this page takes {limits.numbers}; the command "
                "line has no limit"
            )

    def go(self) -> dict[str, Any]:
        """Run, and write the results."""
        from sfm.cli.run_report import run_report
        from sfm.cli.simulate import write_run
        from sfm.progress import listening

        table = {q.name: q for q in self.simulator.observables}
        with _watched(self.simulator, self.desk.say, table), listening(self._progress):
            trajectory = self.simulator.run(self.state, self.steps, every=self.arguments.every)
        write_run(self.simulator, trajectory, self.folder / "run.npz")
        files = ["run.npz", *self._own_files(trajectory)]
        report = run_report(self.part.full_name, self.simulator, trajectory, Path("run.npz"))
        quantities = {
            key: {k: _plain(v) for k, v in entry.items() if k != "path"}
            for key, entry in report["quantities"].items()
        }
        return {
            "quantities": quantities,
            "converged": trajectory.converged,
            "warnings": list(report["warnings"]),
            "files": files,
        }

    def _progress(self, progress: Any) -> None:
        self.desk.say("progress", dataclasses.asdict(progress))

    def _own_files(self, trajectory: Any) -> list[str]:
        """The domain's own format and the simulator's picture, where it has them."""
        from sfm.simulate.base import Simulator

        kind, done = type(self.simulator), []
        if kind.write is not Simulator.write and kind.writes_to:
            path = self.folder / f"run{kind.writes_to[0]}"
            self.simulator.write(trajectory, path)
            done.append(path.name)
        if kind.plot is not Simulator.plot and ".png" in kind.plots_to:
            with contextlib.suppress(InputError):  # of some settings there is nothing to draw
                self.simulator.plot(trajectory, self.folder / "run.png")
                done.append("run.png")
        return done


def _plain(value: Any) -> Any:
    return listed(as_array(value)) if isinstance(value, (list, float)) else value


def numbers_of(state: Any) -> int:
    """How many numbers a state holds, whatever it is made of."""
    if hasattr(state, "numel"):
        return int(state.numel())
    if dataclasses.is_dataclass(state):
        return sum(numbers_of(getattr(state, f.name)) for f in dataclasses.fields(state))
    if isinstance(state, Mapping):
        return sum(map(numbers_of, state.values()))
    if isinstance(state, (list, tuple)):
        return sum(map(numbers_of, state))
    return 0


@contextlib.contextmanager
def _watched(simulator: Any, say: Any, table: Mapping[str, Quantity]) -> Iterator[None]:
    """Have `say` told of each record: `observe` is what every run calls for one."""
    observe, counted, due = simulator.observe, 0, 0.0

    def told(state: Any) -> Any:
        nonlocal counted, due
        observed = observe(state)
        body: dict[str, Any] = {"index": counted, "time": simulator.time(state)}
        body["scalars"] = {
            key: listed(array.ravel())
            for key, value in observed.items()
            if (array := as_array(value)).size <= SCALARS
        }
        began = time.monotonic()
        if began >= due or _converged(simulator, state):
            body |= _pictures(simulator, state, observed, table)
            ended = time.monotonic()
            due = ended + max(PAUSE, SHARE * (ended - began))
        say("frame", body)
        counted += 1
        return observed

    simulator.observe = told
    try:
        yield
    finally:
        del simulator.observe


def _converged(simulator: Any, state: Any) -> bool:
    """Whether this is the answer of a search, which is always shown."""
    with torch.no_grad():
        return bool(simulator.converged(state))


def _pictures(
    simulator: Any, state: Any, observed: Mapping[str, Any], table: Mapping[str, Quantity]
) -> dict[str, Any]:
    fields = {}
    with torch.no_grad():
        solids = dict(simulator.volumes(state))
    for key, value in observed.items():
        if key in table and table[key].per == "grid":
            drawn, body = picture(value, table[key]), solid(value, table[key])
            if drawn is not None:
                fields[key] = {**drawn, "unit": table[key].unit}
            if body is not None:
                solids[key] = body
    volumes = {name: volume(body) for name, body in solids.items()}
    return {"fields": fields, "volumes": volumes, "xyz": _xyz(simulator, state, observed)}


def _xyz(simulator: Any, state: Any, observed: Mapping[str, Any]) -> str | None:
    """The state as extended XYZ, of simulators that write that."""
    from sfm.simulate.base import Trajectory

    if ".extxyz" not in (simulator.writes_to or ()):
        return None
    one = Trajectory(
        times=torch.tensor([simulator.time(state)], dtype=torch.float64),
        time_unit=simulator.time_unit,
        states=[state],
        observables={k: v[None] for k, v in observed.items()},
        units={q.name: q.unit for q in simulator.observables},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.extxyz"
        simulator.write(one, path)
        return path.read_text(encoding="utf-8")
