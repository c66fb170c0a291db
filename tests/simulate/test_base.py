"""The base of simulators: parameters, settings, runs."""

from __future__ import annotations

import pytest
import torch

from sfm.errors import InputError
from sfm.quantity import Quantity
from sfm.simulate import Parameter, Setting, Simulator


class Decay(Simulator):
    """x' = -k x by Euler's method."""

    part = "test/decay"
    summary = "exponential decay"
    parameters_spec = (Parameter("rate", "1/second", 0.5, 0.0, 10.0, "k"),)
    settings_spec = (
        Setting("dt", 0.1, (), "second", "step"),
        Setting("substeps", 1, (), "1", "per step"),
        Setting("method", "euler", ("euler", "midpoint"), "1", "which"),
    )
    observables = (Quantity("amount", "1"),)
    time_unit = "second"

    def state(self, sample=None):
        return torch.ones(2, dtype=self.dtype)

    def forward(self, state, steps=1):
        for _ in range(steps):
            state = state - self.dt * self.rate * state
        return state

    def observe(self, state):
        return {"amount": state}


def test_parameters_are_differentiable_and_settings_plain():
    simulator = Decay(rate=1.0, dt="0.2", substeps=2.0)
    assert [name for name, _ in simulator.named_parameters()] == ["rate"]
    assert simulator.dt == 0.2
    assert simulator.substeps == 2
    assert type(simulator.substeps) is int
    x = simulator(simulator.state(), 3)
    (slope,) = torch.autograd.grad(x[0], simulator.rate)
    assert slope.item() == pytest.approx(-3 * 0.2 * 0.8**2)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rat": 1.0}, r"no parameter or setting 'rat' .*Did you mean 'rate'"),
        ({"rate": -1.0}, r"rate=-1.0 1/second is outside \[0.0, 10.0\]"),
        ({"rate": float("nan")}, "is outside"),
        ({"rate": "fast"}, "is not a number"),
        ({"dt": "soon"}, "is not of type float"),
        ({"substeps": 1.5}, "not a whole number"),
        ({"method": "eular"}, "not one of euler, midpoint. Did you mean 'euler'"),
        ({"closure": torch.nn.Identity()}, "takes no closure"),
        ({"dtype": "float32"}, "dtype='float32' is no torch.dtype"),
    ],
)
def test_what_cannot_be_is_one_line(values, said):
    with pytest.raises(InputError, match=f"test/decay: .*{said}|test/decay: {said}"):
        Decay(**values)


def test_a_closure_by_name_says_what_to_do():
    class Open(Decay):
        closure_quantity = "energy"

    with pytest.raises(InputError, match=r"'sfm-tiny' is no torch\.nn\.Module; .*--closure MODEL"):
        Open(closure="sfm-tiny")


def test_settings_may_take_others_than_their_choices():
    class Open(Decay):
        settings_spec = (Setting("method", "euler", ("euler",), others="a file of coefficients"),)

    assert Open(method="rk.txt").method == "rk.txt"
    assert Open(method="EULER").method == "euler"


def test_choices_do_not_care_for_capitals():
    assert Decay(method="MidPoint").method == "midpoint"


def test_a_run_records_first_last_and_between():
    simulator = Decay()
    trajectory = simulator.run(simulator.state(), 10, every=4)
    assert len(trajectory.states) == 4  # 0, 4, 8, 10
    assert trajectory.observables["amount"].shape == (4, 2)
    assert trajectory.units == {"amount": "1"}
    torch.testing.assert_close(trajectory.states[-1], simulator(simulator.state(), 10))
    with pytest.raises(InputError, match="need >= 0"):
        simulator.run(simulator.state(), -1)


def test_what_a_simulator_does_not_do_it_says(tmp_path):
    simulator = Decay()
    trajectory = simulator.run(simulator.state(), 1)
    with pytest.raises(InputError, match="draws no picture"):
        simulator.plot(trajectory, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"writes no '.cif'"):
        simulator.write(trajectory, tmp_path / "a.cif")
    with pytest.raises(InputError, match="cannot be fitted"):
        simulator.read_observations(tmp_path / "a.csv")
