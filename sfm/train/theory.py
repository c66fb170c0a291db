"""Theories beneath an energy: from what a recipe or a user calls them to what a model keeps."""

from __future__ import annotations

from pathlib import Path

from sfm.config import BaselineSpec
from sfm.errors import InputError, PluginError
from sfm.hub.resolve import bundled, locate, resolve
from sfm.model import FoundationModel
from sfm.model.adapter import digest
from sfm.model.baselines import simulator_of
from sfm.model.checkpoint import read_config
from sfm.recipe import BaselineSection
from sfm.registry import find, parts
from sfm.simulate.base import Simulator
from sfm.train.tasks import TaskData


def section_of(text: str, domain: str) -> BaselineSection:
    """What `--baseline` says: `THEORY` or `THEORY,name=value,...`.

    THEORY is a simulator, one of the `potential`s of a simulator of the domain, or a model; of a
    model, `level=...` names the level of theory.

    Raises:
        InputError: nothing has this name.
    """
    name, *pairs = text.split(",")
    values = dict(_pair(text, one) for one in pairs)
    try:
        return BaselineSection(simulator=find("simulators", name).full_name, values=values)
    except PluginError:
        pass
    for part in parts("simulators", domain=domain):
        cls = part.load()
        choices = {s.name: s.choices for s in cls.settings_spec}.get("potential", ())
        if name in choices and cls.baseline is not Simulator.baseline:
            return BaselineSection(simulator=part.full_name, values={"potential": name, **values})
    if name in bundled() or "/" in name:
        level = values.pop("level", None)
        if values:
            raise InputError(
                f"--baseline {text}: a model has level=..., and no {next(iter(values))}"
            )
        return BaselineSection(model=name, level=None if level is None else str(level))
    raise InputError(
        f"--baseline {name}: no simulator, no potential of {domain} and no model has this name; "
        "examples: uff, lennard-jones, molecules/tight-binding, "
        "crystals/lattice,potential=buckingham,table=FILE, sfm-tiny,level=GFN2-xTB"
    )


def _pair(text: str, one: str) -> tuple[str, bool | int | float | str]:
    name, equals, word = one.partition("=")
    if not equals or not name:
        raise InputError(f"--baseline {text}: '{one}' is not name=value")
    for kind in (int, float):
        try:
            return name, kind(word)
        except ValueError:
            continue
    return name, {"true": True, "false": False}.get(word, word)


def spec_of(section: BaselineSection, encoder: str, level: str) -> BaselineSpec:
    """The section as a model's config keeps it: files with their text, models with their hash.

    Raises:
        PluginError: a plugin is missing.
        InputError: a simulator without an energy, a value that it has not, a model of another
            encoder or without this level, or one that is a folder of this machine.
        HubError: the model cannot be had.
    """
    if section.model is not None:
        return _of_model(section.model, section.level, encoder, level)
    name = find("simulators", str(section.simulator)).full_name
    files = {
        key: Path(value).read_text(encoding="utf-8")
        for key, value in section.values.items()
        if isinstance(value, str) and _names_a_file(name, key) and Path(value).is_file()
    }
    values = {k: v for k, v in section.values.items() if k not in files}
    spec = BaselineSpec(encoder, level, name, values, files)
    simulator_of(spec)
    return spec


def _names_a_file(simulator: str, setting: str) -> bool:
    """Whether a setting is a path: free text that is empty by default."""
    specs = find("simulators", simulator).load().settings_spec
    return any(s.name == setting and s.default == "" and not s.choices for s in specs)


def _of_model(name: str, at: str | None, encoder: str, level: str) -> BaselineSpec:
    place = locate(name)
    if place.folder is not None and name not in bundled():
        raise InputError(
            f"baseline: '{name}' is a folder, which would not come along with the model; push it "
            "first, and name the repository"
        )
    folder = resolve(name)
    known = read_config(folder)
    asked = known.level_of(encoder, at, "energy")
    if place.repo_id is not None:  # at the commit that is here
        name = f"{place.repo_id}@{folder.name}"
    return BaselineSpec(encoder, level, model=name, model_level=asked, model_sha256=digest(folder))


def theories_of(
    base: FoundationModel, task: TaskData, section: BaselineSection | None
) -> tuple[BaselineSpec, ...]:
    """What lies beneath the energies of the task's levels: the section, else what `base` has there.

    Raises:
        InputError: the task has no energy, or `base` has learned it at one of the levels on another
            baseline or on none; what `spec_of` raises.
    """
    known = {(b.encoder, b.level): b for b in base.config.baselines}
    contexts = [(task.encoder, level) for level in task.levels]
    if section is None:
        return tuple(known[c] for c in contexts if c in known)
    if "energy" not in task.goals:
        raise InputError(
            f"{task.name}: a baseline is of the energy, which is not among the targets "
            f"({', '.join(task.goals)})"
        )
    specs = tuple(spec_of(section, *context) for context in contexts)
    learned = {t.context for t in base.config.targets if t.quantity == "energy"}
    for spec, context in zip(specs, contexts, strict=True):
        if context in learned and known.get(context) != spec:
            raise InputError(
                f"{task.name}: '{base.config.name}' learned the energy at '{spec.level}' on "
                f"{known.get(context, 'no baseline')}, not on {spec}; open a level of your own "
                "with --level NAME"
            )
    return specs
