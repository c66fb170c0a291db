"""The box, the walls and the parameters of a file: honoured, refused or said, through every door.

The Taylor-Green vortex is exact: in a 1 x 1 box its energy decays as exp(-4 nu (2 pi)^2 t), which
is 0.7292 at nu = 0.002 and t = 1; waves on a line of length 1 with nu k^2.
"""

from __future__ import annotations

import json
import math

import h5py
import numpy as np
import pytest
import torch
from sfm_fluids.files.readers import read_hdf5
from sfm_fluids.periodic.burgers import Burgers
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D
from sfm_fluids.periodic.navier_stokes_3d import NavierStokes3D
from sfm_fluids.periodic.shallow_water import ShallowWater
from sfm_fluids.spectral.energy_shares import BEYOND, DIVERGENT, energy_shares
from sfm_fluids.staggered.finite_volume_2d import FiniteVolume2D

import sfm
from sfm.cli import main
from sfm.data.sample import Sample
from sfm.errors import InputError, InputWarning

NU = 0.002


def vortex(height: int, width: int, length_x: float = 1.0, length_y: float = 1.0) -> np.ndarray:
    """(2, H, W), divergence-free, k = 2 pi / length on both axes."""
    kx, ky = 2 * np.pi / length_x, 2 * np.pi / length_y
    y, x = np.meshgrid(
        np.arange(height) * length_y / height, np.arange(width) * length_x / width, indexing="ij"
    )
    return np.stack((np.cos(kx * x) * np.sin(ky * y), -kx / ky * np.sin(kx * x) * np.cos(ky * y)))


def write(path, velocity, **attributes):
    with h5py.File(path, "w") as file:
        file["velocity"] = velocity
        file.attrs.update(attributes)
    return path


def simulate(capsys, *words) -> dict:
    assert main(["simulate", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def decay(report: dict) -> float:
    energy = np.ravel(report["quantities"]["mean_kinetic_energy"]["value"])
    return energy[-1] / energy[0]


@pytest.mark.parametrize("part", ["navier-stokes-2d", "les-2d", "finite-volume-2d"])
@pytest.mark.parametrize("box", [(1.0, 1.0), (2.0, 1.0)])
def test_a_flow_in_a_plane_runs_in_the_box_of_its_file(tmp_path, capsys, part, box):
    length_x, length_y = box
    size = (16, round(16 * length_x))
    path = write(
        tmp_path / "flow.h5",
        vortex(*size, *box),
        length_x=length_x,
        length_y=length_y,
        viscosity=NU,
        drag=0.0,
    )
    more = ["advection=central"] if part == "finite-volume-2d" else ["subgrid=none"]
    settings = ["forcing_wavenumber=0", "dt=0.02", *more]
    report = simulate(capsys, f"fluids/{part}", "--input", path, "--set", *settings, "--steps", 50)
    k2 = (2 * np.pi / length_x) ** 2 + (2 * np.pi / length_y) ** 2
    exact = math.exp(-2 * NU * k2)
    # second order on 16 cells; the spectral solver is exact
    assert decay(report) == pytest.approx(exact, rel=0.01 if part == "finite-volume-2d" else 1e-6)
    if box == (1.0, 1.0):
        assert exact == pytest.approx(0.7292, abs=5e-5)
    assert not [w for w in report["warnings"] if "flow" in w]


@pytest.mark.parametrize("part", ["navier-stokes-3d", "les-3d"])
def test_a_flow_in_space_runs_in_the_box_of_its_file(tmp_path, capsys, part):
    """The plane vortex, the same at all z, in a 1 x 1 x 2 box."""
    plane = vortex(8, 8)
    velocity = np.zeros((3, 16, 8, 8))
    velocity[:2] = plane[:, None]
    path = write(
        tmp_path / "flow.h5", velocity, length_x=1.0, length_y=1.0, length_z=2.0, viscosity=NU
    )
    more = ["subgrid=none"] if part == "les-3d" else []
    report = simulate(
        capsys, f"fluids/{part}", "--input", path, "--set", "dt=0.05", *more, "--steps", 20
    )
    assert decay(report) == pytest.approx(math.exp(-16 * NU * np.pi**2), rel=1e-6)


def test_a_wave_runs_on_the_line_of_its_file(tmp_path, capsys):
    """Small waves of the Burgers equation decay as exp(-nu k^2 t)."""
    wave = 1e-6 * np.sin(2 * np.pi * np.arange(32) / 32)
    path = tmp_path / "wave.npz"
    np.savez(path, u=wave, length=1.0, viscosity=0.01)
    report = simulate(capsys, "fluids/burgers", "--input", path, "--steps", 200, "--every", 200)
    assert report["quantities"]["time"]["value"][-1] == pytest.approx(1.0)
    assert decay(report) == pytest.approx(math.exp(-2 * 0.01 * (2 * np.pi) ** 2), rel=1e-4)


def sample(velocity, lengths, pbc=True, **conditions) -> Sample:
    return Sample(
        id="a flow",
        domain="fluids",
        cell=np.diag([*lengths, 1.0, 1.0][:3]),
        pbc=np.full(3, pbc),
        fields={"velocity": velocity},
        conditions=conditions,
    )


SIMULATORS = [
    (NavierStokes2D, vortex(8, 8), {"grid": 8, "forcing_wavenumber": 1}),
    (FiniteVolume2D, vortex(8, 8), {"height": 8, "width": 8, "forcing_wavenumber": 1}),
    (NavierStokes3D, np.zeros((3, 8, 8, 8)), {"grid": 8}),
    (Burgers, np.zeros(16), {"points": 16}),
]


@pytest.mark.parametrize(("cls", "velocity", "values"), SIMULATORS)
def test_another_box_and_walls_are_refused_in_python_too(cls, velocity, values):
    lengths = (1.0,) * max(1, velocity.ndim - 1)
    with pytest.raises(InputError, match=r"length\w* is 1 there and 6\.28319 here; set length"):
        cls(**values).state(sample(velocity, lengths))
    with pytest.raises(InputError, match=r"walls or open ends along x.*takes periodic fields"):
        cls(**values).state(sample(velocity, (2 * np.pi,) * len(lengths), pbc=False))
    simulator = cls.from_sample(sample(velocity, lengths), **values)
    assert simulator.stating()[next(iter(simulator.stating()))] == 1.0
    simulator.state(sample(velocity, lengths))


def test_shallow_water_takes_box_and_gravity():
    fields = {"velocity": np.zeros((2, 8, 8)), "layer_depth": np.ones((8, 8))}
    still = sample(np.zeros((2, 8, 8)), (3.0, 3.0), gravity=9.81).replace(fields=fields)
    sim = ShallowWater.from_sample(still)
    assert (sim.length_x, sim.height, float(sim.gravity.detach())) == (3.0, 8, 9.81)
    sim.state(still)
    with pytest.raises(InputError, match="length_x is 3 there"):
        ShallowWater(height=8, width=8).state(still)


def test_what_is_dropped_is_said(tmp_path):
    """A quarter of the energy in a divergent wave, a fifth of the rest beyond the 2/3 rule."""
    y, x = np.meshgrid(*[np.arange(16) * 2 * np.pi / 16] * 2, indexing="ij")
    smooth = np.stack((np.sin(y), 0 * x))
    gradient = np.stack((np.sin(2 * x), 0 * x)) / math.sqrt(2)
    small = np.stack((np.sin(7 * y), 0 * x)) / math.sqrt(2)
    shares = energy_shares(smooth + gradient + small, (2 * np.pi, 2 * np.pi))
    assert shares == {DIVERGENT: pytest.approx(0.25), BEYOND: pytest.approx(0.25)}
    line = energy_shares(smooth[0][:, 0] + small[0][:, 0], (1.0,))
    assert line == {BEYOND: pytest.approx(1 / 3)}
    volume = np.zeros((3, 8, 8, 8))
    volume[2] = np.sin(np.arange(8) * np.pi / 4)[:, None, None]  # along z, of z
    assert energy_shares(volume, (1.0, 1.0, 1.0))[DIVERGENT] == pytest.approx(1.0)
    sim = NavierStokes2D(grid=16)
    flow = sample(smooth + gradient, (2 * np.pi, 2 * np.pi), reynolds=100.0, time=0.5, drag=0.1)
    flow = flow.replace(fields={**flow.fields, "pressure": x})
    with pytest.warns(InputWarning) as told:
        state = sim.state(flow)
    said = [str(w.message) for w in told]
    assert said == [
        "a flow: fluids/navier-stokes-2d does not use its pressure, reynolds=100",
        "a flow: fluids/navier-stokes-2d drops part of the velocity's energy: the divergent part, "
        "33.333% of it",
    ]
    assert state.time == 0.5
    assert torch.allclose(sim.velocity(state)[0], torch.from_numpy(smooth), atol=1e-12)
    with pytest.warns(InputWarning, match=r"viscosity=0\.5 \(set to 0\.001\)"):
        sim.state(sample(smooth, (2 * np.pi, 2 * np.pi), viscosity=0.5))
    bare = Sample(id="bare", domain="fluids", fields={"velocity": smooth})
    with pytest.warns(InputWarning, match=r"bare: states no box; taken as 6\.28319 x 6\.28319"):
        NavierStokes2D.from_sample(bare)
    assert NavierStokes2D.from_sample(bare, length_x=1.0, length_y=1.0).grid.shape == (16, 16)


def test_walls_and_oblong_cells_reach_no_periodic_door(tmp_path, capsys):
    path = write(
        tmp_path / "walls.h5",
        vortex(16, 16),
        length_x=1.0,
        length_y=1.0,
        boundary_y="wall",
    )
    with h5py.File(path, "a") as file:
        file["times"] = np.zeros(1)
    words = ["fluids/navier-stokes-2d", "--set", "grid=16"]
    for command in (
        ["simulate", *words, "--input", str(path)],
        ["fit", *words, "length_x=1", "length_y=1", "--data", str(path), "--param", "viscosity"],
        ["predict", "sfm-tiny", str(path)],
    ):
        assert main(command) == 2
        assert "takes periodic fields only" in capsys.readouterr().err
    oblong = write(tmp_path / "oblong.h5", vortex(16, 16), length_x=2.0, length_y=1.0)
    assert main(["predict", "sfm-tiny", str(oblong)]) == 2
    assert "needs square ones" in capsys.readouterr().err
    report = simulate(capsys, "fluids/navier-stokes-2d", "--input", oblong, "--steps", 1)
    assert report["warnings"][0].startswith("oblong: fluids/navier-stokes-2d drops part")


def test_fits_refuse_another_box(tmp_path):
    runs = {
        "plane.npz": (NavierStokes2D(grid=8, forcing_wavenumber=1), np.zeros((2, 2, 8, 8))),
        "space.npz": (NavierStokes3D(grid=8), np.zeros((2, 3, 8, 8, 8))),
        "line.npz": (Burgers(points=8), np.zeros((2, 8))),
    }
    for name, (sim, velocity) in runs.items():
        path = tmp_path / name
        np.savez(path, velocity=velocity, times=[0.0, 1.0], length_x=1.0)
        with pytest.raises(InputError, match=r"length\w* is 1 there and 6\.28319 here"):
            sim.read_observations(path)
        np.savez(path, velocity=velocity, times=[0.0, 1.0], length_x=2 * np.pi, boundary_x="open")
        with pytest.raises(InputError, match="the boundary 'open' along x"):
            sim.read_observations(path)
        np.savez(path, velocity=velocity, times=[0.0, 1.0], sigma=[1.0, 2.0])
        with pytest.raises(InputError, match="sigma holds 2 values, not one number"):
            sim.read_observations(path)


@pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".npz"])
def test_a_written_run_states_its_box_and_walls(tmp_path, capsys, monkeypatch, suffix):
    """What we write we read: the box of a periodic run, the walls of a cavity."""
    monkeypatch.chdir(tmp_path)
    box = ["length_x=1", "length_y=2", "width=8", "height=16", "forcing_wavenumber=1"]
    part = "fluids/navier-stokes-2d"
    simulate(capsys, part, "--set", *box, "--steps", 2, "--output", f"run{suffix}")
    last = sfm.read(f"run{suffix}")[-1]
    assert np.allclose(np.diag(last.cell), [1.0, 2.0, 1.0])
    assert last.pbc.tolist() == [True, True, False]
    again = simulate(capsys, part, "--input", f"run{suffix}", "--set", "forcing_wavenumber=1",
                     "--steps", 1)  # fmt: skip
    assert not [w for w in again["warnings"] if w.startswith("run")]
    small = ["height=8", "width=8", "stretching=0"]
    simulate(capsys, "fluids/cavity", "--set", *small, "--steps", 1, "--output", f"box{suffix}")
    assert not any(sfm.read(f"box{suffix}")[-1].pbc)
    with pytest.raises(InputError, match="walls or open ends along x and y"):
        NavierStokes2D.from_sample(sfm.read(f"box{suffix}")[-1])


def test_a_stretched_grid_is_no_field_to_start_from(tmp_path, capsys):
    out = tmp_path / "stretched.h5"
    simulate(capsys, "fluids/cavity", "--set", "height=8", "width=8", "--steps", 1, "--output", out)
    with pytest.raises(InputError, match="not evenly spaced"):
        read_hdf5(out)


def test_finite_volumes_are_fitted(tmp_path):
    """The start is unknown, too: it is estimated from all snapshots."""
    case = {"initial": "taylor-green", "viscosity": 0.02, "forcing_wavenumber": 0, "dt": 0.05}
    sim = FiniteVolume2D(height=16, width=16, **case)
    with torch.no_grad():
        run = sim.run(sim.state(), 8, every=4)
    sim.write(run, tmp_path / "run.h5")
    seen = sim.read_observations(tmp_path / "run.h5")
    predicted = sim.predict_observations(seen)["velocity"]
    assert predicted.shape == seen.values["velocity"].shape
    # from faces to points and back by means of neighbours: (k h)^2 / 8 a time
    error = (predicted - seen.values["velocity"]).norm() / seen.values["velocity"].norm()
    assert 0 < error.detach() < (2 * np.pi / 16) ** 2 / 4
