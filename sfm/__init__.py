"""sfm: a plugin-based hub for scientific foundation models.

Importing it is light: torch comes with the first simulator, encoder or model.

Rooms, lowest first; each imports only rooms before it:

    version, errors, progress    what stands on nothing
    constants                    of physics
    units, quantity, formats     units; what is measured; strict JSON, YAML, npz
    plugin                       the contract of plugins
    registry                     the plugins that are installed
    config, recipe               what a model's config and a recipe may say
    data                         samples, tokens, files, batches
    autograd                     torch's node of derivatives, typed
    hub, nn, simulate            models of others; layers; simulators
    model                        encoders, trunk and heads together; saving, predictions
    engines                      a model inside torch-sim, OpenMM, i-PI
    auto                         the same through transformers' AutoModel
    train                        pretraining, fine-tuning, evaluation
    testing, scaffold            the conformance kit; what `sfm plugin new` writes
    __init__                     what `import sfm` gives
    cli                          one file per command
    serve                        the hub as a local page
    demo, __main__               `make demo`; `python -m sfm`
"""

from __future__ import annotations

from sfm.auto import watch
from sfm.errors import (
    HubError,
    InputError,
    InputWarning,
    PluginError,
    RecipeError,
    RunError,
    SfmError,
)
from sfm.version import __version__

TYPE_CHECKING = False  # without importing typing: `sfm --help` should be quick
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from sfm.data.sample import Sample
    from sfm.data.storage import Dataset
    from sfm.model import FoundationModel
    from sfm.plugin import Plugin
    from sfm.quantity import Quantity
    from sfm.simulate.base import Simulator

__all__ = [
    "HubError",
    "InputError",
    "InputWarning",
    "Plugin",
    "PluginError",
    "Quantity",
    "RecipeError",
    "RunError",
    "SfmError",
    "__version__",
    "dataset",
    "example",
    "load",
    "plugins",
    "read",
    "simulator",
]


def __getattr__(name: str) -> Any:
    # `sfm --help` needs neither
    if name == "Plugin":
        from sfm.plugin import Plugin

        return Plugin
    if name == "Quantity":
        from sfm.quantity import Quantity

        return Quantity
    raise AttributeError(f"module 'sfm' has no attribute {name!r}")


def plugins() -> dict[str, Plugin]:
    """The installed plugins that work, by name."""
    from sfm.registry import plugins as installed

    return installed()


def simulator(name: str, **values: Any) -> Simulator:
    """The simulator `plugin/part` with parameters and settings by keyword.

    >>> sim = sfm.simulator("fluids/navier-stokes-2d", viscosity=1e-3)  # doctest: +SKIP

    Raises:
        PluginError: no such simulator.
        InputError: an unknown parameter or a value out of bounds.
    """
    from sfm.registry import find

    result: Simulator = find("simulators", name).load()(**values)
    return result


def dataset(name: str, *, split: str | None = None, level: str | None = None) -> Dataset:
    """The dataset `plugin/part`: a sequence of `Sample`s, memory-mapped.

    Raises:
        PluginError: no such dataset.
        InputError: no such split or level, or its files are missing or damaged.
    """
    from sfm.data.storage import open_dataset
    from sfm.registry import find

    spec = find("datasets", name).load()
    return open_dataset(spec.folder, split=split, level=level, length_unit=spec.length_unit)


def read(path: Any, *, domain: str | None = None) -> list[Sample]:
    """All systems of a file, or of an object that an installed plugin knows.

    Raises:
        InputError: unreadable; file, row and column are named.
    """
    from sfm.data.readers import read_object

    return read_object(path, domain=domain)


def example(name: str) -> Path:
    """The path of a small input file that comes with sfm: `ethanol.xyz`, `nacl.cif`, ...

    `sfm example --list` shows them all.

    Raises:
        InputError: there is none of this name.
    """
    from sfm.data.bundled import example as find

    return find(name)


def load(name_or_path: str, **options: Any) -> FoundationModel:
    """A model: a bundled name, a folder, or a Hub id `org/name`.

    Options are those of `FoundationModel.from_pretrained`: `revision`, `token`, `cache_dir`,
    `force_download`, `local_files_only`, `subfolder`, `domains`.
    """
    from sfm.model import FoundationModel

    return FoundationModel.from_pretrained(name_or_path, **options)


watch()
