"""`sfm doctor`: what is installed, what is missing, and how to get it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

CORE = (
    "torch",
    "pytorch-lightning",
    "transformers",
    "huggingface-hub",
    "jaxtyping",
    "safetensors",
    "e3nn",
    "numpy",
    "pydantic",
    "pyyaml",
    "pyarrow",
    "vesin",
    "scipy",
    "pint",
    "rich",
    "matplotlib",
    "tensorboard",
    "h5py",
)
ENVIRONMENT = (
    "SFM_PLUGINS",
    "SFM_PLUGINS_STRICT",
    "SFM_CACHE",
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HF_HUB_DISABLE_XET",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "CUDA_VISIBLE_DEVICES",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sfm doctor`."""
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(handler=run)


def run(arguments: argparse.Namespace) -> int:
    """Report; exit code 0 whatever was found, since finding out is the job."""
    from sfm.cli.output import emit, emit_json

    report = examine()
    if arguments.json:
        emit_json(report)
        return 0
    for title in ("versions", "device", "environment", "cache", "hub"):
        emit(f"{title}")
        for key, value in report[title].items():
            emit(f"  {key:<20} {value}")
    emit("plugins")
    for row in report["plugins"]:
        emit(f"  {row['name']:<20} {row['state']}")
    emit("models")
    emit(f"  {'bundled':<20} {', '.join(report['models']) or 'none'}")
    emit("to do" if report["to_do"] else "nothing to do")
    for line in report["to_do"]:
        emit(f"  - {line}")
    return 0


def examine() -> dict[str, Any]:
    """Everything that the command prints, as plain data."""
    import os

    from sfm.data.bundled import models_dir

    to_do: list[str] = []
    models = models_dir()
    return {
        "versions": _versions(to_do),
        "device": _device(to_do),
        "environment": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        "cache": _cache(to_do),
        "hub": _hub(to_do),
        "plugins": _plugins(to_do),
        "models": sorted(p.parent.name for p in models.glob("*/config.json")),
        "to_do": to_do,
    }


def _versions(to_do: list[str]) -> dict[str, str]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from sfm.version import __version__

    versions = {"sfm": __version__, "python": platform.python_version()}
    for name in CORE:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
            to_do.append(f"the core needs {name}: pip install sfm-hub")
    return versions


def _device(to_do: list[str]) -> dict[str, Any]:
    import os

    try:
        import torch
    except Exception as error:  # a torch that does not load is what a doctor is for
        to_do.append(f"torch does not load ({error}): reinstall it")
        return {"torch": "does not load"}
    cores = os.cpu_count() or 1
    if torch.get_num_threads() > 1 and os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        to_do.append("on a shared machine set OMP_WAIT_POLICY=PASSIVE: waiting threads spin")
    devices: dict[str, Any] = {"cores": cores, "torch threads": torch.get_num_threads()}
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    devices["cuda"] = ", ".join(gpus) or "none"
    devices["mps"] = "yes" if torch.backends.mps.is_available() else "no"
    return devices


def _cache(to_do: list[str]) -> dict[str, str]:
    from sfm.data.storage import cache_dir

    folder = cache_dir()
    _check_writable(folder, "SFM_CACHE", to_do)
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return {"sfm": f"{folder} ({size / 1e6:.1f} MB)"}


def _check_writable(folder: Path, variable: str, to_do: list[str]) -> None:
    """Say so where a cache cannot be made or written."""
    import os

    there = next((p for p in (folder, *folder.parents) if p.exists()), folder)
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        to_do.append(f"{folder} cannot be written: name another place in {variable}")


def _hub(to_do: list[str]) -> dict[str, str]:
    try:
        from huggingface_hub import constants, get_token
    except ImportError:  # the versions say so
        return {"client": "huggingface-hub does not load"}
    _check_writable(Path(constants.HF_HUB_CACHE), "HF_HUB_CACHE", to_do)
    offline = constants.HF_HUB_OFFLINE
    return {
        "endpoint": constants.ENDPOINT,
        "mode": "offline (HF_HUB_OFFLINE): cache and folders only" if offline else "online",
        "token": "present" if get_token() else "none (only needed to push and for gated models)",
        "cache": str(constants.HF_HUB_CACHE),
    }


def _plugins(to_do: list[str]) -> list[dict[str, Any]]:
    from importlib.util import find_spec

    from sfm.registry import FIRST_PARTY, discover

    rows = []
    for row in discover():
        missing = [m for m in (row.plugin.requires if row.plugin else ()) if not find_spec(m)]
        state = "ok"
        if row.error:
            state = f"broken: {row.error}"
            to_do.append(f"plugin '{row.name}' ({row.distribution} {row.version}): {row.error}")
        elif missing:
            state = f"needs {', '.join(missing)}"
            source = f"'sfm-hub[{row.name}]'" if row.name in FIRST_PARTY else " ".join(missing)
            to_do.append(f"plugin '{row.name}' {state}: pip install {source}")
        rows.append({"name": row.name, "state": state, "missing": missing})
    return rows
