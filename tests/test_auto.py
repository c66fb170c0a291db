"""transformers loads a model of sfm after `import sfm`, in either order of imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sfm.data.bundled import models_dir

FIRST = {
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
assert float(model.predict("CCO")["energy"]) == float(sfm.load("sfm-tiny").predict("CCO")["energy"])
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
