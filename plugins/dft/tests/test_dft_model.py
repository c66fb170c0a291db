"""Encoders and heads inside a model, and the model inside Kohn-Sham theory."""

import numpy as np
import pytest
import torch
from sfm_dft.basis.density_basis import DIM
from sfm_dft.simulators.kohn_sham import KohnSham

from sfm.data.sample import Sample
from sfm.errors import InputError
from sfm.model import FoundationModel
from sfm.testing.models import LEVEL, config_for

WANTED = {
    "dft/atoms": ("energy", "dipole", "homo", "density_coefficients"),
    "dft/density": ("xc_correction",),
}
LIH = Sample(id="LiH", domain="dft", types=[3, 1], positions=[[0, 0, 0], [0.1, 0.2, 1.6]])


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FoundationModel(config_for(WANTED))


def simulator(closure, **options):
    return KohnSham(closure=closure, basis="sto-3g", grid_level=0, tolerance=1e-12, **options)


def test_model_gives_all_quantities(model):
    rng = np.random.default_rng(0)
    sample = LIH.replace(labels={"density_projections": rng.standard_normal((2, DIM))})
    batch = {part: model.tokenize(part, [sample], LEVEL) for part in WANTED}
    out = model(batch, WANTED)
    assert out["dft/atoms"]["density_coefficients"].shape == (2, DIM)
    assert out["dft/atoms"]["dipole"].shape == (1, 3)
    assert out["dft/density"]["xc_correction"].shape == (1,)


def test_density_encoder_says_what_it_needs(model):
    encoder = model.encoder("dft/density")
    assert not encoder.accepts(LIH)
    with pytest.raises(InputError, match="no 'density_projections'"):
        encoder.tokenize(LIH)
    with pytest.raises(InputError, match=r"expected \(2, 45\)"):
        encoder.tokenize(LIH.replace(fields={"density_projections": np.zeros((2, 44))}))


def test_raw_features_are_of_order_one(model):
    """The shipped statistics standardise densities that were not used to fit them."""
    from sfm_dft.basis.density_basis import project
    from sfm_dft.basis.pyscf_molecule import build_molecule
    from sfm_dft.data.labelling import label

    numbers = np.array([9, 6, 1, 1, 1])
    positions = np.array(
        [[0, 0, 1.38], [0, 0, 0], [1.03, 0, -0.35], [-0.51, 0.89, -0.35], [-0.51, -0.89, -0.35]]
    )
    labels = label(numbers, positions)
    assert labels is not None
    density = project(build_molecule(numbers, positions), labels["PBE"].density_matrix)
    sample = Sample(
        id="CH3F",
        domain="dft",
        types=numbers,
        positions=positions,
        labels={"density_projections": density},
    )
    tokens = model.encoder("dft/density").tokenize(sample)
    for raw in (tokens.scalars, tokens.vectors, tokens.tensors):
        assert 0.1 < raw.square().mean().sqrt() < 5.0


def test_closure_in_the_loop_matches_finite_differences(model):
    """d(dipole)/d(weight of the network) through self-consistency."""
    model = model.double()
    closure = model.closure("dft")
    # an untrained closure is small: enlarge it, so that it acts on the density
    normaliser = model.normalisers["dft/density:xc_correction"]
    normaliser.scale.fill_(0.3)
    sim = simulator(closure)
    weight = model.encoder("dft/density").lift_scalars

    def dipole():
        observed = sim.observe(sim.solve(LIH))
        return observed["dipole"][2], observed["energy"]

    bare = KohnSham(basis="sto-3g", grid_level=0)
    value, _ = dipole()
    assert (value - bare.observe(bare.solve(LIH))["dipole"][2]).abs() > 1e-5
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)).double()
    step = 1e-4
    for which in (0, 1):
        (gradient,) = torch.autograd.grad(dipole()[which], weight)
        ends = []
        for sign in (1.0, -1.0):
            with torch.no_grad():
                weight += sign * step * direction
            ends.append(dipole()[which].item())
            with torch.no_grad():
                weight -= sign * step * direction
        difference = (ends[0] - ends[1]) / (2 * step)
        assert (gradient * direction).sum().item() == pytest.approx(difference, rel=1e-4, abs=1e-8)


def test_float32_model_converges_in_float64(model):
    """Weights are cast for the call, so the SCF converges tightly; gradients reach them."""
    closure = model.closure("dft", level=LEVEL)
    sim = simulator(closure)
    observed = sim.observe(sim.solve(LIH))
    assert observed["energy"].dtype == torch.float64
    observed["energy"].backward()
    gradient = model.encoder("dft/density").lift_scalars.grad
    assert gradient is not None
    assert gradient.dtype == torch.float32
    assert gradient.abs().max() > 0


def test_closure_turns_with_the_molecule(model):
    """E_closure of the turned molecule and its turned density is the same."""
    from sfm_dft.model.irreps import rotate_irreps
    from sfm_dft.scf.energy import DensityFeatures

    from sfm.nn.symmetry import random_rotation

    generator = torch.Generator().manual_seed(2)
    closure, rotation = model.closure("dft"), random_rotation(generator)
    density = DensityFeatures(
        torch.randn(2, DIM, generator=generator, dtype=torch.float64),
        torch.tensor([3, 1]),
        torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.2, 1.5]], dtype=torch.float64),
        0.0,
    )
    turned = density._replace(
        projections=rotate_irreps(density.projections, rotation),
        positions=density.positions @ rotation.T,
    )
    torch.testing.assert_close(closure(turned), closure(density), rtol=0, atol=1e-12)


def test_wrong_closure_requests_are_refused(model):
    with pytest.raises(InputError, match="unknown options"):
        model.closure("dft", grid=3)
    with pytest.raises(InputError, match="'B3LYP' is unknown"):
        model.closure("dft", level="B3LYP")


def test_a_correction_is_not_counted_twice(model):
    """The closure is what PBE adds to LDA; on top of PBE it would count twice."""
    closure = model.closure("dft", level=LEVEL)
    with pytest.raises(InputError, match=r"corrects LDA, not PBE.*set functional=LDA"):
        simulator(closure, functional="PBE")
    assert simulator(closure, functional="LDA").closure is closure


def test_a_frontier_level_is_linear_in_its_last_layer(model):
    """So its standard errors are those of that layer; models of earlier versions come without."""
    batch = {"dft/atoms": model.tokenize("dft/atoms", [LIH], LEVEL)}
    features = model.features(batch)["dft/atoms"]
    head = model.heads["dft/atoms:homo"]
    level = head.last_layer(features) @ head.readout.outer.weight[0]
    torch.testing.assert_close(level, head(features, batch["dft/atoms"]))
    key = "uncertainties.dft/atoms:homo."
    state = model.state_dict()
    assert f"{key}alpha" in state
    model.load_state_dict({k: v for k, v in state.items() if not k.startswith(key)})
    with pytest.raises(RuntimeError, match=r"Missing key.*homo\.limit"):
        model.load_state_dict({k: v for k, v in state.items() if k != f"{key}limit"})
    # the floor came later still
    model.load_state_dict({k: v for k, v in state.items() if k != f"{key}floor"})
