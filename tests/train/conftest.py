"""Two tiny plugins with analytic labels, installed for the test session as real entry points."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from sfm.data.splits import assign
from sfm.data.storage import ID, SPLIT, TYPES, Column, positions_column, write_dataset

PLUGIN = """
from pathlib import Path
from sfm.data.spec import DatasetSpec
from sfm.plugin import Plugin
from sfm.quantity import Quantity

ROOT = Path(__file__).parent
SIZE = Quantity("extent", "angstrom", summary="radius of gyration")
CENTRE = Quantity("arrow", "angstrom", "1o", summary="sum of z-weighted displacements")

def spec(name, domain, quantities, **rest):
    return DatasetSpec(name=name, domain=domain, summary="toy", quantities=quantities,
        levels=("pair",), licence="CC0-1.0", origin="tests", root=ROOT, **rest)

WEBS = spec("webs", "spiders", ("energy", "forces", "arrow"))
HELD = spec("held-webs", "spiders", ("energy", "forces", "extent"), held_out=True)
NESTS = spec("nests", "birds", ("energy", "extent"))
HEADS = {"energy": "sfm.nn.head:ScalarSum", "arrow": "sfm.nn.head:VectorSum"}

spiders = Plugin(name="spiders", domain="spiders", summary="toy", heads=HEADS,
    datasets={"webs": "toy_sfm:WEBS", "held-webs": "toy_sfm:HELD"},
    encoders={"points": "toy_encoders:Spider"}, quantities=(SIZE, CENTRE))
birds = Plugin(name="birds", domain="birds", summary="toy", heads=HEADS,
    datasets={"nests": "toy_sfm:NESTS"}, encoders={"points": "toy_encoders:Bird"},
    quantities=(SIZE,))
"""

ENCODERS = """
from sfm.nn.encoder import PointEncoder

class Spider(PointEncoder):
    part = "spiders/points"
    domain = "spiders"
    default_cutoff = 4.0

class Bird(PointEncoder):
    part = "birds/points"
    domain = "birds"
    default_cutoff = 4.0
"""

RUNS = """
import os, sys

def run(recipe, out, resume=False, environment=()):
    os.environ.update(environment)
    from sfm.recipe import load
    from sfm.train.pretrain import pretrain
    try:
        pretrain(load(recipe), out, resume=resume, log=False)
    except KeyboardInterrupt:
        sys.exit(130)
"""

REFERENCES = {1: -13.5, 6: -1029.25, 8: -2041.5}
DEPTH, WIDTH, DISTANCE = 0.8, 1.2, 1.6


def morse(positions: np.ndarray, types: np.ndarray) -> tuple[float, np.ndarray]:
    """References and Morse pairs: energy and its forces, in closed form."""
    energy = sum(REFERENCES[int(z)] for z in types)
    forces = np.zeros_like(positions)
    for i in range(len(types)):
        for j in range(i):
            d = positions[i] - positions[j]
            r = np.linalg.norm(d)
            e = np.exp(-WIDTH * (r - DISTANCE))
            energy += DEPTH * (e * e - 2 * e)
            slope = DEPTH * 2 * WIDTH * (e - e * e)
            forces[i] -= slope * d / r
            forces[j] += slope * d / r
    return float(energy), forces


def chain(rng: np.random.Generator, n: int) -> np.ndarray:
    """A random walk with steps of about 1.6 angstrom that keeps clear of itself."""
    points = [np.zeros(3)]
    while len(points) < n:
        step = rng.normal(size=3)
        new = points[-1] + 1.6 * step / np.linalg.norm(step)
        if min(np.linalg.norm(new - p) for p in points) > 1.1:
            points.append(new)
    return np.array(points) + 0.05 * rng.normal(size=(n, 3))


def write_toy(folder: Path, n: int, seed: int, *, domain: str, extra: tuple[str, ...]) -> None:
    """A dataset of chains. The label `arrow` is missing in every third row."""
    rng = np.random.default_rng(seed)
    columns = [ID, SPLIT, TYPES, positions_column(dtype="float64")]
    columns.append(Column("energy", "eV", "label", "pair", dtype="float64"))
    if "forces" in extra:
        columns.append(Column("forces", "eV/angstrom", "label", "pair", (-1, 3), "float64"))
    if "arrow" in extra:
        columns.append(Column("arrow", "angstrom", "label", "pair", (3,), "float64"))
    if "extent" in extra:
        columns.append(Column("extent", "angstrom", "label", "pair", dtype="float64"))
    rows = []
    for i in range(n):
        size = int(rng.integers(3, 7))
        types = rng.choice([1, 6, 8], size=size)
        positions = chain(rng, size)
        energy, forces = morse(positions, types)
        row = {
            "id": f"{folder.name}-{i}",
            "split": assign(f"{folder.name}-{i}"),
            "types[1]": types,
            "positions[angstrom]": positions,
            "energy[eV]@pair": energy,
        }
        centred = positions - positions.mean(0)
        if "forces" in extra:
            row["forces[eV/angstrom]@pair"] = forces
        if "arrow" in extra and i % 3:
            row["arrow[angstrom]@pair"] = (types[:, None] * centred).sum(0)
        if "extent" in extra:
            row["extent[angstrom]@pair"] = float(np.sqrt((centred**2).sum(1).mean()))
        rows.append(row)
    info = {"name": folder.name, "domain": domain, "licence": "CC0-1.0"}
    write_dataset(folder, columns, rows, info)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory):
    """Folder that holds the plugins `spiders` and `birds` and their datasets."""
    root = tmp_path_factory.mktemp("toy")
    (root / "toy_sfm.py").write_text(PLUGIN)
    (root / "toy_encoders.py").write_text(ENCODERS)
    (root / "toy_runs.py").write_text(RUNS)
    info = root / "toy_sfm-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-sfm\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[sfm.plugins]\nspiders = toy_sfm:spiders\nbirds = toy_sfm:birds\n"
    )
    write_toy(root / "webs", 120, 1, domain="spiders", extra=("forces", "arrow"))
    write_toy(root / "held-webs", 60, 2, domain="spiders", extra=("forces", "extent"))
    write_toy(root / "nests", 60, 3, domain="birds", extra=("extent",))
    from sfm.registry import clear_cache

    patch = pytest.MonkeyPatch()
    patch.setenv("SFM_PLUGINS", "spiders,birds")
    patch.setenv("SFM_CACHE", str(root / "cache"))
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    patch.setenv("PYTHONPATH", os.pathsep.join(p for p in paths if p))
    patch.syspath_prepend(str(root))
    clear_cache()
    yield root
    patch.undo()
    sys.modules.pop("toy_sfm", None)
    clear_cache()


@pytest.fixture(scope="module")
def start(toy):
    """`start(recipe_file, out, ...)`: a pretraining run in a process of its own.

    The processes are forked from a server that has imported torch once and computed nothing.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sfm.train.pretrain"])
    from toy_runs import run

    def begin(*arguments: object, **options: object) -> multiprocessing.Process:
        process = context.Process(target=run, args=arguments, kwargs=options)
        process.start()
        return process

    return begin


def toy_recipe(**training: object) -> dict:
    """A small recipe on both toy plugins."""
    return {
        "name": "toy",
        "model": {"channels": 8, "layers": 1, "experts": 2, "radial": 4, "carried": 4},
        "tasks": [
            {
                "dataset": "spiders/webs",
                "quantities": {"energy": 1, "forces": 5, "arrow": {"weight": 1, "loss": "huber"}},
            },
            {"dataset": "birds/nests", "quantities": {"energy": 1, "extent": 1}},
        ],
        "optimizer": {"lr": 1e-2, "warmup": 3},
        "training": {
            "steps": 8,
            "tokens_per_batch": 60,
            "edges_per_batch": 600,
            "validate_every": 4,
            "checkpoint_every": 3,
            "log_every": 2,
            "accelerator": "cpu",
            **training,
        },
    }


@pytest.fixture(scope="module")
def make_recipe(toy):
    """`make_recipe(steps=...)`: the checked toy recipe."""
    from sfm.recipe import parse

    return lambda **training: parse(toy_recipe(**training))


@pytest.fixture
def recipe(make_recipe):
    """The same, under the name that reads best in tests."""
    return make_recipe
