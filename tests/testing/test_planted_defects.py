"""Defects of a plugin, each planted and caught by the check that docs/plugins.md names."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sfm import registry
from sfm.data.sample import Sample
from sfm.errors import SfmError
from sfm.nn.head import ScalarSum
from sfm.plugin import Plugin
from sfm.quantity import Quantity
from sfm.scaffold import write_plugin
from sfm.testing import (
    conformance_dataset,
    conformance_encoder,
    conformance_globals,
    conformance_inputs,
    conformance_plugin,
    conformance_saving,
    conformance_simulator,
    models,
)
from sfm.testing.checks import CheckFailed
from sfm.testing.distributions import install

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
POINTS, OSCILLATOR = "toy/points", "toy/oscillator"
DEFECTS = {}


def defect(name: str, check, said: str, *arguments):
    """Register a function that plants `name`; `check` has to fail with `said`."""

    def keep(plant):
        DEFECTS[name] = (plant, check, said, arguments)
        return plant

    return keep


@pytest.fixture(autouse=True)
def fresh(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))
    caches = (
        models.encoder_samples,
        models.fitting_heads,
        models.model_for,
        conformance_dataset._open,
    )
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


# ------------------------------------------------------------------ data
def springs(n: int = 24) -> list[Sample]:
    """Rattled and strained periodic lattices with nearest-neighbour springs, exact labels."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    samples = []
    for i in range(n):
        e = rng.normal(size=(3, 3))
        cell = 9.0 * (np.eye(3) + 0.006 * (e + e.T))
        x = (grid / 3) @ cell + 0.06 * rng.normal(size=(27, 3))
        energy, forces, virial = 0.0, np.zeros((27, 3)), np.zeros((3, 3))
        for axis in range(3):
            other = np.roll(np.arange(27).reshape(3, 3, 3), -1, axis).reshape(-1)
            d = x[other] - x
            d -= np.round(d @ np.linalg.inv(cell)) @ cell
            r = np.linalg.norm(d, axis=1, keepdims=True)
            energy += float(0.5 * 4.0 * ((r - 2.9) ** 2).sum())
            pull = 4.0 * (r - 2.9) * d / r
            forces += pull
            np.add.at(forces, other, -pull)
            virial += pull.T @ d
        labels = {"energy": np.array(energy), "forces": forces}
        labels["stress"] = virial / abs(np.linalg.det(cell))
        samples.append(
            Sample(
                id=f"springs-{i}",
                domain="crystals",
                level="springs",
                positions=x,
                types=np.full(27, 18),
                cell=cell,
                pbc=True,
                labels=labels,
            )
        )
    return samples


def of_samples(monkeypatch, change):
    samples = [s.replace(labels={**s.labels, **change(s.labels)}) for s in springs()]
    monkeypatch.setattr(conformance_dataset, "_open", lambda name: samples)


@defect("wrong stress sign", conformance_dataset.labels_consistent, "sign of 'stress'", "x")
def wrong_sign(monkeypatch):
    of_samples(monkeypatch, lambda v: {"stress": -v["stress"]})


@defect("kJ/mol as eV", conformance_dataset.labels_consistent, "kJ/mol", "x")
def wrong_unit(monkeypatch):
    of_samples(monkeypatch, lambda v: {"energy": 96.485 * v["energy"]})


@defect("leaking split", conformance_dataset.splits_disjoint, "is in train and in", "toy/clusters")
def leaking(monkeypatch):
    import pyarrow as pa

    table = pa.table({"id": ["a", "b"], "group": ["g", "g"], "split": ["train", "test"]})
    monkeypatch.setattr(conformance_dataset, "_open", lambda name: SimpleNamespace(_table=table))


@defect("network at load", conformance_dataset.opens_offline, "network", "toy/clusters")
def network(monkeypatch):
    right = conformance_dataset.open_dataset

    def asks(*arguments, **options):
        with socket.socket() as line:
            line.connect(("127.0.0.1", 9))
        return right(*arguments, **options)

    monkeypatch.setattr(conformance_dataset, "open_dataset", asks)


@defect("nondeterministic item", conformance_dataset.items_stable, "one reading to the next", "x")
def nondeterministic(monkeypatch):
    class Shaky(list):
        def __getitem__(self, i):
            sample = super().__getitem__(i)
            return sample.replace(positions=sample.positions + 1e-6 * np.random.rand())  # noqa: NPY002

    monkeypatch.setattr(conformance_dataset, "_open", lambda name: Shaky(springs(2)))


# ------------------------------------------------------------------ encoders and heads
def tokenized(monkeypatch, change):
    from sfm_toy.model.encoder import AtomEncoder

    right = AtomEncoder.tokenize
    monkeypatch.setattr(AtomEncoder, "tokenize", lambda s, sample: change(right, s, sample))


def headed(monkeypatch, change):
    right = ScalarSum.forward
    monkeypatch.setattr(ScalarSum, "forward", lambda s, f, i: change(right(s, f, i), f))


@defect("cutoff jump", conformance_encoder.smooth_at_cutoff, "jumps", POINTS)
def jump(monkeypatch):
    def sharp(right, encoder, sample):
        tokens = right(encoder, sample)
        return tokens.replace(cutoff=tokens.cutoff * 1.3)

    tokenized(monkeypatch, sharp)


@defect("hard-wired head", conformance_encoder.trainable, "never gets a gradient", POINTS)
def hard_wired(monkeypatch):
    headed(monkeypatch, lambda value, features: 0.0 * features.scalars.sum() + 0.0 * value.detach())


@defect("wrong parity", conformance_encoder.outputs_follow_symmetries, "breaks", POINTS, "float64")
def parity(monkeypatch):
    def handed(right, encoder, sample):
        tokens = right(encoder, sample)
        near = tokens.positions[1:4] - tokens.positions[0]
        if len(near) == 3 and near.det() > 0:
            keep = tokens.edges[0] != 0
            tokens = tokens.replace(edges=tokens.edges[:, keep], shifts=tokens.shifts[keep])
        return tokens

    tokenized(monkeypatch, handed)


@defect("not extensive", conformance_encoder.extensivity, "energy of two copies", POINTS)
def not_extensive(monkeypatch):
    headed(monkeypatch, lambda value, features: value**2)


@defect(
    "batch unlike singles",
    conformance_encoder.batch_equals_singles,
    "in a batch is off",
    POINTS,
    "float64",
)
def batch(monkeypatch):
    headed(monkeypatch, lambda value, features: value - value.mean())


@defect("assumed boundary", conformance_inputs.boundaries, "moved by a lattice vector", POINTS)
def boundary(monkeypatch):
    def open_always(right, encoder, sample):
        return right(encoder, sample.replace(cell=None, pbc=(False, False, False)))

    tokenized(monkeypatch, open_always)


@defect("mutated input", conformance_inputs.input_unchanged, "changes the positions", POINTS)
def mutated(monkeypatch):
    def centred(right, encoder, sample):
        if sample.positions.flags.writeable:  # a dataset's raise by themselves
            sample.positions[:] -= sample.positions.mean(0) + 0.1
        return right(encoder, sample)

    tokenized(monkeypatch, centred)


@defect("unstated label input", conformance_inputs.label_inputs, "reads labels of", POINTS)
def peeking(monkeypatch):
    def peek(right, encoder, sample):
        return right(encoder, sample.replace(positions=sample.positions * (1 + len(sample.labels))))

    tokenized(monkeypatch, peek)


@defect("pickle written", conformance_saving.saved_and_loaded, "wrote .*weights.pt", "toy")
def pickled(monkeypatch):
    from sfm.model import FoundationModel

    right = FoundationModel.save_pretrained

    def both(self, folder, **options):
        torch.save({}, Path(folder) / "weights.pt")
        return right(self, folder, **options)

    monkeypatch.setattr(FoundationModel, "save_pretrained", both)


# ------------------------------------------------------------------ simulators
def simulating(monkeypatch, **changes):
    from sfm_toy.simulators.oscillator import Oscillator

    for name, value in changes.items():
        monkeypatch.setattr(Oscillator, name, value)


@defect(
    "detached gradient", conformance_simulator.gradcheck_parameters, "gradient is wrong", OSCILLATOR
)
def detached(monkeypatch):
    from sfm_toy.simulators.oscillator import ACCELERATION

    simulating(
        monkeypatch,
        acceleration=lambda s, x: -ACCELERATION * s.stiffness.detach() * x / s.mass,
    )


@defect("silent NaN", conformance_simulator.observables, "is not finite", OSCILLATOR)
def silent(monkeypatch):
    from sfm_toy.simulators.oscillator import Oscillator

    right = Oscillator.observe
    simulating(
        monkeypatch,
        observe=lambda s, x: {k: v + torch.nan for k, v in right(s, x).items()},
    )


# ------------------------------------------------------------------ the plugin itself
BARE = Quantity("toy_length", "furlongs-ish", summary="a length")


@defect(
    "missing units",
    conformance_plugin.units,
    "unit",
    Plugin(name="toy", domain="toy", summary="toy", quantities=(BARE,)),
)
def missing_units(monkeypatch):
    pass  # the plugin is bad as it is


@pytest.mark.parametrize("name", sorted(DEFECTS))
def test_it_is_caught(name, monkeypatch):
    plant, check, said, arguments = DEFECTS[name]
    if arguments[0] in (POINTS, OSCILLATOR):
        check(*arguments)  # it passes without the defect
        for function in (models.encoder_samples, models.fitting_heads, models.model_for):
            function.cache_clear()
    plant(monkeypatch)
    with pytest.raises((CheckFailed, SfmError), match=said):
        check(*arguments)


def test_good_labels_pass(monkeypatch):
    of_samples(monkeypatch, lambda v: {})
    conformance_dataset.labels_consistent("x")


# ------------------------------------------------------------------ those that need a process
FRESH = {
    "heavy import": ("__init__.py", "import torch\n", conformance_plugin.light_import, "imports"),
    "global dtype": (
        "simulators/oscillator.py",
        "torch.set_default_dtype(torch.float64)\n",
        conformance_globals.globals_stay,
        "default dtype",
    ),
    "global random state": (
        "simulators/oscillator.py",
        "torch.manual_seed(0)\n",
        conformance_globals.globals_stay,
        "torch's random state",
    ),
    "non-persistent buffer": (
        "model/encoder.py",
        """
import torch


def _init(self, **options):
    PointEncoder.__init__(self, **options)
    self.register_buffer("drawn", torch.randn(3), persistent=False)


AtomEncoder.__init__ = _init
""",
        lambda plugin: conformance_saving.saved_and_loaded(plugin.name),
        "differ.* .*drawn",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FRESH))
def test_it_is_caught_in_a_fresh_process(name, tmp_path, monkeypatch):
    file, text, check, said = FRESH[name]
    folder = write_plugin("sick", folder=tmp_path / "package")
    path = folder / "sfm_sick" / file
    path.write_text(path.read_text() + "\n" + text)
    install(folder, "sfm-sick", {"sick": "sfm_sick:plugin"})
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=":")
    monkeypatch.setenv("SFM_PLUGINS", "sick")
    registry.clear_cache()
    with pytest.raises(CheckFailed, match=said):
        check(registry.plugin("sick"))


def test_the_table_of_the_docs_names_them_all():
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"^\| ([^|]+?) \| `[a-z-]+", text, re.M))
    assert set(DEFECTS) | set(FRESH) <= named
    assert len(set(DEFECTS) | set(FRESH)) == 21
