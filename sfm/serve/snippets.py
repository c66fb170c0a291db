"""What a user types to do the same as the page: a command line, and Python."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

SMILES = "molecules.smi"  # the name of typed text


def typed(name: str, content: bytes) -> str:
    """The one SMILES that was typed; empty where it was a file."""
    words = content.decode("utf-8", "replace").split() if name == SMILES else []
    return words[0] if len(words) == 1 else ""


def predict_command(
    model: str, asked: str, domain: str | None, level: str | None, extrapolate: bool
) -> str:
    """The line of `sfm predict` for a file or SMILES `asked`."""
    options = {"domain": domain, "level": level, "extrapolate": extrapolate}
    return _line(["sfm", "predict", model, asked], options)


def predict_python(
    model: str, asked: str, domain: str | None, level: str | None, extrapolate: bool
) -> str:
    """Python that predicts the same."""
    given = _keywords({"domain": domain, "level": level, "extrapolate": extrapolate})
    return (
        "import sfm\n\n"
        f"model = sfm.load({model!r})\n"
        f"answer = model.predict({asked!r}{given})\n"
        "print(answer)\n"
    )


def embed_command(model: str, asked: str, level: str | None, extrapolate: bool) -> str:
    """The line of `sfm embed` for a file or SMILES `asked`."""
    words = ["sfm", "embed", model, asked, "--output", "features.npz"]
    return _line(words, {"level": level, "extrapolate": extrapolate})


def embed_python(model: str, asked: str, level: str | None, extrapolate: bool) -> str:
    """Python that gives the same features."""
    given = _keywords({"level": level, "extrapolate": extrapolate})
    return (
        "import sfm\n\n"
        f"model = sfm.load({model!r})\n"
        f"features = model.embed({asked!r}{given})\n"
        "print(features)  # of several systems a list\n"
    )


def neighbours_command(
    model: str, asked: str, dataset: str, count: int, level: str | None, extrapolate: bool
) -> str:
    """The line of `sfm neighbours` for a file or SMILES `asked`."""
    options = {"data": dataset, "count": count, "level": level, "extrapolate": extrapolate}
    return _line(["sfm", "neighbours", model, asked], options)


def neighbours_python(
    model: str, asked: str, dataset: str, count: int, level: str | None, extrapolate: bool
) -> str:
    """Python that searches the same."""
    given = _keywords({"count": count, "level": level, "extrapolate": extrapolate})
    return (
        "import sfm\n\n"
        f"model = sfm.load({model!r})\n"
        f"answer = model.neighbours({asked!r}, {dataset!r}{given})\n"
        "for near in answer.neighbours:\n"
        "    print(near.id, near.distance)\n"
        "    for label in near.labels:\n"
        "        print(label.quantity, label.value, label.unit, label.level)\n"
    )


def _line(words: Sequence[str], options: Mapping[str, Any]) -> str:
    """A command line with those options that are given."""
    flags = [
        [f"--{name}"] if value is True else [f"--{name}", str(value)]
        for name, value in options.items()
        if value
    ]
    return shlex.join([*words, *chain.from_iterable(flags)])


def _keywords(options: Mapping[str, Any]) -> str:
    """Those options that are given, as they stand behind the arguments of a call."""
    return "".join(f", {name}={value!r}" for name, value in options.items() if value)


def _text(value: Any) -> str:
    """A value as `--set` reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def simulate_command(
    simulator: str,
    values: Mapping[str, Any],
    given: Mapping[str, Any],
    extrapolate: bool,
    path: Path | None,
) -> list[str]:
    """The words of `sfm simulate`.

    Args:
        simulator: `plugin/part`.
        values: parameters and settings.
        given: `steps`, `every`, `seed`, `closure`, `level`, where given.
        extrapolate: whether the closure may.
        path: input file.
    """
    words = ["sfm", "simulate", simulator]
    words += ["--input", str(path)] if path is not None else []
    words += ["--set", *(f"{k}={_text(v)}" for k, v in values.items())] if values else []
    for name, value in given.items():
        words += [f"--{name}", str(value)]
    return words + (["--extrapolate"] if extrapolate else [])


def simulate_python(part: Any, arguments: Any, values: Mapping[str, Any], name: str | None) -> str:
    """Python that builds the same simulator and state, and runs as many steps.

    Args:
        part: the simulator's `sfm.registry.Part`.
        arguments: those of `sfm simulate`.
        values: parameters and settings, as the command line has read them.
        name: of the input file.
    """
    cls = part.load()
    has_seed = any(setting.name == "seed" for setting in cls.settings_spec)
    given = dict(values)
    if arguments.seed is not None and has_seed:
        given.setdefault("seed", arguments.seed)
    keywords = [f"{key}={value!r}" for key, value in given.items()]
    lines = ["import torch", "", "import sfm"]
    lines += ["from sfm.registry import find", ""] if name is not None else [""]
    if arguments.closure is not None:
        options = [repr(part.domain)]
        options += [f"level={arguments.level!r}"] if arguments.level else []
        options += ["extrapolate=True"] if arguments.extrapolate else []
        lines.append(f"model = sfm.load({arguments.closure!r}).double()")
        keywords.append(f"closure=model.closure({', '.join(options)})")
    if name is not None:
        index = arguments.index
        lines.append(f"sample = sfm.read({name!r}, domain={part.domain!r})[{index}]")
        make = ", ".join(["sample", *keywords])
        build, state = (
            f'find("simulators", "{part.full_name}").load().from_sample({make})',
            "sample",
        )
    else:
        make = ", ".join([f'"{part.full_name}"', *keywords])
        build, state = f"sfm.simulator({make})", ""
    steps = cls.default_steps if arguments.steps is None else arguments.steps
    every = f", every={arguments.every}" if arguments.every is not None else ""
    lines += [
        f"torch.manual_seed({arguments.seed or 0})  # as the command line does",
        f"simulator = {build}",
        "simulator.requires_grad_(False)  # leave this out to differentiate through the run",
        f"run = simulator.run(simulator.state({state}), {steps}{every})",
        "for name, values in run.observables.items():",
        "    print(name, values[-1], run.units[name])",
    ]
    return "\n".join(lines) + "\n"
