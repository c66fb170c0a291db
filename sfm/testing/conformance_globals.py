"""What a plugin leaves behind in the process: nothing, whatever its parts do."""

from __future__ import annotations

import json
import subprocess
import sys

from sfm.plugin import Plugin
from sfm.testing.checks import ensure

_PROBE = """
import json, random, sys
from importlib.util import find_spec
import numpy, torch
from sfm.registry import find, plugin
from sfm.testing.checks import CheckFailed
from sfm.testing.models import encoder_samples

def state():
    return {
        "default dtype": str(torch.get_default_dtype()),
        "number of threads": torch.get_num_threads(),
        "torch's random state": torch.get_rng_state().tolist(),
        "numpy's random state": str(numpy.random.get_state()),
        "Python's random state": hash(random.getstate()),
    }

tested, changes = plugin(sys.argv[1]), {}

def watched(name, work):
    before = state()
    work()
    for key, value in state().items():
        if value != before[key]:
            changes.setdefault(key, name)

def use(kind, name):
    part = find(kind, f"{tested.name}/{name}").load()
    if kind == "simulators" and all(map(find_spec, part.needs)):
        simulator, start = part.conformance_case()
        simulator(start, 1)
    if kind == "encoders":
        with torch.random.fork_rng():
            encoder = part(channels=2)
        for sample in encoder_samples(f"{tested.name}/{name}")[:1]:
            encoder.tokenize(sample)

for kind in ("datasets", "simulators", "encoders", "heads"):
    for name in getattr(tested, kind):
        try:
            watched(f"{tested.name}/{name}", lambda: use(kind, name))
        except CheckFailed:
            continue
print(json.dumps(changes))
"""


def globals_stay(plugin: Plugin) -> None:
    """In a fresh interpreter, parts are imported and used: dtype, seeds and threads stay."""
    command = [sys.executable, "-W", "ignore", "-c", _PROBE, plugin.name]
    done = subprocess.run(command, capture_output=True, text=True)
    ensure(done.returncode == 0, f"its parts cannot be used afresh: {done.stderr[-300:]}")
    changes = json.loads(done.stdout.splitlines()[-1])
    said = ", ".join(f"{what} ({part})" for what, part in changes.items())
    ensure(not changes, f"changes what belongs to the whole process: {said}")
