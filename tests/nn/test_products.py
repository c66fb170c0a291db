"""The trunk's products of components against plain products of 3 x 3 matrices."""

import torch

from sfm.nn.harmonics import from_matrix, products, to_matrix


def test_products_are_those_of_matrices():
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(4, 3, 6, generator=generator, dtype=torch.float64)
    t = torch.randn(4, 5, 6, generator=generator, dtype=torch.float64)
    m = to_matrix(t)
    first = (x.transpose(0, 1) for x in products(v.transpose(0, 1), t.transpose(0, 1)))
    tv, vv, tt = first
    torch.testing.assert_close(tv, torch.einsum("nijc,njc->nic", m, v))
    torch.testing.assert_close(vv, from_matrix(v.unsqueeze(2) * v.unsqueeze(1)))
    torch.testing.assert_close(tt, from_matrix(torch.einsum("nijc,njkc->nikc", m, m)))


def test_products_train_after_a_first_use_in_inference_mode():
    v, t = torch.ones(3, 2, 1, dtype=torch.float16), torch.ones(5, 2, 1, dtype=torch.float16)
    with torch.inference_mode():
        products(v, t)
    v.requires_grad_()
    sum(part.sum() for part in products(v, t)).backward()
    assert v.grad is not None
