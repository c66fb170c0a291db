"""transformers loads a model of sfm after `import sfm`, in either order of imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sfm.data.bundled import models_dir

FIRST = {
    "pipelines": "import transformers.pipelines\nimport sfm",
    "sfm": "import sfm; assert 'transformers' not in sys.modules",
    "transformers": "from transformers import AutoConfig, AutoModel\nimport sfm",
    "transformers without its tables": "import transformers\nimport sfm",
}
LOAD = """
from transformers import AutoConfig, AutoModel
config = AutoConfig.from_pretrained(sys.argv[1])
assert type(config).__name__ == "SFMConfig", config
model = AutoModel.from_pretrained(sys.argv[1])
assert type(model).__name__ == "FoundationModel"
energy = float(sfm.load("sfm-tiny").predict("CCO")["energy"])
assert float(model.predict("CCO")["energy"]) == energy
from transformers import pipeline
say = pipeline("sfm", model=sys.argv[1], device=-1)
assert float(say("CCO")["energy"]) == energy
two = [float(p["energy"]) for p in say(["CCO", "CCO"])]
assert len(two) == 2 and max(abs(e / energy - 1) for e in two) < 1e-6  # sums of a batch round anew
seen = pipeline("sfm-features", model=sys.argv[1])("CCO")
assert (seen.invariant == model.embed("CCO").invariant).all()
try:
    pipeline("sfm", model=sys.argv[1], batch_size=2)
except sfm.errors.InputError as error:
    assert str(error) == "pipeline 'sfm' does not take batch_size", error
else:
    raise AssertionError("dropped")
"""


@pytest.mark.parametrize("before", FIRST.values(), ids=FIRST)
def test_either_order(before, tmp_path):
    code = f"import sys\n{before}\n{LOAD}"
    done = subprocess.run(
        [sys.executable, "-c", code, str(models_dir() / "sfm-tiny")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_watching_twice_watches_once():
    from sfm.auto import _Finder, watch

    watch()
    watch()
    assert sys.meta_path.count(_Finder) == 1
    assert _Finder.find_spec("json") is None
