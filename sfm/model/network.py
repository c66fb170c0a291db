"""`Network`: encoders, one shared trunk and heads; one pass from tokens to physical values.

    sample -> encoder -> tokens -> trunk -> head -> quantity

A batch may hold systems of several domains: each encoder makes tokens of its own, and one pass
through the trunk updates them all. Forces and stress are derivatives of the energy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfm.config import BaselineSpec, ModelConfig
from sfm.data.tokens import Tokens
from sfm.errors import InputError, did_you_mean
from sfm.model import readout
from sfm.model.baselines import Baselines
from sfm.nn.derive import DERIVED, attach, derive
from sfm.nn.encoder import Encoder, PointEncoder
from sfm.nn.error_scale import ErrorScale
from sfm.nn.head import Head
from sfm.nn.head_classes import head_class
from sfm.nn.known import ClosePairs, Known
from sfm.nn.normalise import Normaliser
from sfm.nn.repulsion import held, repulsion
from sfm.nn.trunk import Trunk, TrunkConfig
from sfm.nn.uncertainty import LastLayerUncertainty
from sfm.registry import find
from sfm.units import factor


class Network(nn.Module):
    """The modules of a model, and what they compute.

    Args:
        config: the architecture.

    Raises:
        PluginError: an encoder or head belongs to a plugin that is missing or broken.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        trunk = TrunkConfig(**config.trunk)
        self.trunk = Trunk(trunk, config.context_indices())
        self.encoders = nn.ModuleDict()
        for name in config.encoder_domains:
            cls = find("encoders", name).load()
            self.encoders[name] = cls(channels=trunk.channels, **config.encoders[name])
        self.known = self._coverage_tables()
        self.baselines = Baselines(config, type(self).beneath)
        self.heads = nn.ModuleDict()
        self.normalisers = nn.ModuleDict()
        self.uncertainties = nn.ModuleDict()
        self.error_scales = nn.ModuleDict()  # of forces, by encoder
        for spec in config.heads:
            quantity = config.quantities[spec.quantity]
            head: Head = head_class(spec.part)(quantity, trunk.channels, **dict(spec.options))
            self.heads[spec.key] = head
            if spec.level is not None:
                continue
            dim = getattr(head, "dim", quantity.dim if quantity.per == "token" else 1)
            self.normalisers[spec.key] = Normaliser(quantity, len(config.contexts), dim)
            contexts = len(config.contexts)
            if hasattr(head, "last_layer"):
                self.uncertainties[spec.key] = LastLayerUncertainty(contexts, trunk.channels)
            if spec.quantity == "energy" and hasattr(head, "last_layer_per_token"):
                self.error_scales[spec.encoder] = ErrorScale(contexts, trunk.channels)

    @classmethod
    def beneath(cls, spec: BaselineSpec) -> Network:
        """The model that a baseline names.

        Raises:
            InputError: here, always; `FoundationModel` knows how to load one.
        """
        raise InputError(f"a bare network loads no model '{spec.model}'")

    def stand_on(self, baselines: Iterable[BaselineSpec]) -> None:
        """Put these theories, and no others, beneath the energies: in the config too.

        Raises:
            InputError, PluginError: as the constructor.
        """
        self.config = dataclasses.replace(self.config, baselines=tuple(baselines))
        self.baselines = Baselines(self.config, type(self).beneath)

    def _coverage_tables(self) -> Known:
        units = {
            name: factor(encoder.length_unit, "angstrom")
            for name, encoder in self.encoders.items()
            if isinstance(encoder, PointEncoder)
        }
        return Known(self.config, units)

    @property
    def dtype(self) -> torch.dtype:
        """Of the network; energies are summed in float64 whatever it is."""
        return self.trunk.types.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.trunk.types.weight.device

    def encoder(self, name: str) -> Encoder:
        """The encoder of this name, `plugin/part`.

        Raises:
            InputError: the model has none of this name.
        """
        if name not in self.encoders:
            raise InputError(
                f"model '{self.config.name}' has no encoder '{name}' (it has: "
                f"{', '.join(self.encoders)}).{did_you_mean(name, self.encoders)}"
            )
        return self.encoders[name]  # type: ignore[return-value]

    def forward(
        self,
        batch: Mapping[str, Tokens],
        quantities: Mapping[str, Collection[str]],
        *,
        create_graph: bool = False,
    ) -> dict[str, dict[str, Float[Tensor, "_ ..."]]]:
        """Physical values by encoder and quantity, in canonical units.

        Args:
            batch: tokens by encoder, as `tokenize` makes them.
            quantities: what to compute for each encoder; `forces` and `stress` are derivatives of
                `energy`.
            create_graph: keep the graph of derivatives, to train on them.

        Returns:
            Per-system values (S, ...), per-token values (N, ...), grid values (cells, ...).
        """
        return self.values_and_features(batch, quantities, create_graph=create_graph)[0]

    def in_precision(
        self,
        dtype: torch.dtype,
        batch: Mapping[str, Tokens],
        quantities: Mapping[str, Collection[str]],
    ) -> dict[str, dict[str, Float[Tensor, "_ ..."]]]:
        """`forward` with the network cast to `dtype` for this call; gradients reach its weights.

        Values (S, ...), (N, ...) or (cells, ...) in canonical units, as `forward`.
        """
        values: dict[str, dict[str, Tensor]]
        if dtype == self.dtype:
            values = self(batch, quantities)
            return values
        state = (*self.named_parameters(), *self.named_buffers())
        cast = {name: v.to(dtype) if v.is_floating_point() else v for name, v in state}
        values = torch.func.functional_call(self, cast, (batch, quantities))
        return values

    def values_and_features(
        self,
        batch: Mapping[str, Tokens],
        quantities: Mapping[str, Collection[str]],
        *,
        create_graph: bool = False,
    ) -> tuple[dict[str, dict[str, Float[Tensor, "_ ..."]]], dict[str, Tokens]]:
        """What `forward` returns, and the trunk's features of the same pass; same arguments.

        Values (S, ...), (N, ...) or (cells, ...) in canonical units; features without unit.
        """
        moved, handles = dict(batch), {}
        derived = {name for name, asked in quantities.items() if not set(DERIVED).isdisjoint(asked)}
        with torch.set_grad_enabled(torch.is_grad_enabled() or bool(derived)):
            for name in quantities:
                if name in derived:
                    moved[name], handles[name] = attach(
                        batch[name], stress="stress" in quantities[name]
                    )
            close = self._close(moved)
            features = self._features({k: held(t, close[k]) for k, t in moved.items()})
            values: dict[str, dict[str, Tensor]] = {}
            energies: dict[str, Tensor] = {}
            for name, asked in quantities.items():
                values[name] = {}
                direct = [q for q in asked if q not in DERIVED]
                if name in handles and "energy" not in direct:
                    direct.append("energy")
                for quantity in direct:
                    value, varying = readout.value(
                        self, name, quantity, features[name], moved[name]
                    )
                    added = self._added(name, quantity, moved[name], close[name])
                    if added is not None:
                        value, varying = value + added, varying + added.to(varying.dtype)
                    values[name][quantity] = value
                    if quantity == "energy" and name in handles:
                        energies[name] = varying
            if handles:
                derivatives = derive(
                    [energies[name] for name in handles],
                    list(handles.values()),
                    create_graph=create_graph,
                )
                for name, of_energy in zip(handles, derivatives, strict=True):
                    values[name].update(of_energy)
        asked_for = {k: {q: values[k][q] for q in quantities[k]} for k in values}
        return asked_for, features

    def features(
        self, batch: Mapping[str, Tokens], *, invariants: bool | None = None
    ) -> dict[str, Tokens]:
        """Encoders and ONE pass of the trunk: updated tokens by encoder.

        With `invariants`, those of all layers are among the extras (see `Trunk.forward`); None
        asks for them where a head of the batch's encoders rests on them.
        """
        close = self._close(batch)
        return self._features({k: held(t, close[k]) for k, t in batch.items()}, invariants)

    def _added(
        self, name: str, quantity: str, tokens: Tokens, close: ClosePairs | None
    ) -> Tensor | None:
        """(S,) eV that no network makes: the repulsion of close pairs, and baselines; or None."""
        if quantity != "energy":
            return None
        parts = [repulsion(tokens, close), self.baselines.energy(tokens)]
        there = [part for part in parts if part is not None]
        return torch.stack(there).sum(0) if there else None

    def _close(self, batch: Mapping[str, Tokens]) -> dict[str, ClosePairs | None]:
        """Pairs of atoms that are too close for the network, where it has a repulsion."""
        repelling = {
            name
            for name in batch
            if self.config.repulsion and isinstance(self.encoders[name], PointEncoder)
        }
        return {k: self.known.close(t) if k in repelling else None for k, t in batch.items()}

    def _features(
        self, batch: Mapping[str, Tokens], invariants: bool | None = None
    ) -> dict[str, Tokens]:
        if invariants is None:
            invariants = any(h.level is not None and h.encoder in batch for h in self.config.heads)
        lifted = [
            self.encoder(name)(tokens).replace(conditions=tokens.conditions[:, :0], extras={})
            for name, tokens in batch.items()
        ]
        if not any(max(self.encoder(name).raw[1:]) for name in batch):
            # points without vectors and tensors: the trunk's first layer leaves them out
            bare = {"vectors": slice(0), "tensors": slice(0)}
            lifted = [
                t.replace(**{k: getattr(t, k)[..., s] for k, s in bare.items()}) for t in lifted
            ]
        out = self.trunk(Tokens.cat(lifted), invariants=invariants)
        features, start = {}, 0
        for name, tokens in batch.items():
            rows = slice(start, start := start + tokens.n_tokens)
            features[name] = tokens.replace(
                scalars=out.scalars[rows],
                vectors=out.vectors[rows],
                tensors=out.tensors[rows],
                extras={**tokens.extras, **{k: value[rows] for k, value in out.extras.items()}},
            )
        return features
