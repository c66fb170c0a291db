"""Compiled kernels of the trunk against torch's: energies, forces, stress, every derivative; the
doors that offer them, and what is said where there is no compiler."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.io import write
from torch.autograd import forward_ad

import sfm
from sfm.cli import main
from sfm.data.readers import read_object
from sfm.errors import InputWarning
from sfm.model import FoundationModel
from sfm.model.potential import Potential
from sfm.nn import compiled as kernels
from sfm.nn.c_library import c_compiler
from sfm.nn.compiled import (
    CompiledBasis,
    CompiledCoupling,
    CompiledDensity,
    Wiring,
    compiled,
    plain_density,
)
from sfm.testing.models import LEVEL, config_for

pytestmark = pytest.mark.skipif(c_compiler() is None, reason="no C compiler")
PARTS = {"molecules/atoms": ("energy", "dipole"), "crystals/atoms": ("energy",)}
ASKED = {"molecules/atoms": ("energy", "dipole", "forces"), "crystals/atoms": ("energy", "stress")}


@pytest.fixture(scope="module")
def model() -> FoundationModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FoundationModel(config_for(PARTS)).eval()


@pytest.fixture(autouse=True)
def fresh():
    yield
    kernels._kernels.cache_clear()


def rattled(atoms, seed=0):
    atoms.rattle(0.05, seed=seed)
    return atoms


ATOMS = {
    "molecules/atoms": [rattled(molecule(name)) for name in ("CH3CH2OH", "H2O", "CH4", "H")],
    "crystals/atoms": [
        rattled(bulk("Si", cubic=True)),
        rattled(bulk("NaCl", "rocksalt", a=5.6) * (2, 1, 1)),
    ],
}


def tokens(model, part):
    samples = [s for atoms in ATOMS[part] for s in read_object(atoms)]
    return {part: model.tokenize(part, samples, LEVEL)}


def ways(model, batch, asked, **options):
    """Everything that is asked for, by torch and compiled."""
    plain = model(batch, asked, **options)
    with compiled():
        return plain, model(batch, asked, **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("parts", [("molecules/atoms",), ("crystals/atoms",), tuple(PARTS)])
def test_the_numbers_are_those_of_torch(model, parts, dtype):
    """To rounding, of one context and of two in one pass (two runs of filters)."""
    model = copy.deepcopy(model).to(dtype)
    batch = {k: v for part in parts for k, v in tokens(model, part).items()}
    plain, fast = ways(model, batch, {part: ASKED[part] for part in parts})
    for part in parts:
        for name in ASKED[part]:
            exact, value = plain[part][name], fast[part][name]
            limit = 1e-12 if dtype == torch.float64 else 1e-5
            assert (value - exact).abs().max() < limit * exact.abs().max()


def exactness(domain):
    """64 and 216 silicon atoms, or 32 molecules of the bundled dataset."""
    if domain == "crystals":
        for times in (2, 3):
            yield read_object(rattled(bulk("Si", cubic=True) * (times, times, times)))
        return
    data = sfm.dataset("molecules/molecules-xtb", split="test")
    yield [data[int(row)] for row in np.linspace(0, len(data) - 1, 32)]


@pytest.mark.parametrize("domain", ["crystals", "molecules"])
def test_single_precision_is_near_double_precision(domain):
    """Forces of trained weights to 1e-6 of the largest; edges that are differences of coordinates
    in float32 would alone take two or three of that in silicon."""
    network = sfm.load("sfm-tiny")
    encoder = network.encoder_for(domain, "energy")
    level = network.level(encoder, "GFN2-xTB" if domain == "molecules" else None, "energy")
    double = copy.deepcopy(network).double()
    for samples in exactness(domain):
        batch = network.tokenize(encoder, samples, level)
        exact = batch.to(dtype=torch.float64)  # the same numbers
        forces = double({encoder: exact}, {encoder: ("forces",)})[encoder]["forces"]
        with compiled():
            fast = network({encoder: batch}, {encoder: ("forces",)})[encoder]["forces"]
        assert fast.dtype == torch.float32
        assert (fast - forces).abs().max() < 1e-6 * forces.abs().max()


def test_every_other_derivative_is_torchs(model):
    """Weights, second derivatives by positions and by weights: through the same sums in torch."""
    model = copy.deepcopy(model).double()
    batch = tokens(model, "molecules/atoms")
    batch["molecules/atoms"].positions.requires_grad_()
    asked = {"molecules/atoms": ("energy", "forces")}
    weights = [p for p in model.trunk.parameters() if p.requires_grad]
    gradients = []
    for values in ways(model, batch, asked, create_graph=True):
        forces = values["molecules/atoms"]["forces"]
        loss = (forces * torch.linspace(-1, 1, forces.numel()).view_as(forces)).sum()
        loss = loss + values["molecules/atoms"]["energy"].sum()
        inputs = [batch["molecules/atoms"].positions, *weights]
        gradients.append(torch.autograd.grad(loss, inputs, allow_unused=True))
    for exact, value in zip(*gradients, strict=True):
        assert (exact is None) == (value is None)
        if exact is not None:
            assert (value - exact).abs().max() <= 1e-10 * exact.abs().max() + 1e-13


def test_gradients_against_finite_differences(model):
    """First and second derivatives of the kernels alone; all inputs, two runs of filters."""
    with compiled():
        functions = kernels.kernels_for(torch.zeros(1, dtype=torch.float64), 8, 4, 3)
    generator = torch.Generator().manual_seed(0)
    wiring = Wiring.of(torch.tensor([[1, 2, 0, 3, 0], [0, 0, 1, 2, 3]]), (2, 2))
    shapes = (5, 3), (5, 8), (4, 8), (4, 32), (2, 3, 40)
    given = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    given = [x.mT.contiguous().mT.requires_grad_() for x in given]  # with gaps, too
    plain = plain_density(*given, wiring, functions)
    for value, exact in zip(CompiledDensity.apply(*given, wiring, functions), plain, strict=True):
        assert torch.allclose(value, exact, rtol=1e-13, atol=1e-13)
    fixed = [*given[:4], given[4].detach()]  # weights are asked for by torch's way alone
    assert torch.autograd.gradcheck(lambda *x: CompiledDensity.apply(*x, wiring, functions), fixed)
    assert torch.autograd.gradgradcheck(
        lambda *x: CompiledDensity.apply(*x, wiring, functions), given
    )
    vectors = torch.randn(6, 3, generator=generator, dtype=torch.float64).requires_grad_()
    ones = torch.full((6,), 3.0, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda v: CompiledBasis.apply(v, ones, ones, functions), [vectors]
    )
    shapes = (3, 4, 8), (5, 4, 8), (4, 48)
    given = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    given = [x.mT.contiguous().mT.requires_grad_() for x in given]
    assert torch.autograd.gradcheck(lambda *x: CompiledCoupling.apply(*x, functions), given)
    assert torch.autograd.gradgradcheck(lambda *x: CompiledCoupling.apply(*x, functions), given)


def test_threads_share_the_work(model, monkeypatch):
    monkeypatch.setattr(kernels, "SHARE", 8)
    batch = tokens(model, "crystals/atoms")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert len({p[3] for p in Wiring.of(batch["crystals/atoms"].edges, (12,)).pieces()}) == 3
        plain, fast = ways(model, batch, {"crystals/atoms": ("energy", "forces")})
    finally:
        torch.set_num_threads(before)
    exact, value = (x["crystals/atoms"]["forces"] for x in (plain, fast))
    assert (value - exact).abs().max() < 1e-5 * exact.abs().max()


def test_forward_mode_is_torchs(model):
    """No kernel knows tangents: torch's are used, and equal those of the gradient."""
    model = copy.deepcopy(model).double()
    ((name, batch),) = tokens(model, "molecules/atoms").items()
    direction = torch.randn(batch.positions.shape, generator=torch.Generator().manual_seed(0))

    def energy(x):
        return model({name: batch.replace(positions=x)}, {name: ("energy",)})[name]["energy"].sum()

    with compiled(), warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch's own first use
        dual = forward_ad.make_dual(batch.positions, direction.double())
        slope = forward_ad.unpack_dual(energy(dual)).tangent
    forces = model({name: batch}, {name: ("forces",)})[name]["forces"]
    assert torch.isclose(slope, -(forces * direction).sum(), rtol=1e-9)


def test_the_doors_use_it(model, tmp_path, capsys, monkeypatch):
    """Python, the calculator, the command line, a simulation: asked for and used in each."""
    calls = []
    apply = CompiledDensity.apply
    monkeypatch.setattr(CompiledDensity, "apply", lambda *a: calls.append(1) or apply(*a))
    folder = str(model.save_pretrained(tmp_path / "model"))
    atoms = ATOMS["molecules/atoms"][0]
    file = str(tmp_path / "ethanol.xyz")
    write(file, atoms)

    def used():
        count = len(calls)
        calls.clear()
        return count > 0

    answers = [model.predict(atoms, compiled=on)["energy"] for on in (False, True)]
    assert used()
    assert np.isclose(*answers, rtol=1e-6)
    forces = []
    for on in (False, True):
        moved = atoms.copy()
        moved.calc = model.calculator(compiled=on)
        assert moved.calc.compiled is on
        forces.append(moved.get_forces())
        assert used() is on
    assert np.abs(forces[0] - forces[1]).max() < 1e-5 * np.abs(forces[0]).max()
    assert main(["predict", folder, file, "--compiled", "--json"]) == 0
    assert used()
    said = json.loads(capsys.readouterr().out)["quantities"]["energy"]["value"]
    assert np.isclose(said, float(answers[0]), rtol=1e-6)
    run = ["simulate", "molecules/molecular-dynamics", "--input", file, "--steps", "3", "--json"]
    ends = []
    for extra in ([], ["--compiled"]):
        assert main([*run, "--closure", folder, *extra]) == 0
        assert used() is bool(extra)
        ends.append(json.loads(capsys.readouterr().out))
    plain, fast = (np.array(end["quantities"]["energy"]["value"]) for end in ends)
    assert np.ptp(plain) > 0
    assert np.allclose(fast, plain, rtol=1e-9)
    assert main([*run, "--compiled"]) == 2
    assert "--compiled goes with --closure" in capsys.readouterr().err


def test_without_a_compiler_one_line_says_so(model, monkeypatch, tmp_path):
    monkeypatch.setenv("CC", str(tmp_path / "no-such-compiler"))
    kernels._kernels.cache_clear()
    potential = Potential(model, compiled=True)
    (sample,) = read_object(ATOMS["molecules/atoms"][1])
    with pytest.warns(InputWarning, match="needs a C compiler.*slower"):
        first = potential([sample], ("energy", "forces")).values
    again = potential([sample], ("energy", "forces")).values  # not said twice
    assert torch.equal(first["forces"], again["forces"])


def test_half_precision_is_torchs(model):
    with compiled(), pytest.warns(InputWarning, match="not in torch.bfloat16"):
        assert kernels.kernels_for(torch.zeros(1, dtype=torch.bfloat16), 8, 4, 3) is None


def test_another_process_finds_it_in_the_cache(tmp_path):
    """Compiled once, and small."""
    code = (
        "import torch; from sfm.nn import compiled as k\n"
        "with k.compiled(): print(k.kernels_for(torch.zeros(1), 8, 4, 3) is not None)"
    )
    environment = {**os.environ, "SFM_CACHE": str(tmp_path)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True
        )
        assert done.stdout.strip() == "True", done.stderr
    (library,) = (tmp_path / "kernels").glob("*.so")
    assert library.stat().st_size < 200_000
