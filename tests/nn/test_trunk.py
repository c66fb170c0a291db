"""The trunk: equivariance against e3nn's matrices, a readable twin, mixtures, periodicity."""

from __future__ import annotations

import pytest
import torch

from sfm.data.neighbours import neighbour_list
from sfm.data.tokens import Tokens
from sfm.nn.harmonics import spherical_harmonics
from sfm.nn.mixture import MixtureLinear, Routing
from sfm.nn.radial import bessel
from sfm.nn.symmetry import random_rotation
from sfm.nn.trunk import SIZES, Features, Layer, Trunk, TrunkConfig

SMALL = TrunkConfig(channels=8, layers=2, experts=3, radial=5, carried=4)
CONTEXTS = [(0, 0), (0, 1), (1, 2)]
CUTOFF = 3.0


def seeded(make, seed: int = 0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def trunk(config: TrunkConfig = SMALL, dtype: torch.dtype = torch.float64) -> Trunk:
    return seeded(lambda: Trunk(config, CONTEXTS)).to(dtype).eval()


def system(seed: int = 0, n: int = 6, context: int = 0, channels: int = 8) -> Tokens:
    """Random tokens that are already lifted, with all kinds of features."""
    g = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    x = 1.3 * randn(n, 3)
    edges, shifts = neighbour_list(x.numpy(), CUTOFF)
    tokens = Tokens.make(
        positions=x,
        types=torch.randint(1, 9, (n,), generator=g),
        edges=torch.from_numpy(edges),
        shifts=torch.from_numpy(shifts).double(),
        cutoff=CUTOFF,
        scalars=randn(n, channels),
        vectors=randn(n, 3, channels),
        tensors=randn(n, 5, channels),
        id=f"system-{seed}",
    )
    return tokens.replace(context=torch.tensor([context]))


def close(a: Tokens, b: Tokens, atol: float) -> None:
    for name in ("scalars", "vectors", "tensors"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=atol)


@pytest.mark.parametrize("parity", [1.0, -1.0])
def test_it_is_equivariant_under_the_matrices_of_e3nn(e3nn_o3, parity):
    model, tokens = trunk(), system()
    turn = parity * random_rotation(torch.Generator().manual_seed(5))
    d1 = e3nn_o3.Irrep("1o").D_from_matrix(turn)
    d2 = e3nn_o3.Irrep("2e").D_from_matrix(turn)
    # e3nn orders l=1 as x, y, z, as we do
    torch.testing.assert_close(d1, turn, rtol=0, atol=1e-6)
    moved = tokens.replace(
        positions=tokens.positions @ turn.T + 3.0,
        vectors=torch.einsum("ij,njc->nic", turn, tokens.vectors),
        tensors=torch.einsum("ij,njc->nic", d2, tokens.tensors),
    )
    before, after = model(tokens), model(moved)
    torch.testing.assert_close(after.scalars, before.scalars, rtol=0, atol=2e-5)
    vectors = torch.einsum("ij,njc->nic", turn, before.vectors)
    torch.testing.assert_close(after.vectors, vectors, rtol=0, atol=2e-5)
    tensors = torch.einsum("ij,njc->nic", d2, before.tensors)
    torch.testing.assert_close(after.tensors, tensors, rtol=0, atol=2e-5)


def naive_density(layer: Layer, tokens: Tokens, density: torch.Tensor, weights: torch.Tensor):
    """`Layer.density` for one context, one edge at a time, from the trunk's docstring."""
    c, d = layer.channels, layer.carried

    def dense(m: MixtureLinear) -> torch.Tensor:
        return sum(weights[k] * m.weight[k] for k in range(len(weights)))

    n = tokens.n_tokens
    new = tokens.positions.new_zeros
    a0, a1, a2 = new(n, c + 2 * d), new(n, 3, c + d), new(n, 5, c + d)
    vectors = tokens.edge_vectors()
    length = vectors.norm(dim=1)
    harmonics = spherical_harmonics(vectors / length.unsqueeze(1))
    radial = bessel(length / CUTOFF, layer.filters.weight.shape[1])
    for e in range(tokens.n_edges):
        j, i = int(tokens.edges[0, e]), int(tokens.edges[1, e])
        s = layer.norm(tokens.scalars[j]) @ dense(layer.send_scalars)
        v = tokens.vectors[j] @ dense(layer.send_vectors)
        t = tokens.tensors[j] @ dense(layer.send_tensors)
        f = radial[e] @ dense(layer.filters)
        r0, r1, r2 = f[:c], f[c : 2 * c], f[2 * c : 3 * c]
        p1, p2, q1, q2 = (f[3 * c + k * d : 3 * c + (k + 1) * d] for k in range(4))
        y1, y2 = harmonics[e, 1:4], harmonics[e, 4:9]
        a0[i, :c] += r0 * s
        for m in range(3):
            a0[i, c : c + d] += q1 * y1[m] * v[m]
            a1[i, m, :c] += y1[m] * r1 * s
            a1[i, m, c:] += p1 * v[m]
        for m in range(5):
            a0[i, c + d :] += q2 * y2[m] * t[m]
            a2[i, m, :c] += y2[m] * r2 * s
            a2[i, m, c:] += p2 * t[m]
    mixes = (layer.mix_scalars, layer.mix_vectors, layer.mix_tensors)
    return tuple(a * density @ dense(m) for a, m in zip((a0, a1, a2), mixes, strict=True))


def fast_density(model: Trunk, tokens: Tokens):
    """What the trunk's first layer makes of tokens, (N, C), (N, 3, C), (N, 5, C)."""
    routing = model.routing(tokens)
    geometry = model.geometry(tokens, routing)
    order, place = geometry.hoods.order, geometry.hoods.place
    h = Features(
        tokens.scalars[order],
        *(x[order].transpose(0, 1).contiguous() for x in (tokens.vectors, tokens.tensors)),
    )
    a0, a1, a2 = model.layers[0].density(h, geometry, routing)
    return a0[place], a1[:, place].transpose(0, 1), a2[:, place].transpose(0, 1)


def twin(model: Trunk, tokens: Tokens):
    """The same, by the readable twin."""
    density = model.neighbours[tokens.context].rsqrt()
    return naive_density(model.layers[0], tokens, density, model.routing(tokens).weights[0])


def test_the_density_equals_its_readable_twin():
    model, tokens = trunk(), system(context=1)
    with torch.no_grad():
        for a, b in zip(fast_density(model, tokens), twin(model, tokens), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_the_densitys_gradients_equal_those_of_its_twin():
    """First of positions, then, of a loss on those, of positions and of all weights."""
    model, tokens = trunk(), system(n=4)
    weights = [p for n, p in model.layers[0].named_parameters() if "norm" in n or "s" in n]
    slopes = []
    for make in (fast_density, twin):
        x = tokens.positions.clone().requires_grad_()
        out = make(model, tokens.replace(positions=x))
        (slope,) = torch.autograd.grad(sum((a**2).sum() for a in out), x, create_graph=True)
        second = torch.autograd.grad((slope**2).sum(), [x, *weights], allow_unused=True)
        slopes.append([slope.detach(), *(g for g in second if g is not None)])
    assert len(slopes[0]) == len(slopes[1]) > 8
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_points_without_vectors_are_points_with_vanishing_ones():
    model, tokens = trunk(), system()
    zero = tokens.replace(vectors=0 * tokens.vectors, tensors=0 * tokens.tensors)
    bare = tokens.replace(vectors=tokens.vectors[..., :0], tensors=tokens.tensors[..., :0])
    with torch.no_grad():
        close(model(bare), model(zero), 1e-12)


@pytest.mark.parametrize("context", [0, 1, 2])
def test_a_collapsed_trunk_equals_the_mixture(context):
    model, tokens = trunk(), system(context=context)
    with torch.no_grad():
        close(model.collapsed(context)(tokens), model(tokens), 1e-11)


def test_a_collapsed_trunk_is_smaller():
    model = trunk()
    count = lambda m: sum(p.numel() for p in m.parameters())  # noqa: E731
    assert count(model.collapsed(0)) < 0.7 * count(model)


def test_a_mixed_batch_equals_each_system_alone_in_any_order():
    model = trunk()
    systems = [system(seed, n, c) for seed, (n, c) in enumerate([(5, 0), (3, 2), (4, 1), (5, 0)])]
    with torch.no_grad():
        alone = [model(s) for s in systems]
        together = model(Tokens.cat(systems))
    close(together, Tokens.cat(alone), 1e-12)


def test_contexts_differ():
    model, tokens = trunk(), system()
    with torch.no_grad():
        other = model(tokens.replace(context=torch.tensor([1])))
        assert (model(tokens).scalars - other.scalars).abs().max() > 1e-3


def test_a_token_without_neighbours_is_finite():
    out = trunk()(system(n=1))
    assert out.n_edges == 0
    assert torch.isfinite(out.scalars).all()


def test_a_periodic_cell_equals_its_supercell():
    """Images through shifts are the same as atoms that are really there."""
    g = torch.Generator().manual_seed(0)
    cell = torch.diag(torch.tensor([3.4, 3.9, 4.3], dtype=torch.float64))
    cell[1, 0] = 0.7
    x = torch.rand(2, 3, generator=g, dtype=torch.float64) @ cell
    types = torch.tensor([6, 8])
    features = [torch.randn(2, *s, 8, generator=g, dtype=torch.float64) for s in ((), (3,), (5,))]

    def tokens(copies: int) -> Tokens:
        positions = torch.cat([x + k * cell[2] for k in range(copies)])
        big = cell.clone()
        big[2] *= copies
        edges, shifts = neighbour_list(positions.numpy(), CUTOFF, big.numpy(), True)
        names = ("scalars", "vectors", "tensors")
        return Tokens.make(
            positions=positions,
            types=types.repeat(copies),
            edges=torch.from_numpy(edges),
            shifts=torch.from_numpy(shifts).double(),
            cell=big,
            cutoff=CUTOFF,
            **{n: torch.cat([f] * copies) for n, f in zip(names, features, strict=True)},
        )

    model = trunk()
    with torch.no_grad():
        one, three = model(tokens(1)), model(tokens(3))
    assert one.n_edges > 0
    torch.testing.assert_close(three.scalars, one.scalars.repeat(3, 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(three.tensors, one.tensors.repeat(3, 1, 1), rtol=0, atol=1e-12)


def test_second_derivatives_of_an_energy():
    model, tokens = trunk(TrunkConfig(channels=4, layers=1, experts=2, radial=3, carried=2)), None
    tokens = system(n=3, channels=4)

    def energy(x: torch.Tensor) -> torch.Tensor:
        return model(tokens.replace(positions=x)).scalars.sum()

    x = tokens.positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(energy, (x,))
    assert torch.autograd.gradgradcheck(energy, (x,))


def test_a_mixture_of_one_hot_weights_is_one_expert():
    layer = seeded(lambda: MixtureLinear(4, 3, 2)).double()
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    routing = Routing(torch.eye(2, dtype=torch.float64), (2, 3))
    out = layer(x, routing)
    torch.testing.assert_close(out, torch.cat([x[:2] @ layer.weight[0], x[2:] @ layer.weight[1]]))


@pytest.mark.parametrize(("size", "low", "high"), [("tiny", 3e5, 8e5), ("small", 2e6, 3e6)])
def test_sizes(size, low, high):
    model = Trunk(SIZES[size], CONTEXTS)
    assert low < sum(p.numel() for p in model.parameters()) < high


def test_float32_is_close_to_float64():
    tokens = system()
    with torch.no_grad():
        low = trunk(dtype=torch.float32)(tokens.to(dtype=torch.float32))
        high = trunk()(tokens)
    torch.testing.assert_close(low.scalars.double(), high.scalars, rtol=0, atol=1e-4)


@pytest.mark.parametrize("parity", [1.0, -1.0])
def test_invariants_of_all_layers_do_not_turn(parity):
    model, tokens = trunk(), system()
    turn = parity * random_rotation(torch.Generator().manual_seed(6))
    zeros = {"vectors": 0 * tokens.vectors, "tensors": 0 * tokens.tensors}
    still = tokens.replace(**zeros)
    moved = still.replace(positions=still.positions @ turn.T)
    out = model(still, invariants=True)
    close(out, model(still), atol=0)
    before, after = out.extras["invariants"], model(moved, invariants=True).extras["invariants"]
    assert before.shape == (6, 3 * 8 * 3)
    torch.testing.assert_close(before, after, rtol=0, atol=1e-9)
    # the last layer's scalars are those of the features; a norm is that of the vectors
    assert torch.equal(before[:, 48:56], out.scalars)
    lengths = out.vectors.square().sum(1).sqrt()
    torch.testing.assert_close(before[:, 56:64], lengths, rtol=0, atol=2e-2)
