"""The kit passes good parts and catches bad ones: each mutant breaks one promise."""

from __future__ import annotations

import pytest
import torch

from sfm import registry
from sfm.testing import conformance_encoder, conformance_simulator, models
from sfm.testing.checks import Check, CheckFailed, Skipped, ensure, perform
from sfm.testing.conformance import checks_of, run_checks, summary


@pytest.fixture(autouse=True)
def fresh(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("SFM_CACHE", str(tmp_path / "cache"))
    for function in (models.encoder_samples, models.fitting_heads, models.model_for):
        function.cache_clear()
    yield
    for function in (models.encoder_samples, models.fitting_heads, models.model_for):
        function.cache_clear()


def test_the_scaffold_passes(toy):
    """All but those in fresh processes, which tests/testing/test_scaffold.py runs."""
    results = run_checks("toy", only="toy/points") + run_checks("toy", only="clusters")
    counts = summary(results)
    assert counts["failed"] == 0, [r for r in results if r.status == "failed"]
    assert counts["passed"] >= 22
    assert [r.name for r in results if r.status == "skipped"] == [
        "toy/points:stress-is-a-difference"
    ]


def test_names_are_unique(toy):
    names = [c.name for c in checks_of("toy")]
    assert len(names) == len(set(names)) > 45


@pytest.mark.parametrize(
    ("function", "expected", "status"),
    [
        (lambda: "fine", {}, "passed"),
        (lambda: ensure(False, "broken"), {}, "failed"),
        (lambda: 1 / 0, {}, "failed"),
        (lambda: ensure(False, "broken"), {"part:what": "known"}, "expected"),
        (lambda: "fine", {"part:what": "known"}, "failed"),
    ],
)
def test_an_expected_failure_that_passes_fails(function, expected, status):
    assert perform(Check("part", "what", function), expected).status == status


def test_skipping():
    def skip():
        raise Skipped("not here")

    assert perform(Check("p", "w", skip), {}).status == "skipped"


# ------------------------------------------------------------------ mutants of the encoder


def mutant(monkeypatch, tokenize):
    """The toy's encoder with another `tokenize`."""
    from sfm_toy.model.encoder import AtomEncoder

    original = AtomEncoder.tokenize
    monkeypatch.setattr(
        AtomEncoder, "tokenize", lambda self, sample: tokenize(original, self, sample)
    )


def absolute(original, self, sample):
    """Depends on where the system is and how it lies."""
    tokens = original(self, sample)
    kept = tokens.positions[tokens.edges[0], 0] > 0
    return tokens.replace(edges=tokens.edges[:, kept], shifts=tokens.shifts[kept])


def by_order(original, self, sample):
    """The first atom of the list is special."""
    tokens = original(self, sample)
    types = tokens.types.clone()
    types[0] = 1
    return tokens.replace(types=types)


def sharp(original, self, sample):
    """Neighbours vanish at 90% of the cutoff's envelope."""
    tokens = original(self, sample)
    return tokens.replace(cutoff=tokens.cutoff * 1.3)


@pytest.mark.parametrize(
    ("tokenize", "check", "arguments", "said"),
    [
        (absolute, "outputs_follow_symmetries", ("float64",), "breaks"),
        (by_order, "permutation", ("float64",), "depends on the order"),
        (by_order, "extensivity", (), "two copies"),
        (sharp, "smooth_at_cutoff", (), "jumps"),
    ],
)
def test_encoder_mutants_are_caught(monkeypatch, tokenize, check, arguments, said):
    function = getattr(conformance_encoder, check)
    function("toy/points", *arguments)
    models.model_for.cache_clear()
    mutant(monkeypatch, tokenize)
    with pytest.raises(CheckFailed, match=said):
        function("toy/points", *arguments)


def test_a_head_that_is_not_extensive_is_caught(monkeypatch):
    from sfm.nn.head import ScalarSum

    conformance_encoder.extensivity("toy/points")
    right = ScalarSum.forward
    monkeypatch.setattr(ScalarSum, "forward", lambda self, f, i: right(self, f, i) ** 2)
    with pytest.raises(CheckFailed, match="energy of two copies"):
        conformance_encoder.extensivity("toy/points")


def test_a_leak_between_systems_is_caught(monkeypatch):
    from sfm.nn.head import ScalarSum

    right = ScalarSum.forward
    monkeypatch.setattr(
        ScalarSum, "forward", lambda s, f, i: right(s, f, i) - right(s, f, i).mean()
    )
    with pytest.raises(CheckFailed, match="leaks"):
        conformance_encoder.no_leak("toy/points")


def test_forces_that_are_no_derivative_are_caught(monkeypatch):
    from sfm.model import FoundationModel

    right = FoundationModel.forward

    def wrong(self, batch, quantities, **options):
        out = right(self, batch, quantities, **options)
        for values in out.values():
            if "forces" in values:
                values["forces"] = 1.001 * values["forces"]
        return out

    monkeypatch.setattr(FoundationModel, "forward", wrong)
    with pytest.raises(CheckFailed, match="forces differ"):
        conformance_encoder.forces_are_differences("toy/points")


# ------------------------------------------------------------------ mutants of the simulator


def oscillator(monkeypatch, **changes):
    from sfm_toy.simulators.oscillator import Oscillator

    for name, value in changes.items():
        monkeypatch.setattr(Oscillator, name, value)


def euler(self, state, steps=1):
    """First order, and it gains energy."""
    x, v, t = state
    for _ in range(steps):
        a = self.acceleration(x)
        x, v = x + self.timestep * v, v + self.timestep * a
    return type(state)(x, v, t + steps * self.timestep)


def detached(self, positions):
    """A parameter that does not reach the gradient."""
    from sfm_toy.simulators.oscillator import ACCELERATION

    return -ACCELERATION * self.stiffness.detach() * positions / self.mass


def in_place(self, state, steps=1):
    state.positions.mul_(0.9)
    return state


@pytest.mark.parametrize(
    ("changes", "check", "said"),
    [
        ({"forward": euler}, "order", "declares order 2, measured 1"),
        ({"forward": euler}, "conserved", "'total_energy' changes"),
        ({"acceleration": detached}, "gradcheck_parameters", "gradient is wrong"),
        ({"forward": in_place}, "deterministic", "changes the state"),
        ({"observables": ()}, "observables", "undeclared"),
        ({"summary": ""}, "documented", "no summary"),
        ({"forward": lambda s, x, n=1: x._replace(time=x.time.float())}, "shapes", "becomes"),
        ({"conserved": {"spin": 0.0}}, "conserved", "no observable"),
    ],
)
def test_simulator_mutants_are_caught(monkeypatch, changes, check, said):
    function = getattr(conformance_simulator, check)
    function("toy/oscillator")
    oscillator(monkeypatch, **changes)
    with pytest.raises(CheckFailed, match=said):
        function("toy/oscillator")


def test_a_batch_that_mixes_its_states_is_caught(monkeypatch):
    from sfm_toy.simulators.oscillator import Oscillator

    right = Oscillator.acceleration
    monkeypatch.setattr(Oscillator, "acceleration", lambda s, x: right(s, x) + 1e-3 * x.mean())
    with pytest.raises(CheckFailed, match="batch differs"):
        conformance_simulator.batch_equals_loop("toy/oscillator")


# ------------------------------------------------------------------ mutants of the plugin


def test_a_heavy_plugin_is_caught(site, monkeypatch):
    from sfm.testing.conformance_plugin import light_import
    from sfm.testing.distributions import install

    text = "import torch\nfrom sfm.plugin import Plugin\n"
    text += "plugin = Plugin(name='fat', domain='d', summary='s')"
    install(site, "sfm-fat", {"fat": "mod_fat:plugin"}, {"mod_fat": text})
    monkeypatch.setenv("SFM_PLUGINS", "fat")
    monkeypatch.setenv("PYTHONPATH", str(site))
    registry.clear_cache()
    with pytest.raises(CheckFailed, match=r"imports .*torch"):
        light_import(registry.plugin("fat"))


def test_states_are_trees():
    from typing import NamedTuple

    class Pair(NamedTuple):
        a: torch.Tensor
        b: dict

    state = Pair(torch.ones(2), {"c": (torch.zeros(3), 5)})
    assert [x.shape[0] for x in conformance_simulator.leaves(state)] == [2, 3]
    moved = conformance_simulator.rebuilt(state, lambda x: x + 1)
    assert moved.b["c"][0].tolist() == [1.0] * 3
    assert moved.b["c"][1] == 5
