"""The tools of a contributor: one version of each, figures of the house, lists that only shrink."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import copies
import house
import numpy as np
import pictures
import pytest
import versions
import yaml
from PIL import Image

ROOT = Path(__file__).parent.parent


def test_pre_commit_has_the_versions_of_the_constraints():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    revisions = {repo["repo"].rpartition("/")[2]: repo.get("rev") for repo in config["repos"]}
    pinned = re.search(r"^ruff==(.+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert pinned
    assert revisions == {"ruff-pre-commit": f"v{pinned[1]}", "local": None}


@pytest.mark.parametrize(("lines", "count"), [(6, 1), (5, 0)])
def test_a_repeated_block_is_counted_once(tmp_path, lines, count):
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    body = "".join(f"    y{i} = x * {i}\n" for i in range(lines))
    one.write_text(f"def f(x):\n{body}", encoding="utf-8")
    two.write_text(f"import os\n\n\ndef g(x):\n    # other\n{body}", encoding="utf-8")
    assert len(copies.copies([one, two])) == count


def test_the_docstring_does_not_make_a_function_long(tmp_path):
    path = tmp_path / "one.py"
    path.write_text(
        "def f():\n    '''Text.\n\n    More.\n    '''\n    return 1\n", encoding="utf-8"
    )
    assert list(house.functions(path)) == [("f", 1, 2)]


def test_the_figures_need_nothing_but_the_standard_library(tmp_path):
    """Anyone can run them: no package is found with -S -E."""
    command = [sys.executable, "-S", "-E", str(ROOT / "tools" / "house.py"), "--list", "circles"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_matrix_of_versions_comes_from_pyproject(capsys, monkeypatch):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    bounds = versions.lower_bounds()
    assert set(bounds) == {"torch", "transformers", "huggingface-hub"}
    assert {f"{name}>={bound}" for name, bound in bounds.items()} <= set(project["dependencies"])
    matrix = {cell.name: cell for cell in versions.cells()}
    lowest = {f"{name}=={bound}" for name, bound in bounds.items()}
    assert set(matrix["lowest-torch"].pins) == lowest
    assert lowest - set(matrix["lowest"].pins) == {f"torch=={bounds['torch']}"}
    assert matrix["plain"].pins == ()
    assert [cell.name for cell in matrix.values() if cell.unasked] == ["lowest", "highest"]
    assert all("torch==2.7" in cell.pins for cell in versions.cells("2.7"))
    monkeypatch.setattr(sys, "argv", ["versions.py", "--list", "--cell", "lowest"])
    assert versions.main() == 0
    assert capsys.readouterr().out.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["versions.py", "--cell", "newest"])
    assert versions.main() == 2
    assert "no cell newest; there are lowest, highest" in capsys.readouterr().err


def shades(size: int, start: float = 0.0) -> Image.Image:
    """A picture of thousands of colours on a white ground."""
    x, y = np.meshgrid(np.arange(size) / size, np.arange(size) / size)
    waves = [np.sin(7 * x * y + start), np.cos(5 * x + y**2), np.sin(x + 3 * y**2)]
    grain = np.random.default_rng(0).normal(0, 3, (size, size, 3))
    pixels = np.uint8(127.5 + 110 * np.stack(waves, -1) + grain)
    pixels[: size // 4] = 255
    return Image.fromarray(pixels)


def test_a_picture_of_fewer_colours_looks_the_same(tmp_path):
    path, before = tmp_path / "one.png", shades(128)
    before.convert("RGBA").save(path)
    large = path.stat().st_size
    pictures.shrink(path)
    small = path.read_bytes()
    assert len(small) < 0.5 * large
    with Image.open(path) as after:
        assert after.mode == "P"
        one, other = np.asarray(before, float), np.asarray(after.convert("RGB"), float)
    assert (other[:32] == 255).all(), "the ground stays white"

    def blurred(image):  # means of 8 x 8 pixels: dithering mixes shades
        return image.reshape(16, 8, 16, 8, 3).mean((1, 3))

    assert np.sqrt(np.mean((blurred(one) - blurred(other)) ** 2)) < 3
    pictures.shrink(path)
    assert path.read_bytes() == small, "once is enough"


def test_a_film_keeps_its_frames_and_times(tmp_path):
    path = tmp_path / "one.gif"
    first, *rest = (shades(64, i) for i in range(3))
    first.save(path, save_all=True, append_images=rest, duration=[100, 200, 300], loop=0)
    large = path.stat().st_size
    pictures.shrink(path)
    assert path.stat().st_size <= large
    with Image.open(path) as film:
        assert (film.n_frames, film.info["loop"]) == (3, 0)
        times = []
        for number in range(3):
            film.seek(number)
            times.append(film.info["duration"])
    assert times == [100, 200, 300]


def test_pictures_of_the_docs_have_been_through_it():
    """Above 20 kB; a palette costs more than it saves in some smaller ones."""
    for path in (*(ROOT / "docs" / "images").glob("*.png"), *(ROOT / "datasets").glob("*/*.png")):
        with Image.open(path) as picture:
            shown = f"python tools/pictures.py {path.relative_to(ROOT)}"
            assert picture.mode == "P" or path.stat().st_size < 20_000, shown
