"""What a new level of a published model starts as."""

from __future__ import annotations

import torch

import sfm
from sfm.config import Target
from sfm.data.readers import read_object


def test_a_level_that_another_encoder_knows_starts_from_its_nearest_too():
    """The level's logits are shared among encoders; the new context's own make up for them."""
    model = sfm.load("sfm-tiny")
    known, new = ("dft/atoms", "PBE/def2-SVP"), ("dft/atoms", "GFN2-xTB")
    grown = model.extended([Target(*new, "energy")], nearest={new: known})
    sample = read_object("CCO")[0].replace(domain="dft")
    tokens = grown.tokenize("dft/atoms", [sample], known[1])
    there = tokens.replace(context=torch.full_like(tokens.context, grown.context(*new)))
    before, after = (grown.features({"dft/atoms": t})["dft/atoms"].scalars for t in (tokens, there))
    assert (after - before).abs().max() < 1e-5 * before.abs().max()  # single precision
    old = model.tokenize("molecules/atoms", [read_object("CCO")[0]], "GFN2-xTB")
    for part in ("scalars", "vectors"):
        kept = [getattr(m.features({"molecules/atoms": old})["molecules/atoms"], part)
                for m in (model, grown)]  # fmt: skip
        assert torch.equal(*kept)
