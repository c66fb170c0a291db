"""Reading quantities off features: the general head, those of single levels, uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sfm.data.tokens import Tokens
from sfm.errors import InputError, did_you_mean
from sfm.nn.kernel import KernelHead
from sfm.nn.normalise import Normaliser
from sfm.nn.random_features import RandomFeaturesHead

if TYPE_CHECKING:
    from sfm.model.network import Network

SingleHead = KernelHead | RandomFeaturesHead


def value(
    model: Network, encoder: str, quantity: str, features: Tokens, inputs: Tokens
) -> tuple[Float[Tensor, "rows ..."], Float[Tensor, "rows ..."]]:
    """Physical values (S, ...), and the same without constant references, to differentiate.

    In the canonical unit of the quantity.

    Systems of a level that has a head of its own are that head's, the others the general one's.
    """
    single = of_one_level(model, encoder, quantity, inputs)
    if not single or not sum(mask for _, mask in single).all():  # type: ignore[union-attr]
        raw, normaliser = general(model, encoder, quantity, features, inputs)
        values, varying = normaliser(raw, inputs), raw
        if quantity == "energy":
            varying = raw * normaliser.scale[inputs.context, 0].to(raw.dtype)
    else:
        values = inputs.positions.new_zeros(inputs.n_systems, dtype=torch.float64)
        varying = values.to(model.dtype)
    for head, mask in single:
        said = head(features, inputs) + baseline(model, encoder, head.baseline, features, inputs)
        values = torch.where(mask, said, values.to(said.dtype))
        varying = torch.where(mask, said.to(varying.dtype), varying)
    return values, varying


def general(
    model: Network, encoder: str, quantity: str, features: Tokens, inputs: Tokens
) -> tuple[Float[Tensor, "rows ..."], Normaliser]:
    """What the head that serves all levels says, and how that is undone to physical values.

    The first is (rows, ...) without unit, a row for each system, token or cell.

    Raises:
        InputError: the encoder has no such head.
    """
    key = f"{encoder}:{quantity}"
    if key not in model.heads:
        known = [h.quantity for h in model.config.heads if h.encoder == encoder]
        raise InputError(
            f"model '{model.config.name}' has no head for '{quantity}' of '{encoder}' "
            f"(it has: {', '.join(known)}).{did_you_mean(quantity, known)}"
        )
    return model.heads[key](features, inputs), model.normalisers[key]  # type: ignore[return-value]


def of_one_level(
    model: Network, encoder: str, quantity: str, inputs: Tokens
) -> list[tuple[SingleHead, Bool[Tensor, " S"]]]:
    """Heads that serve one level alone, with the mask (S,) of the systems at that level."""
    heads: list[tuple[SingleHead, Tensor]] = []
    for spec in model.config.heads:
        if spec.level is not None and (spec.encoder, spec.quantity) == (encoder, quantity):
            mask = inputs.context == model.config.context(encoder, spec.level)
            if mask.any():
                heads.append((model.heads[spec.key], mask))  # type: ignore[arg-type]
    return heads


def baseline(
    model: Network,
    encoder: str,
    spec: Mapping[str, Any] | None,
    features: Tokens,
    inputs: Tokens,
) -> Float[Tensor, " S"]:
    """(S,) float64: what a closed-form head adds itself to, of the model's own quantities.

    In the canonical unit of the head's quantity.

    Args:
        model: the model.
        encoder: name of the encoder.
        spec: `quantity`, `factor`, `references`, `per_token`, see `KernelHead`; None for zero.
        features: the trunk's.
        inputs: the encoder's.
    """
    if spec is None:
        return torch.zeros(inputs.n_systems, dtype=torch.float64, device=model.device)
    raw, normaliser = general(model, encoder, str(spec["quantity"]), features, inputs)
    values = raw.double() * normaliser.scale[inputs.context, 0]
    if spec["references"] and (offsets := normaliser.offsets(inputs)) is not None:
        values = values + offsets[:, 0]
    values = float(spec["factor"]) * values
    return values / inputs.counts() if spec["per_token"] else values


@torch.no_grad()
def force_uncertainty(
    model: Network, encoder: str, tokens: Tokens, features: Tokens
) -> Float[Tensor, " N"] | None:
    """Standard error (N,) of each component of a token's force, NaN where not calibrated.

    In the unit of forces. None if the energy has no last layer to judge by, and no closed form.
    """
    single = of_one_level(model, encoder, "energy", tokens)
    sigma = torch.full((tokens.n_tokens,), torch.nan, dtype=torch.float64, device=model.device)
    if encoder in model.error_scales:
        last = model.heads[f"{encoder}:energy"].last_layer_per_token(features)  # type: ignore[operator]
        sigma = model.error_scales[encoder](last, tokens.context[tokens.system])
    elif not single:
        return None
    for head, mask in single:
        error = head.force_error if isinstance(head, RandomFeaturesHead) else sigma.new_zeros(())
        error = torch.where(error > 0, error, torch.nan)
        sigma = torch.where(mask[tokens.system], error, sigma)
    return sigma


@torch.no_grad()
def uncertainty(
    model: Network, encoder: str, quantity: str, tokens: Tokens, features: Tokens
) -> tuple[Float[Tensor, " S"], Bool[Tensor, " S"]] | None:
    """Standard errors (S,) and whether each system lies outside the training domain.

    None if the head has no last layer to judge by. `features` are the trunk's, of these tokens.
    """
    key, single = f"{encoder}:{quantity}", of_one_level(model, encoder, quantity, tokens)
    sigma = torch.full((tokens.n_systems,), torch.nan, dtype=torch.float64, device=model.device)
    outside = torch.zeros_like(sigma, dtype=torch.bool)
    if key in model.uncertainties:
        last = model.heads[key].last_layer(features)  # type: ignore[operator]
        sigma, outside = model.uncertainties[key](last, tokens.context)
    elif not single:
        return None
    for head, mask in single:
        error, far = head.judge(features, tokens)
        sigma, outside = torch.where(mask, error, sigma), torch.where(mask, far, outside)
    return sigma, outside
