"""What transformers calls for a model of sfm. It only forwards.

`AutoModel` hands over to `sfm.model`: transformers' own loading builds models on the meta device
and can leave non-persistent buffers uninitialised, so it is not used.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers.configuration_utils import PreTrainedConfig

from sfm.errors import InputError

_OPTIONS = (
    "revision",
    "token",
    "cache_dir",
    "force_download",
    "local_files_only",
    "subfolder",
    "domains",
)


class SFMConfig(PreTrainedConfig):
    """`config.json` of a model of sfm, as transformers sees it: its keys are attributes."""

    model_type = "sfm"


class AutoSFM:
    """What `AutoModel` calls. It only forwards, with the options that `sfm` knows."""

    config_class = SFMConfig

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, *args: Any, **options: Any) -> Any:
        """The model of `sfm.model`, loaded at the commit that AutoModel resolved the config at.

        Options of transformers that mean nothing here (dtype, device_map, ...) are refused, so that
        nobody believes that they had an effect; those that AutoModel adds itself are dropped.
        """
        from sfm.model import FoundationModel  # torch comes with the first model

        known = {name: options.pop(name) for name in _OPTIONS if options.get(name) is not None}
        for name in (*_OPTIONS, "config", "adapter_kwargs", "trust_remote_code", "proxies"):
            options.pop(name, None)
        given = [name for name in options if not name.startswith("_")]
        if args or given:
            raise InputError(
                f"AutoModel for sfm does not take {', '.join(given) or 'positional options'}"
            )
        if "revision" in known:
            known["revision"] = getattr(known["revision"], "resolved", known["revision"])
        if Path(name_or_path).is_dir():
            known.pop("revision", None)
            name_or_path = Path(name_or_path)
        return FoundationModel.from_pretrained(name_or_path, **known)
