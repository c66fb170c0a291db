"""Data out of published packages: what they say, and that it obeys the physics it is said to."""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np
import pytest
import torch
from sfm_fluids.data import piv, sea_surface
from sfm_fluids.data.specs import BURGERS, DARCY, DARCY_32, PIV_MEASURED, SST_OSTIA
from sfm_fluids.files.piv import PIXELS, read_vc7, read_vec
from sfm_fluids.periodic.burgers import Burgers

from sfm.data.storage import Dataset
from sfm.errors import InputError


def opened(spec, split: str | None = None) -> Dataset:
    return Dataset(spec.folder, length_unit=spec.length_unit, split=split)


# ------------------------------------------------------------------ Darcy and Burgers


@pytest.mark.parametrize(("spec", "points"), [(DARCY, 16), (DARCY_32, 32)])
def test_darcy_pressure_obeys_its_equation(spec, points):
    """-div(a grad p) = 1: where a is the same all around, a lap p = -1."""
    data = opened(spec)
    curvatures = {0.36: [], 0.02: []}
    for sample in data:
        a = sample.fields["permeability"]
        p = sample.labels["pore_pressure"].astype(np.float64)
        assert a.shape == p.shape == (points, points)
        assert set(np.unique(a.round(3))) <= {np.float32(0.36), np.float32(0.02)}
        laplacian = points**2 * (
            p[1:-1, 2:] + p[1:-1, :-2] + p[2:, 1:-1] + p[:-2, 1:-1] - 4 * p[1:-1, 1:-1]
        )
        block = np.lib.stride_tricks.sliding_window_view(a, (3, 3)).reshape(*laplacian.shape, 9)
        for value in curvatures:
            same = (np.abs(block - value) < 1e-3).all(-1)
            curvatures[value] += (-value * laplacian[same]).tolist()
    for values in curvatures.values():
        assert len(values) > 4000
        assert np.median(values) == pytest.approx(1, abs=0.01)
        low, high = np.quantile(values, [0.25, 0.75])
        assert 0.95 < low < high < 1.05


def test_darcy_pressure_has_its_maximum_inside_and_nothing_at_the_edge():
    """The maximum principle: p > 0. Some of the source's edge values break it; they are counted."""
    pressures = np.stack([s.labels["pore_pressure"] for s in opened(DARCY)])
    assert (pressures[:, 1:, 1:] > 0).all()
    assert (pressures < 0).any((1, 2)).sum() == 13
    assert np.abs(pressures[:, 0]).mean() < 0.01 * pressures.mean()
    assert np.abs(pressures[:, :, 0]).mean() < 0.01 * pressures.mean()
    coarse = {s.id: s for s in opened(DARCY, "test")}
    for sample in opened(DARCY_32):
        twin = coarse[sample.id]
        fine = sample.labels["pore_pressure"]
        assert np.abs(fine[::2, ::2] - twin.labels["pore_pressure"]).max() < 0.1 * fine.max()


def test_burgers_trajectories_are_those_of_our_solver():
    """u_t + u u_x = 0.01 u_xx on [0, 1): 17 times 1/16 apart, from 16 of the source's points."""
    data = opened(BURGERS, "test")
    sim = Burgers(points=128, length=1.0, viscosity=0.01, dt=1 / 512)
    samples = [data[i] for i in range(20)]
    start = np.stack([s.fields["velocity"] for s in samples]).astype(np.float64)
    hat = np.zeros((len(start), 65), dtype=complex)
    hat[:, :8] = np.fft.rfft(start)[:, :8] * (128 / 16)
    state = sim.from_field(torch.from_numpy(np.fft.irfft(hat)))
    errors = []
    with torch.no_grad():
        for step in range(16):
            state = sim(state, 32)
            ours = state.velocity[:, ::8].numpy()
            theirs = np.stack([s.labels["velocity"][step] for s in samples])
            errors.append(np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1))
    # steep fields are aliased on the source's 16 points, so only most of them agree closely
    assert np.median(errors) < 0.02
    assert np.quantile(errors, 0.75) < 0.06
    assert data[0].conditions["viscosity"] == pytest.approx(0.01)
    assert data[0].conditions["interval"] == 1 / 16
    for sample in samples:
        u = np.concatenate([sample.fields["velocity"][None], sample.labels["velocity"]])
        energy = np.square(u.astype(np.float64)).mean(1)
        assert (np.diff(energy) < 0).all()
        # the maximum principle holds for the equation; 16 points may miss a maximum in between
        assert np.abs(u).max() <= np.abs(u[0]).max() * 1.1


# ------------------------------------------------------------------ sea surface


def test_sea_surface_temperature_is_of_this_planet():
    samples = list(opened(SST_OSTIA))
    ocean = samples[0].fields["ocean"]
    assert ocean.shape == (18, 432)
    assert 1 - ocean.mean() == pytest.approx(0.2643, abs=1e-4)  # Africa, Borneo, South America
    assert not ocean[9, 24]  # 0 N, 20 E: the Congo
    assert ocean[9, 216]  # 0 N, 180 E: the Pacific
    for sample in samples:
        for values in (sample.fields["sea_surface_temperature"], *sample.labels.values()):
            assert values.dtype == np.float32
            assert 289 < values[ocean].min() < values[ocean].max() < 305
            assert (values[~ocean] == sea_surface.LAND).all()
            west, east = values[:, 168:192], values[:, 288:312]  # 140-160 E, 120-100 W
            assert west[ocean[:, 168:192]].mean() > east[ocean[:, 288:312]].mean() + 1  # warm pool
    assert np.allclose(np.diag(samples[0].cell), [2 * np.pi, np.radians(10), 1], atol=1e-3)
    assert samples[0].conditions["length_scale"] == pytest.approx(6_371_229)
    assert samples[0].pbc.tolist() == [True, False, False]


def test_sea_surface_splits_are_in_time_and_its_labels_are_the_next_month():
    seen = {s: list(opened(SST_OSTIA, s)) for s in ("train", "validation", "test")}
    assert [len(v) for v in seen.values()] == [36, 7, 8]
    ids = [[s.id for s in v] for v in seen.values()]
    assert [(i[0], i[-1]) for i in ids] == [
        ("2006-04", "2009-03"),
        ("2009-05", "2009-11"),
        ("2010-01", "2010-08"),
    ]
    name = "sea_surface_temperature"
    for samples in seen.values():
        for now, later in pairwise(samples):
            assert np.array_equal(now.labels[name], later.fields[name])


def test_baselines_of_the_card():
    """Persistence, and persistence of the anomaly from the training years' months."""
    seen = {s: list(opened(SST_OSTIA, s)) for s in ("train", "test")}
    name, ocean = "sea_surface_temperature", seen["train"][0].fields["ocean"]
    months = [
        np.mean([s.fields[name] for s in seen["train"] if s.conditions["month"] == m], axis=0)
        for m in range(1, 13)
    ]
    errors = []
    for s in seen["test"]:
        month = round(s.conditions["month"])
        anomaly = s.fields[name] - months[month - 1]
        guesses = (s.fields[name], months[month % 12], months[month % 12] + anomaly)
        errors.append([np.square(g - s.labels[name])[ocean].mean() for g in guesses])
    rms = np.sqrt(np.mean(errors, axis=0))
    assert rms == pytest.approx([0.767, 0.919, 0.510], abs=2e-3)


# ------------------------------------------------------------------ measured velocities


def test_measured_flows_are_in_metres_per_second_and_nearly_free_of_divergence():
    samples = list(opened(PIV_MEASURED))
    assert len(samples) == 17
    assert {s.level for s in samples} == {"PIV"}
    for sample in samples:
        measured, valid = sample.labels["velocity"], sample.fields["valid"]
        assert (measured[:, ~valid] == 0).all()
        speed = np.linalg.norm(measured[:, valid], axis=0) * sample.conditions["velocity_scale"]
        spacing = 2 * np.pi * sample.conditions["length_scale"] / 60
        soap = sample.id.startswith("soap")
        # a film of a few cm/s, 0.31248 mm per vector; a jet of 12 m/s, 16 pixels of 0.115125 mm
        low, high = (0.02, 0.06) if soap else (0.3, 6.0)
        assert low < np.median(speed) < high
        assert spacing == pytest.approx(0.31248e-3 if soap else 16 * 0.115125e-3, rel=1e-4)
        u, v = measured
        inside = valid[1:-1, 2:] & valid[1:-1, :-2] & valid[2:, 1:-1] & valid[:-2, 1:-1]
        along = [(f[1:-1, 2:] - f[1:-1, :-2])[inside] for f in (u, v)]
        across = [(f[2:, 1:-1] - f[:-2, 1:-1])[inside] for f in (u, v)]
        divergence, curl = along[0] + across[1], along[1] - across[0]
        # the film's flow is two-dimensional, the jet's is not; a sign or a swap would show
        assert np.std(divergence) < (0.25 if soap else 0.9) * np.std(curl)
        assert np.std(divergence) < np.std(along[0] - across[1])
    jets = np.concatenate(
        [s.labels["velocity"][1].ravel() * 5.0 for s in samples if s.id.startswith("jet")]
    )
    assert 11 < -np.quantile(jets, 0.002) < 14  # the readme: a 12 m/s jet; against the rows


def test_withheld_vectors_are_good_ones_and_the_gap_filling_is_a_baseline():
    errors = []
    for sample in opened(PIV_MEASURED):
        valid, given = sample.fields["valid"], sample.fields["given"]
        assert not (given & ~valid).any()
        hidden = valid & ~given
        assert hidden.sum() / valid.sum() == pytest.approx(0.2, abs=0.04)
        measured, filled = sample.labels["velocity"], sample.fields["velocity"]
        assert np.array_equal(measured[:, given], filled[:, given])
        assert np.array_equal(hidden, piv.withheld(valid, sample.id))
        truth = measured[:, hidden]
        scale = (truth - measured[:, valid].mean(1)[:, None]).std()
        errors.append((filled[:, hidden] - truth).std() / scale)
    assert 0.03 < min(errors) < max(errors) < 0.12


def test_gaps_are_filled_with_harmonic_functions():
    y, x = np.mgrid[0:12, 0:15].astype(float)
    harmonic = np.stack([x * y, x**2 - y**2])
    known = np.ones((12, 15), dtype=bool)
    known[3:8, 4:11] = False
    assert np.abs(piv.filled(harmonic * known, known) - harmonic).max() < 1e-10


HEAD = (
    'TITLE="a" VARIABLES="X mm", "Y mm", "U m/s", "V m/s", "CHC", '
    'DATASETAUXDATA Application="PIV" ZONE I=3, J=2, F=POINT'
)


def vec(head: str = HEAD, step: float = 2.0) -> bytes:
    lines = [
        f"{step * i}, {-2.0 * j}, {i + 0.5}, {10 * j}, {-1 if (i, j) == (2, 1) else 1}"
        for j in range(2)
        for i in range(3)
    ]
    return "\n".join([head, *lines]).encode()


def test_insight_files_are_read_with_y_upwards():
    field = read_vec(vec(), "a.vec")
    assert field.spacing == pytest.approx(2e-3)
    assert field.valid.tolist() == [[True, True, False], [True, True, True]]
    assert field.velocity[0].tolist() == [[0.5, 1.5, 0.0], [0.5, 1.5, 2.5]]
    assert field.velocity[1].tolist() == [[10, 10, 0], [0, 0, 0]]
    with pytest.raises(InputError, match='no column "X mm"'):
        read_vec(vec(HEAD.replace("mm", "pixel")), "a.vec")
    with pytest.raises(InputError, match="I x J lines"):
        read_vec(vec(HEAD.replace("J=2", "J=3")), "a.vec")
    with pytest.raises(InputError, match="not equal squares"):
        read_vec(vec(step=3.0), "a.vec")


def vc7(kind: int = 3, interval: str = "40 us") -> bytes:
    planes = np.zeros((10, 2, 3), "<f4")
    planes[0] = [[1, 2, 0], [5, 4, 3]]
    planes[1:9] = np.arange(8)[:, None, None]
    planes[9] = 50
    text = (
        "FrameScaleI0=2.5\n0\nm/s\nvelocity FrameScaleY0=-0.1\n3\nmm\n"
        f"FrameScaleX0=0.1\n1\nmm\nFrameDt0={interval}"
    )
    head = struct.pack("<4i", 0, kind, 3, 2).ljust(256, b"\0")
    return head + planes.tobytes() + text.encode()


def test_davis_files_are_read_by_the_chosen_candidate():
    field = read_vc7(vc7(), "a.VC7")
    assert field.spacing == pytest.approx(PIXELS * 0.1e-3)
    assert field.valid.tolist() == [[True, True, False], [True, True, True]]
    # candidate c has u = 2 (c - 1) and v = u + 1 pixels, 2.5 m/s each
    assert (field.velocity[0] / 2.5).tolist() == [[0, 2, 0], [6, 6, 4]]
    assert (field.velocity[1] / 2.5).tolist() == [[1, 3, 0], [7, 7, 5]]
    with pytest.raises(InputError, match="not an uncompressed VC7"):
        read_vc7(vc7(kind=5), "a.VC7")
    with pytest.raises(InputError, match="do not follow from"):
        read_vc7(vc7(interval="20 us"), "a.VC7")
