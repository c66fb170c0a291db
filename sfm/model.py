"""`FoundationModel`: encoders, one shared trunk, heads.

    sample -> encoder -> tokens -> trunk -> head -> quantity

A batch may hold systems of several domains: each encoder makes tokens of its own, and one pass
through the trunk updates them all. Forces and stress are derivatives of the energy.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from sfm.config import HeadSpec, ModelConfig, Target
from sfm.data.descriptors import row as descriptor_row
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import InputError, did_you_mean
from sfm.nn.derive import DERIVED, attach, derive
from sfm.nn.encoder import Encoder, PointEncoder
from sfm.nn.head import Head, head_class
from sfm.nn.known import ClosePairs, Known
from sfm.nn.normalise import Normaliser
from sfm.nn.repulsion import held, repulsion
from sfm.nn.trunk import Trunk, TrunkConfig
from sfm.nn.uncertainty import LastLayerUncertainty
from sfm.registry import find
from sfm.units import factor

if TYPE_CHECKING:
    from sfm.coverage import Coverage
    from sfm.nn.kernel import KernelHead
    from sfm.predict import Embedding, Prediction

# tables of the trunk with one row per (encoder, level)
CONTEXT_TABLES = ("trunk.context_scalars.weight", "trunk.neighbours")


class FoundationModel(nn.Module):
    """One equivariant model for several domains.

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
        for part in config.encoder_domains:
            cls = find("encoders", part).load()
            self.encoders[part] = cls(channels=trunk.channels, **config.encoders[part])
        self.known = self._tables()
        self.heads = nn.ModuleDict()
        self.normalisers = nn.ModuleDict()
        self.uncertainties = nn.ModuleDict()
        for spec in config.heads:
            quantity = config.quantities[spec.quantity]
            head: Head = head_class(spec.part)(quantity, trunk.channels, **dict(spec.options))
            self.heads[spec.key] = head
            if spec.level is not None:
                continue
            dim = getattr(head, "dim", quantity.dim if quantity.per == "token" else 1)
            self.normalisers[spec.key] = Normaliser(quantity, len(config.contexts), dim)
            if hasattr(head, "last_layer"):
                self.uncertainties[spec.key] = LastLayerUncertainty(
                    len(config.contexts), trunk.channels
                )

    def _tables(self) -> Known:
        atoms = {p: e for p, e in self.encoders.items() if isinstance(e, PointEncoder)}
        units = {part: factor(own.length_unit, "angstrom") for part, own in atoms.items()}
        return Known(self.config, units)

    # ------------------------------------------------------------------ what it can say

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains that this model has encoders for."""
        return self.config.domains

    @property
    def dtype(self) -> torch.dtype:
        """Of the network; energies are summed in float64 whatever it is."""
        return self.trunk.types.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.trunk.types.weight.device

    def targets(self, *, encoder: str | None = None, level: str | None = None) -> list[Target]:
        """What the model was trained to say, optionally of one encoder or level."""
        return [
            t
            for t in self.config.targets
            if encoder in (None, t.encoder) and level in (None, t.level)
        ]

    def encoder(self, part: str) -> Encoder:
        """The encoder `part`.

        Raises:
            InputError: the model has none of this name.
        """
        if part not in self.encoders:
            raise InputError(
                f"model '{self.config.name}' has no encoder '{part}' (it has: "
                f"{', '.join(self.encoders)}).{did_you_mean(part, self.encoders)}"
            )
        return self.encoders[part]  # type: ignore[return-value]

    def encoder_for(self, domain: str, quantity: str | None = None) -> str:
        """Name of the encoder of `domain` that can say `quantity`.

        Raises:
            InputError: there is none.
        """
        for part, own in self.config.encoder_domains.items():
            said = {t.quantity for t in self.targets(encoder=part)}
            if own == domain and (quantity is None or quantity in said):
                return part
        raise InputError(
            f"model '{self.config.name}' was not trained on {quantity or 'anything'} of domain "
            f"'{domain}' (its domains: {', '.join(self.domains)})"
        )

    def level(self, part: str, level: str | None = None, quantity: str | None = None) -> str:
        """`level` if the encoder was trained at it; the only one there is if None.

        Raises:
            InputError: an unknown level, or several and none was named.
        """
        known = list(
            dict.fromkeys(
                t.level for t in self.targets(encoder=part) if quantity in (None, t.quantity)
            )
        )
        if not known:
            raise InputError(
                f"model '{self.config.name}' was not trained on {quantity or 'anything'} "
                f"with '{part}'"
            )
        if level is None and len(known) == 1:
            return known[0]
        if level in known:
            return str(level)
        said = "is ambiguous" if level is None else f"'{level}' is unknown"
        raise InputError(
            f"level of theory for {part} {quantity or ''} {said}: name one of "
            + ", ".join(f"'{x}'" for x in known)
        )

    def context(self, part: str, level: str) -> int:
        """Index of (encoder, level) in the trunk's tables."""
        try:
            return self.config.contexts.index((part, level))
        except ValueError:
            raise InputError(
                f"model '{self.config.name}' was not trained at level '{level}' with '{part}'"
            ) from None

    # ------------------------------------------------------------------ computing

    def tokenize(self, part: str, samples: Sequence[Sample], level: str | None = None) -> Tokens:
        """Tokens of `samples` in the model's dtype and device, routed to their level of theory.

        Args:
            part: encoder.
            samples: one or more.
            level: for all of them; None takes each sample's own.
        """
        encoder = self.encoder(part)
        batches = []
        for sample in samples:
            tokens = self.described(part, sample, encoder.tokenize(sample))
            context = self.context(part, self.level(part, level or sample.level))
            batches.append(tokens.replace(context=torch.full_like(tokens.context, context)))
        return Tokens.cat(batches).to(self.device, self.dtype)

    def cover(self, coverage: Iterable[Coverage]) -> None:
        """State what the training data cover: in the config, and in what is repelled."""
        self.config = dataclasses.replace(self.config, coverage=tuple(coverage))
        self.known = self._tables().to(self.device)

    def _close(self, batch: Mapping[str, Tokens]) -> dict[str, ClosePairs | None]:
        """Pairs of atoms that are too close for the network, where it has a repulsion."""
        on = {p for p in batch if isinstance(self.encoders[p], PointEncoder)}
        on = on if self.config.repulsion else set()
        return {part: self.known.close(t) if part in on else None for part, t in batch.items()}

    def features(
        self, batch: Mapping[str, Tokens], *, invariants: bool | None = None
    ) -> dict[str, Tokens]:
        """Encoders and ONE pass of the trunk: updated tokens by encoder.

        With `invariants`, those of all layers are among the extras (see `Trunk.forward`); None
        asks for them where a head of the batch's encoders rests on them.
        """
        close = self._close(batch)
        return self._features({p: held(t, close[p]) for p, t in batch.items()}, invariants)

    def _features(
        self, batch: Mapping[str, Tokens], invariants: bool | None = None
    ) -> dict[str, Tokens]:
        if invariants is None:
            invariants = any(h.level is not None and h.encoder in batch for h in self.config.heads)
        lifted = [
            self.encoder(part)(tokens).replace(conditions=tokens.conditions[:, :0], extras={})
            for part, tokens in batch.items()
        ]
        if not any(max(self.encoder(part).raw[1:]) for part in batch):
            # points without vectors and tensors: the trunk's first layer leaves them out
            bare = {"vectors": slice(0), "tensors": slice(0)}
            lifted = [
                t.replace(**{k: getattr(t, k)[..., s] for k, s in bare.items()}) for t in lifted
            ]
        out = self.trunk(Tokens.cat(lifted), invariants=invariants)
        features, start = {}, 0
        for part, tokens in batch.items():
            rows = slice(start, start := start + tokens.n_tokens)
            own = {name: value[rows] for name, value in out.extras.items()}
            features[part] = tokens.replace(
                scalars=out.scalars[rows],
                vectors=out.vectors[rows],
                tensors=out.tensors[rows],
                extras={**tokens.extras, **own},
            )
        return features

    def forward(
        self,
        batch: Mapping[str, Tokens],
        quantities: Mapping[str, Collection[str]],
        *,
        create_graph: bool = False,
    ) -> dict[str, dict[str, Tensor]]:
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
    ) -> dict[str, dict[str, Tensor]]:
        """`forward` with the network cast to `dtype` for this call; gradients reach its weights."""
        if dtype == self.dtype:
            return self(batch, quantities)
        own = (*self.named_parameters(), *self.named_buffers())
        cast = {name: v.to(dtype) if v.is_floating_point() else v for name, v in own}
        return torch.func.functional_call(self, cast, (batch, quantities))

    def values_and_features(
        self,
        batch: Mapping[str, Tokens],
        quantities: Mapping[str, Collection[str]],
        *,
        create_graph: bool = False,
    ) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tokens]]:
        """What `forward` returns, and the trunk's features of the same pass; same arguments."""
        moved, handles = dict(batch), {}
        differentiate = any(n in wanted for wanted in quantities.values() for n in DERIVED)
        with torch.set_grad_enabled(torch.is_grad_enabled() or differentiate):
            for part, wanted in quantities.items():
                if any(name in wanted for name in DERIVED):
                    moved[part], handles[part] = attach(batch[part], stress="stress" in wanted)
            close = self._close(moved)
            features = self._features({p: held(t, close[p]) for p, t in moved.items()})
            results: dict[str, dict[str, Tensor]] = {}
            energies: dict[str, Tensor] = {}
            for part, wanted in quantities.items():
                names = [n for n in wanted if n not in DERIVED]
                if part in handles and "energy" not in names:
                    names.append("energy")
                values = {}
                for name in names:
                    values[name], varying = self._value(part, name, features[part], moved[part])
                    push = repulsion(moved[part], close[part]) if name == "energy" else None
                    if push is not None:
                        values[name] = values[name] + push
                        varying = varying + push.to(varying.dtype)
                    if name == "energy" and part in handles:
                        energies[part] = varying
                results[part] = values
            if handles:
                parts = list(handles)
                derived = derive(
                    [energies[p] for p in parts],
                    [handles[p] for p in parts],
                    create_graph=create_graph,
                )
                for part, values in zip(parts, derived, strict=True):
                    results[part].update(values)
        asked = {
            part: {name: values[name] for name in quantities[part]}
            for part, values in results.items()
        }
        return asked, features

    def _value(
        self, part: str, quantity: str, features: Tokens, inputs: Tokens
    ) -> tuple[Tensor, Tensor]:
        """Physical values, and the same without constant references, to differentiate.

        Systems of a level that has a head of its own are that head's, the others the general one's.
        """
        own = self._of_one_level(part, quantity, inputs)
        if not own or not sum(mask for _, mask in own).all():  # type: ignore[union-attr,attr-defined]
            raw, normaliser = self._head(part, quantity, features, inputs)
            value, varying = normaliser(raw, inputs), raw
            if quantity == "energy":
                varying = raw * normaliser.scale[inputs.context, 0].to(raw.dtype)
        else:
            value = inputs.positions.new_zeros(inputs.n_systems, dtype=torch.float64)
            varying = value.to(self.dtype)
        for head, mask in own:
            said = head(features, inputs) + self.baseline(part, head.baseline, features, inputs)
            value = torch.where(mask, said, value.to(said.dtype))
            varying = torch.where(mask, said.to(varying.dtype), varying)
        return value, varying

    def _of_one_level(
        self, part: str, quantity: str, inputs: Tokens
    ) -> list[tuple[KernelHead, Tensor]]:
        """Heads that serve one level alone, with the mask (S,) of the systems at that level."""
        found: list[tuple[KernelHead, Tensor]] = []
        for spec in self.config.heads:
            if spec.level is not None and (spec.encoder, spec.quantity) == (part, quantity):
                mask = inputs.context == self.context(part, spec.level)
                if mask.any():
                    found.append((self.heads[spec.key], mask))  # type: ignore[arg-type]
        return found

    def baseline(
        self, part: str, spec: Mapping[str, Any] | None, features: Tokens, inputs: Tokens
    ) -> Tensor:
        """(S,) float64: what a closed-form head adds itself to, of the model's own quantities.

        Args:
            part: encoder.
            spec: `quantity`, `factor`, `references`, `per_token`, see `KernelHead`; None for zero.
            features: the trunk's.
            inputs: the encoder's.
        """
        if spec is None:
            return torch.zeros(inputs.n_systems, dtype=torch.float64, device=self.device)
        raw, normaliser = self._head(part, str(spec["quantity"]), features, inputs)
        value = raw.double() * normaliser.scale[inputs.context, 0]
        if spec["references"] and (offsets := normaliser.offsets(inputs)) is not None:
            value = value + offsets[:, 0]
        value = float(spec["factor"]) * value
        return value / inputs.counts() if spec["per_token"] else value

    def _head(
        self, part: str, quantity: str, features: Tokens, inputs: Tokens
    ) -> tuple[Tensor, Normaliser]:
        key = f"{part}:{quantity}"
        if key not in self.heads:
            known = [h.quantity for h in self.config.heads if h.encoder == part]
            raise InputError(
                f"model '{self.config.name}' has no head for '{quantity}' of '{part}' "
                f"(it has: {', '.join(known)}).{did_you_mean(quantity, known)}"
            )
        return self.heads[key](features, inputs), self.normalisers[key]  # type: ignore[return-value]

    def described(self, part: str, sample: Sample, tokens: Tokens) -> Tokens:
        """The sample's tokens with the descriptors that the model's heads of `part` ask for."""
        single = (h.key for h in self.config.heads if h.encoder == part and h.level)
        asked: list[Any] = [self.heads[key] for key in single]
        wanted = {head.extra: head.descriptors for head in asked if head.descriptors}
        if not wanted:
            return tokens
        rows = {k: torch.from_numpy(descriptor_row(sample, v)[None]) for k, v in wanted.items()}
        return tokens.replace(extras={**tokens.extras, **rows})

    @torch.no_grad()
    def uncertainty(
        self, part: str, quantity: str, tokens: Tokens, features: Tokens
    ) -> tuple[Tensor, Tensor] | None:
        """Standard errors (S,) and whether each system lies outside the training domain.

        None if the head has no last layer to judge by. `features` are the trunk's, of these tokens.
        """
        key, own = f"{part}:{quantity}", self._of_one_level(part, quantity, tokens)
        sigma = torch.full((tokens.n_systems,), torch.nan, dtype=torch.float64, device=self.device)
        outside = torch.zeros_like(sigma, dtype=torch.bool)
        if key in self.uncertainties:
            last = self.heads[key].last_layer(features)  # type: ignore[operator]
            sigma, outside = self.uncertainties[key](last, tokens.context)
        elif not own:
            return None
        for head, mask in own:
            error, far = head.judge(features, tokens)
            sigma, outside = torch.where(mask, error, sigma), torch.where(mask, far, outside)
        return sigma, outside

    # ------------------------------------------------------------------ using

    def predict(self, inputs: Any, **options: Any) -> Prediction | list[Prediction]:
        """Everything that the model can say of `inputs`; see `sfm.predict.predict`."""
        from sfm.predict import predict

        return predict(self, inputs, **options)

    def embed(self, inputs: Any, **options: Any) -> Embedding | list[Embedding]:
        """The trunk's features of `inputs`; see `sfm.predict.embed`."""
        from sfm.predict import embed

        return embed(self, inputs, **options)

    def calculator(
        self, *, level: str | None = None, domain: str | None = None, extrapolate: bool = False
    ) -> Any:
        """An ASE calculator; see `sfm.calculator`."""
        from sfm.calculator import calculator

        return calculator(self, level=level, domain=domain, extrapolate=extrapolate)

    def closure(
        self,
        domain: str,
        *,
        level: str | None = None,
        extrapolate: bool = False,
        **options: Any,
    ) -> nn.Module:
        """The module that fills the hole of this domain's classical theory.

        Args:
            domain: whose closure.
            level: level of theory; needed where the model knows several.
            extrapolate: let it answer outside the training data, with a warning.
            options: those of the encoder's `closure`.

        Raises:
            InputError: the model was not trained on this domain, or several levels fit.
        """
        parts = [p for p, own in self.config.encoder_domains.items() if own == domain]
        supplying = [p for p in parts if type(self.encoder(p)).closure is not Encoder.closure]
        if not supplying:
            self.encoder_for(domain)
            raise InputError(f"no encoder of domain '{domain}' supplies a closure")
        encoder = self.encoder(supplying[-1])
        if extrapolate:
            if not isinstance(encoder, PointEncoder):
                raise InputError(
                    f"extrapolate: what the training data of '{encoder.part}' cover was not "
                    "recorded, so nothing is refused; leave it out"
                )
            options["extrapolate"] = True
        return encoder.closure(self, level=level, **options)

    @torch.no_grad()
    def collapsed(self, part: str, level: str) -> FoundationModel:
        """A copy for one (encoder, level): its mixtures of experts are merged to dense weights.

        Predictions for that context are equal up to rounding, and cost one dense model.
        """
        context = self.context(part, level)
        config = dataclasses.replace(
            self.config,
            trunk={**self.config.trunk, "experts": 1},
            targets=tuple(self.targets(encoder=part, level=level)),
        )
        dense = copy.deepcopy(self)
        dense.config, dense.trunk = config, self.trunk.collapsed(context)
        return dense

    # ------------------------------------------------------------------ growing

    def without_heads(self, keys: Collection[str]) -> FoundationModel:
        """A copy without these heads of single levels, which the general ones serve again."""
        copied = copy.deepcopy(self)
        for key in keys:
            del copied.heads[key]
        kept = tuple(h for h in self.config.heads if h.key not in keys)
        copied.config = dataclasses.replace(self.config, heads=kept)
        return copied

    @torch.no_grad()
    def extended(
        self,
        targets: Iterable[Target],
        heads: Iterable[HeadSpec] = (),
        quantities: Mapping[str, Any] | None = None,
        *,
        nearest: Mapping[tuple[str, str], tuple[str, str]] | None = None,
    ) -> FoundationModel:
        """A copy that can also be trained on `targets`; everything known is kept.

        A new head starts from scratch; one of a single level replaces its predecessor. A new level
        (its context row, routing, neighbours, scales and references) starts as a copy of the
        (encoder, level) that `nearest` names for it, else of the first that the encoder knows; of a
        new encoder, from the mean of all.
        """
        old = self.config
        new_targets = tuple(t for t in targets if t not in old.targets)
        contexts = list(old.contexts)
        for target in new_targets:
            if target.context not in contexts:
                contexts.append(target.context)
        heads = tuple(heads)
        replaced = {h.key for h in heads if h.level is not None}
        kept = tuple(h for h in old.heads if h.key not in replaced)
        heads_known = {h.key for h in kept}
        config = dataclasses.replace(
            old,
            targets=old.targets + new_targets,
            contexts=tuple(contexts),
            heads=kept + tuple(h for h in heads if h.key not in heads_known),
            quantities={**old.quantities, **(quantities or {})},
        )
        grown = FoundationModel(config).to(device=self.device, dtype=self.dtype)
        state = grown.state_dict()
        for name, value in self.state_dict().items():
            if any(name.startswith(f"heads.{key}.") for key in replaced):
                continue
            if value.shape == state[name].shape:
                state[name] = value
            else:
                state[name][: len(value)] = value
        pairs = config.context_indices()
        for index in range(len(old.contexts), len(contexts)):
            encoder, level = contexts[index]
            known = [i for i, (e, _) in enumerate(old.contexts) if e == encoder]
            donor = (nearest or {}).get((encoder, level))
            same = [contexts.index(donor)] if donor else known[:1] or list(range(len(old.contexts)))
            for name in state:
                if name.startswith("normalisers.") or name in CONTEXT_TABLES:
                    state[name][index] = state[name][same].mean(0)
            row = pairs[index][1]
            if row >= len(old.levels):
                table = state["trunk.router.level_logits"]
                table[row] = table[[pairs[i][1] for i in same]].mean(0)
        grown.load_state_dict(state)
        return grown

    # ------------------------------------------------------------------ saving

    def save_pretrained(self, folder: str | Path, *, max_shard_size: str = "5GB") -> Path:
        """Write `config.json` and `model.safetensors` (sharded with an index when large)."""
        from sfm.checkpoint import save

        return save(self, Path(folder), max_shard_size=max_shard_size)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        domains: Collection[str] | None = None,
        **options: Any,
    ) -> FoundationModel:
        """A model from a bundled name, a folder, or a Hub id.

        Args:
            name_or_path: `sfm-tiny`, `path/to/folder`, or `org/name`.
            domains: load only these domains, for a model whose other plugins are missing.
            options: `revision`, `token`, `cache_dir`, `force_download`, `local_files_only` and
                `subfolder`, as in `sfm.hub.resolve.resolve`.

        Raises:
            HubError: not found, no access, no network, damaged.
            PluginError: the model needs a plugin that is not installed.
        """
        from sfm.checkpoint import load
        from sfm.hub.resolve import resolve

        return load(resolve(name_or_path, **options), domains=domains)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Save to a temporary folder and upload it; options as in `sfm.hub.publish.push_folder`."""
        import tempfile

        from sfm.hub.publish import push_folder

        with tempfile.TemporaryDirectory() as scratch:
            self.save_pretrained(scratch)
            return push_folder(scratch, repo_id, **options)
