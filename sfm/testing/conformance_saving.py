"""Checks of saving: a fresh process loads the same model, buffers that are not saved included."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sfm.model import FoundationModel
from sfm.plugin import Plugin
from sfm.testing.checks import Check, ensure
from sfm.testing.models import LEVEL, encoder_samples, model_of_plugin, said


def checks(plugin: Plugin) -> list[Check]:
    """One check for the plugin's encoders and heads together."""
    if not plugin.encoders:
        return []
    return [Check(plugin.name, "saved-and-loaded", partial(saved_and_loaded, plugin.name))]


def fingerprint(model: FoundationModel) -> dict[str, Any]:
    """Exact values of predictions and of every buffer, as hexadecimal floats."""
    values: dict[str, Any] = {}
    for part in model.encoders:
        samples = list(encoder_samples(part))
        tokens = model.tokenize(part, samples, LEVEL)
        out = model({part: tokens}, {part: said(model, part, samples)})[part]
        for name, value in out.items():
            values[f"{part}:{name}"] = _exact(value)
    for name, buffer in model.named_buffers():
        values[f"buffer {name}"] = _exact(buffer)
    return values


def _exact(tensor: torch.Tensor) -> list[str]:
    flat = tensor.detach().double().reshape(-1)
    step = max(1, len(flat) // 200)
    return [str(tuple(tensor.shape)), str(tensor.dtype), *(x.hex() for x in flat[::step].tolist())]


def saved_and_loaded(name: str) -> str:
    """Same predictions to the last bit, same buffers."""
    model = model_of_plugin(name)
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        files = sorted(p.name for p in Path(folder).iterdir())
        ensure(
            all(f.endswith((".json", ".safetensors")) for f in files), f"wrote {', '.join(files)}"
        )
        code = (
            "import json, sys, torch; torch.set_num_threads(int(sys.argv[2]));"
            "from pathlib import Path; from sfm.model import FoundationModel;"
            "from sfm.testing.conformance_saving import fingerprint;"
            "model = FoundationModel.from_pretrained(Path(sys.argv[1]));"
            "print(json.dumps(fingerprint(model)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, folder, str(torch.get_num_threads())],
            capture_output=True,
            text=True,
        )
        ensure(done.returncode == 0, f"a fresh process cannot load it: {done.stderr[-300:]}")
        again = json.loads(done.stdout.splitlines()[-1])
    mine = fingerprint(model)
    ensure(set(again) == set(mine), f"differs in {sorted(set(again) ^ set(mine))}")
    different = [key for key in mine if mine[key] != again[key]]
    ensure(not different, f"after loading these differ: {', '.join(different[:5])}")
    return f"{len(mine)} tensors equal to the last bit"
