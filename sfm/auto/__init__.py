"""`transformers.AutoConfig` and `AutoModel` know the model type `sfm`, whichever is imported first.

    import sfm
    from transformers import AutoModel, pipeline
    model = AutoModel.from_pretrained("owner/name")       # folder or Hub id; no remote code
    pipeline("sfm", model="owner/name")("CCO")            # predictions; "sfm-features": embeddings

`import sfm` imports no transformers for it: where transformers' tables of models are loaded, ours
is added at once, else as soon as they are (`watch`). Only the standard library is needed here.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False  # without importing typing: `sfm --help` should be quick
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

CONFIGS = "transformers.models.auto.configuration_auto"
MODELS = "transformers.models.auto.modeling_auto"
PIPELINES = "transformers.pipelines"
TABLES = (CONFIGS, MODELS, PIPELINES)


def _add(module: ModuleType) -> None:
    """Put our classes into a table that has just been loaded."""
    if module.__name__ == PIPELINES:
        from sfm.auto.pipelines import add

        add(module.PIPELINE_REGISTRY)
        return
    from sfm.auto.classes import AutoSFM, SFMConfig

    if module.__name__ == CONFIGS:
        module.AutoConfig.register("sfm", SFMConfig, exist_ok=True)
    else:
        module.AutoModel.register(SFMConfig, AutoSFM, exist_ok=True)


class _Finder:
    """Finds transformers' tables as Python does, and adds ours once they are loaded."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in TABLES:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            _add(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def watch() -> None:
    """Add our classes to the tables that are loaded, and to others when they are; free and light.

    Calling it again changes nothing.
    """
    for name in TABLES:
        if name in sys.modules:
            _add(sys.modules[name])
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
