"""Reading fields, writing runs, drawing, and fitting from noisy snapshots."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
import torch
from sfm_fluids.files.readers import read_array, read_hdf5, read_npz
from sfm_fluids.periodic.navier_stokes_2d import NavierStokes2D

from sfm.errors import InputError, WrongDomain
from sfm.simulate.fit import Problem, fit


def field(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


def test_hdf5_and_npz_give_the_same_samples(tmp_path):
    velocity = field(3, 2, 8, 12)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["velocity"] = velocity
        file.attrs["length_x"] = 3.0
    np.savez(tmp_path / "a.npz", velocity=velocity, length_x=3.0)
    for samples in (read_hdf5(tmp_path / "a.h5"), read_npz(tmp_path / "a.npz")):
        assert [s.id for s in samples] == ["a:0", "a:1", "a:2"]
        assert np.array_equal(samples[1].fields["velocity"], velocity[1])
        assert np.allclose(np.diag(samples[0].cell), [3.0, 2.0, 1.0])
    assert len(read_array(velocity[0])) == 1


def test_bad_files_are_one_line(tmp_path):
    def written(name: str, **data) -> str:
        with h5py.File(tmp_path / name, "w") as file:
            for key, value in data.items():
                file[key] = value
        return str(tmp_path / name)

    with pytest.raises(WrongDomain, match="no dataset 'velocity'"):
        read_hdf5(written("other.h5", density=field(4, 4)))
    with pytest.raises(InputError, match=r"shape \(3, 8, 8\)"):
        read_hdf5(written("shape.h5", velocity=field(3, 8, 8)))
    broken = field(2, 2, 8, 8)
    broken[1, 0, 3, 4] = np.nan
    with pytest.raises(InputError, match=r"not finite at index \(1, 0, 3, 4\)"):
        read_hdf5(written("nan.h5", velocity=broken))
    with pytest.raises(InputError, match=r"length_x holds 2 values, not one number"):
        read_hdf5(written("lengths.h5", velocity=field(2, 8, 8), length_x=[1.0, 2.0]))
    with pytest.raises(InputError, match=r"reynolds='evil' is not a number"):
        read_hdf5(written("text.h5", velocity=field(2, 8, 8), reynolds="evil"))
    with pytest.raises(InputError, match=r"length_x=-1\.0 must be positive"):
        read_hdf5(written("negative.h5", velocity=field(2, 8, 8), length_x=-1.0))
    with pytest.raises(InputError, match="divide it by a velocity scale"):
        read_hdf5(written("unit.h5", velocity=field(2, 8, 8), unit="m/s"))
    whole = written("whole.h5", velocity=field(50, 2, 16, 16))
    data = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cut\.h5: damaged or truncated"):
        read_hdf5(tmp_path / "cut.h5")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError, match="damaged or truncated"):
        read_npz(tmp_path / "cut.npz")
    with pytest.raises(InputError, match="no such file"):
        read_hdf5(whole + "x")


def test_a_run_is_drawn_written_and_read_again(tmp_path):
    sim = NavierStokes2D(height=16, width=16)
    with torch.no_grad():
        trajectory = sim.run(sim.state(), 20, every=5)
    for name in ("flow.png", "flow.gif"):
        sim.plot(trajectory, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    sim.write(trajectory, tmp_path / "flow.h5")
    samples = read_hdf5(tmp_path / "flow.h5")
    assert len(samples) == 5
    again = sim.velocity(sim.state(samples[-1]))
    assert torch.allclose(again, trajectory.observables["velocity"][-1], atol=1e-12)
    with pytest.raises(InputError, match=r"not '\.bmp'"):
        sim.plot(trajectory, tmp_path / "flow.bmp")


def test_films_and_fields_of_scalars(tmp_path, monkeypatch):
    """.mp4 with the ffmpeg of the extra; without one, a line that names the .gif."""
    from matplotlib.animation import FFMpegWriter

    sim = NavierStokes2D(grid=8, width=16, forcing_wavenumber=1, scalars=1)
    with torch.no_grad():
        trajectory = sim.run(sim.state(), 4, every=2)
    sim.plot(trajectory, tmp_path / "two-rows.png")
    assert (tmp_path / "two-rows.png").stat().st_size > 1000
    sim.plot(trajectory, tmp_path / "flow.mp4")
    assert b"ftyp" in (tmp_path / "flow.mp4").read_bytes()[:12]
    monkeypatch.setattr(FFMpegWriter, "isAvailable", lambda: False)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match=r"draw to flow\.gif instead"):
        sim.plot(trajectory, tmp_path / "flow.mp4")


def test_viscosity_and_drag_are_recovered_from_noisy_snapshots(tmp_path):
    """The fit finds the truth within four of its standard errors, which are below 2%."""
    truth = NavierStokes2D(height=16, width=16, viscosity=0.02, drag=0.15, dt=0.03, seed=4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        trajectory = truth.run(truth.state(), 24, every=8)
    clean = trajectory.observables["velocity"][:, 0]
    noise = 0.01 * torch.randn(clean[1:].shape, generator=generator, dtype=torch.float64)
    np.savez(
        tmp_path / "obs.npz",
        velocity=(clean[1:] + noise).numpy(),
        times=trajectory.times[1:].numpy(),
        initial_velocity=clean[0].numpy(),
        sigma=0.01,
    )
    sim = NavierStokes2D(height=16, width=16, viscosity=0.03, drag=0.1, dt=0.03)
    seen = sim.read_observations(tmp_path / "obs.npz")
    result = fit(sim, seen, ["viscosity", "drag"])
    assert result.converged
    for name, true in (("viscosity", 0.02), ("drag", 0.15)):
        estimate = result.estimates[name]
        assert abs(estimate.value - true) < 4 * estimate.standard_error
        assert estimate.standard_error < 0.02 * true
    with pytest.raises(InputError, match="no multiples of dt"):
        NavierStokes2D(height=16, width=16, dt=0.05).read_observations(tmp_path / "obs.npz")


def test_forward_mode_passes_through_the_recomputed_steps(tmp_path):
    sim = NavierStokes2D(height=8, width=8, viscosity=0.02, dt=0.02, forcing_wavenumber=1)
    with torch.no_grad():
        trajectory = sim.run(sim.state(), 4, every=2)
    sim.write(trajectory, tmp_path / "run.npz")
    problem = Problem(sim, sim.read_observations(tmp_path / "run.npz"), ["viscosity", "drag"])
    _, slopes = problem._forward_mode(problem.start)
    for i, unit in enumerate(torch.eye(2, dtype=torch.float64) * 1e-6):
        ends = [problem.value(problem.start + sign * unit) for sign in (1, -1)]
        assert torch.allclose(slopes[:, i], (ends[0] - ends[1]) / 2e-6, atol=1e-7)
