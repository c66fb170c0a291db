"""Phonons against phonopy, published frequencies and exact sums."""

from __future__ import annotations

import numpy as np
import phonopy
import pytest
import torch
from sfm_crystals.data.prototypes import diamond, fcc
from sfm_crystals.simulators.phonons import Phonons
from sfm_crystals.simulators.quasi_harmonic import QuasiHarmonic

from sfm.cli import main
from sfm.constants import BOLTZMANN
from sfm.errors import InputError
from sfm.simulate.statics.harmonic import PLANCK, density_of_states, mesh, thermal

SILICON = diamond(14, 5.431, primitive=True)
COPPER = fcc(29, 3.615, primitive=True)
POINTS = torch.tensor([[0.5, 0.5, 0], [0.5, 0.5, 0.5], [0.1, 0.2, 0.4]], dtype=torch.float64)


def relaxed(sample, *, fitted=False, **values):
    simulator = Phonons(**values).requires_grad_(fitted)
    return simulator, simulator(simulator.state(sample))


def test_phonopy_says_the_same_of_our_file(tmp_path):
    """Frequencies at points and sums over the same mesh, of the yaml file that we write."""
    simulator, state = relaxed(
        SILICON, potential="stillinger-weber", repeat=2, mesh=4, temperatures=11
    )
    path = tmp_path / "silicon.yaml"
    simulator.write(simulator.run(state, 1), path)
    theirs = phonopy.load(path, log_level=0)
    theirs.run_qpoints(POINTS.numpy())
    ours = simulator.frequencies(state, POINTS)
    np.testing.assert_allclose(ours, theirs.qpoints.frequencies, rtol=1e-6, atol=1e-6)
    theirs.run_mesh([4, 4, 4], is_gamma_center=False, is_mesh_symmetry=False)
    theirs.run_thermal_properties(t_min=0, t_max=1000, t_step=100)
    seen, properties = simulator.observe(state), theirs.thermal_properties
    kilojoule, joule = 96.48533212, 96485.33212  # per mole, of one eV
    # phonopy's constants of nature differ in the seventh digit
    np.testing.assert_allclose(
        seen["helmholtz_energy"] * kilojoule, properties.free_energy, atol=2e-4
    )
    np.testing.assert_allclose(seen["heat_capacity"] * joule, properties.heat_capacity, atol=1e-3)
    np.testing.assert_allclose(seen["vibrational_entropy"] * joule, properties.entropy, atol=1e-3)


def test_copper_has_the_published_frequencies(copper):
    """Y. Mishin et al., Phys. Rev. B 63, 224106 (2001), figure of dispersion: X 7.8 and 5.2 THz."""
    simulator, state = relaxed(COPPER, potential="eam", table=str(copper), repeat=4)
    frequencies = simulator.frequencies(state, POINTS[:1])[0]
    np.testing.assert_allclose(frequencies, [5.2, 5.2, 7.8], atol=0.1)
    still = simulator.frequencies(state, torch.zeros(1, 3, dtype=torch.float64))
    assert float(still.abs().max()) < 1e-4  # no force on a crystal that moves as a whole


def test_sound_waves_have_the_speed_of_the_elastic_constants(copper):
    """nu = q sqrt(C44 / density) of the transverse wave along [100], longitudinal C11."""
    simulator, state = relaxed(COPPER, potential="eam", table=str(copper), repeat=5)
    small = 0.02
    point = torch.tensor([[small / 2, small / 2, 0.0]], dtype=torch.float64)  # [001], 2 pi / a
    a = float((4 * state.volume()) ** (1 / 3))
    density = 63.546 * 1.66053906660e-27 / (float(state.volume()) * 1e-30)
    slow, _, fast = simulator.frequencies(state, point)[0].tolist()
    for frequency, stiffness in ((slow, 76.2), (fast, 169.9)):
        speed = np.sqrt(stiffness * 1e9 / density)
        assert frequency * 1e12 == pytest.approx(speed * small / (a * 1e-10), rel=0.01)


def test_frequencies_follow_the_potential_through_the_relaxed_cell():
    def highest(change):
        simulator, state = relaxed(
            SILICON, fitted=True, potential="stillinger-weber", repeat=2, sigma=2.0951 + change
        )
        return simulator.frequencies(state, POINTS)[2, -1], simulator.sigma

    value, parameter = highest(0.0)
    (slope,) = torch.autograd.grad(value, parameter)
    h = 1e-3
    expected = float((highest(h)[0] - highest(-h)[0]).detach()) / (2 * h)
    assert float(slope) == pytest.approx(expected, rel=1e-4)


def test_phonopy_says_the_same_of_the_expansion(copper):
    """Its quasi-harmonic fit of the same free energies, 10 kelvin apart."""
    simulator = QuasiHarmonic(
        potential="eam", table=str(copper), repeat=2, mesh=4, hottest=600.0, temperatures=61
    ).requires_grad_(False)
    state = simulator(simulator.state(COPPER))
    seen = simulator.observe(state)
    volumes, energies, _ = simulator.free_energies(state, seen["grid_temperature"])
    unused = np.zeros(energies.T.shape)
    with pytest.warns(DeprecationWarning, match="PhonopyQHA"):
        theirs = phonopy.PhonopyQHA(
            volumes=volumes.numpy(),
            electronic_energies=np.zeros(len(volumes)),
            eos="birch_murnaghan",
            temperatures=seen["grid_temperature"].numpy(),
            free_energy=energies.T.numpy() * 96.4853321,
            cv=unused,
            entropy=unused,
            t_max=500,
        )
    count = len(theirs.volume_temperature)
    np.testing.assert_allclose(seen["thermal_volume"][:count], theirs.volume_temperature, rtol=1e-8)
    bulk = theirs.bulk_modulus_temperature[:count]
    np.testing.assert_allclose(seen["thermal_bulk_modulus"][:count], bulk, rtol=1e-5)
    alpha = theirs.thermal_expansion[10:count]  # theirs are differences
    np.testing.assert_allclose(seen["thermal_expansion"][10:count], alpha, rtol=5e-3)
    assert float(seen["thermal_expansion"][0]) == 0.0  # the third law


def test_an_einstein_crystal_has_einsteins_heat_capacity():
    """A. Einstein, Ann. Phys. 327, 180 (1907)."""
    frequency, kelvin = 5.0, torch.tensor([0.0, 50.0, 300.0, 3000.0], dtype=torch.float64)
    sums = thermal(torch.full((8, 3), frequency, dtype=torch.float64), kelvin)
    x = PLANCK * frequency / (BOLTZMANN * kelvin[1:].numpy())
    exact = 3 * BOLTZMANN * x**2 * np.exp(x) / np.expm1(x) ** 2
    np.testing.assert_allclose(sums.heat_capacity[1:], exact, rtol=1e-12)
    assert float(sums.free_energy[0]) == pytest.approx(1.5 * PLANCK * frequency)
    energy = sums.free_energy + kelvin * sums.entropy
    np.testing.assert_allclose(
        energy[1:], 3 * PLANCK * frequency * (0.5 + 1 / np.expm1(x)), rtol=1e-12
    )
    assert float(mesh(4).abs().min()) > 0
    places = torch.linspace(3, 7, 401, dtype=torch.float64)
    states = density_of_states(torch.full((8, 3), frequency, dtype=torch.float64), places, 0.2)
    assert float(torch.trapezoid(states, places)) == pytest.approx(3.0, rel=1e-9)


def test_an_unstable_crystal_is_called_so():
    """Simple cubic argon falls together."""
    sample = fcc(18, 3.8, primitive=True).replace(cell=3.8 * np.eye(3))
    simulator = Phonons(relax_cell="volume", repeat=2, mesh=2).requires_grad_(False)
    trajectory = simulator.run(simulator.state(sample), 1)
    assert any("not stable" in text for text in trajectory.warnings)


def test_the_command_draws_and_writes(tmp_path, capsys, monkeypatch):
    times, computed = [], Phonons.force_constants

    def counted(self, state):
        times.append(state)
        return computed(self, state)

    monkeypatch.setattr(Phonons, "force_constants", counted)
    code = main(
        ["simulate", "crystals/phonons", "--set", "potential=stillinger-weber", "repeat=1",
         "mesh=2", "band_points=20", "--plot", str(tmp_path / "a.png"),
         "--output", str(tmp_path / "a.yaml")]
    )  # fmt: skip
    assert code == 0
    assert "phonon_frequencies" in capsys.readouterr().out
    assert (tmp_path / "a.png").stat().st_size > 5000
    assert (tmp_path / "a.yaml").read_text().startswith("phonopy:")
    assert len(times) == 1  # the file has the force constants of what was printed


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mesh": 3}, "even from 2 on"),
        ({"repeat": 0}, "at least 1"),
        ({"hottest": 0.0}, "above 0"),
        ({"dos_width": 0.0}, "dos_width above 0 THz"),
    ],
)
def test_grids_that_make_no_sums_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        Phonons(**values)


def test_phonopys_file_is_read_again(tmp_path, capsys):
    """What `--output FILE.yaml` writes and phonopy saves goes into the next run, isotopes too."""
    import phonopy
    from phonopy.structure.atoms import PhonopyAtoms

    import sfm
    from sfm.cli import main

    first, again = tmp_path / "first.yaml", tmp_path / "again.npz"
    words = ["simulate", "crystals/phonons", "--set", "potential=stillinger-weber"]
    small = ["--set", "repeat=1", "--set", "mesh=2"]
    assert main([*words, *small, "--output", str(first)]) == 0
    assert main([*words, *small, "--input", str(first), "--output", str(again)]) == 0
    assert (
        "only its unit cell is used, not its force constants, supercell" in capsys.readouterr().err
    )
    with pytest.warns(sfm.InputWarning, match="only its unit cell"):
        (sample,) = sfm.read(first)
    theirs = phonopy.load(first).unitcell
    np.testing.assert_allclose(sample.positions, theirs.positions, atol=1e-8)
    np.testing.assert_allclose(sample.cell, theirs.cell)
    assert sample.masses is None

    heavy = PhonopyAtoms(["Si"] * 2, cell=2.7 * (1 - np.eye(3)), masses=[30, 28.085],
                         scaled_positions=[[0, 0, 0], [0.25] * 3])  # fmt: skip
    phonopy.Phonopy(heavy, np.eye(3)).save(tmp_path / "heavy.yaml")
    with pytest.warns(sfm.InputWarning, match="not its supercell"):
        (isotope,) = sfm.read(tmp_path / "heavy.yaml")
    np.testing.assert_allclose(isotope.masses, [30, 28.085])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\n", "only phonopy's, with a `unit_cell`"),
        ("unit_cell: 3\n", "not a readable unit cell"),
        ("unit_cell:\n  lattice: [[1,0,0],[0,1,0]]\n  points: []\n", "not a readable unit cell"),
        ("unit_cell:\n  lattice: [[1,0,0],[0,1,0],[0,0,1]]\n  points:\n  - symbol: Xx\n", "'Xx'"),
        ("unit_cell: [\n", "not YAML"),
    ],
)
def test_another_yaml_is_refused_in_one_line(tmp_path, text, line):
    import sfm

    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(sfm.InputError, match=line):
        sfm.read(path)
