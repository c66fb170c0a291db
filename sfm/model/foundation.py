"""`FoundationModel`: what users hold. It predicts, grows, is saved and loaded."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfm.config import BaselineSpec, HeadSpec, Target
from sfm.config.coverage import Coverage
from sfm.data.sample import Sample
from sfm.data.tokens import Tokens
from sfm.errors import HubError, InputError
from sfm.hub.publish import push_folder
from sfm.hub.resolve import resolve
from sfm.model import growing
from sfm.model.adapter import digest
from sfm.model.checkpoint import load, save
from sfm.model.descriptors import described
from sfm.model.embed import Embedding, embed
from sfm.model.network import Network
from sfm.model.predict import Prediction, predict
from sfm.model.similar import Neighbourhood, neighbours
from sfm.nn.encoder import Encoder, PointEncoder


class FoundationModel(Network):
    """One equivariant model for several domains.

    Args:
        config: the architecture.

    Raises:
        PluginError: an encoder or head belongs to a plugin that is missing or broken.
    """

    # ------------------------------------------------------------------ what it can say

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains that this model has encoders for."""
        return self.config.domains

    def targets(self, *, encoder: str | None = None, level: str | None = None) -> list[Target]:
        """What the model was trained to say, optionally of one encoder or level."""
        return self.config.targets_of(encoder=encoder, level=level)

    def encoder_for(self, domain: str, quantity: str | None = None) -> str:
        """Name of the encoder of `domain` that can say `quantity`.

        Raises:
            InputError: there is none.
        """
        return self.config.encoder_for(domain, quantity)

    def level(self, encoder: str, level: str | None = None, quantity: str | None = None) -> str:
        """`level` if the encoder was trained at it; the only one there is if None.

        Raises:
            InputError: an unknown level, or several and none was named.
        """
        return self.config.level_of(encoder, level, quantity)

    def context(self, encoder: str, level: str) -> int:
        """Index of (encoder, level) in the trunk's tables.

        Raises:
            InputError: the model was not trained there.
        """
        return self.config.context(encoder, level)

    @classmethod
    def beneath(cls, spec: BaselineSpec) -> FoundationModel:
        """The model that a baseline names, if it has the weights that were there in training.

        Raises:
            HubError: it has others, or cannot be had.
        """
        folder = resolve(spec.model)
        if digest(folder) != spec.model_sha256:
            raise HubError(
                f"the model beneath the energy at '{spec.level}', '{spec.model}', has other "
                "weights here than when this model was trained; take the revision of that time"
            )
        return load(cls, folder)

    def cover(self, coverage: Iterable[Coverage]) -> None:
        """State what the training data cover: in the config, and in what is repelled."""
        self.config = dataclasses.replace(self.config, coverage=tuple(coverage))
        self.known = self._coverage_tables().to(self.device)

    # ------------------------------------------------------------------ using

    def tokenize(self, encoder: str, samples: Sequence[Sample], level: str | None = None) -> Tokens:
        """Tokens of `samples` in the model's dtype and device, routed to their level of theory.

        Args:
            encoder: name of the encoder.
            samples: one or more.
            level: for all of them; None takes each sample's own.
        """
        batches = []
        for sample in samples:
            tokens = described(self, encoder, sample, self.encoder(encoder).tokenize(sample))
            context = self.context(encoder, self.level(encoder, level or sample.level))
            batches.append(tokens.replace(context=torch.full_like(tokens.context, context)))
        return Tokens.cat(batches).to(self.device, self.dtype)

    def predict(self, inputs: Any, **options: Any) -> Prediction | list[Prediction]:
        """Everything that the model can say of `inputs`; see `sfm.model.predict.predict`."""
        return predict(self, inputs, **options)

    def embed(self, inputs: Any, **options: Any) -> Embedding | list[Embedding]:
        """The trunk's features of `inputs`; see `sfm.model.embed.embed`."""
        return embed(self, inputs, **options)

    def neighbours(
        self, inputs: Any, data: Any, **options: Any
    ) -> Neighbourhood | list[Neighbourhood]:
        """The structures of `data` nearest to `inputs`; see `sfm.model.similar.neighbours`."""
        return neighbours(self, inputs, data, **options)

    def calculator(
        self,
        *,
        level: str | None = None,
        domain: str | None = None,
        extrapolate: bool = False,
        compiled: bool = False,
    ) -> Any:
        """An ASE calculator; see `sfm.model.calculator`."""
        from sfm.model.calculator import calculator  # needs ASE

        return calculator(
            self, level=level, domain=domain, extrapolate=extrapolate, compiled=compiled
        )

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
        names = [
            name for name, its_domain in self.config.encoder_domains.items() if its_domain == domain
        ]
        supplying = [n for n in names if type(self.encoder(n)).closure is not Encoder.closure]
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

    # ------------------------------------------------------------------ other models out of it

    def collapsed(self, encoder: str, level: str) -> FoundationModel:
        """A copy for one (encoder, level), as cheap as one dense model; see `growing.collapsed`."""
        return growing.collapsed(self, encoder, level)

    def without_heads(self, keys: Collection[str]) -> FoundationModel:
        """A copy without these heads of single levels, which the general ones serve again."""
        return growing.without_heads(self, keys)

    def extended(
        self,
        targets: Iterable[Target],
        heads: Iterable[HeadSpec] = (),
        quantities: Mapping[str, Any] | None = None,
        *,
        nearest: Mapping[tuple[str, str], tuple[str, str]] | None = None,
    ) -> FoundationModel:
        """A copy that can also be trained on `targets`; see `growing.extended`."""
        return growing.extended(self, targets, heads, quantities, nearest=nearest)

    # ------------------------------------------------------------------ saving

    def save_pretrained(
        self, folder: str | Path, *, max_shard_size: str = "5GB", half: bool = False
    ) -> Path:
        """Write `config.json` and `model.safetensors` (sharded with an index when large).

        `half` stores weights in float16, rounded by up to 5e-4; they are read as float32 again.
        """
        return save(self, Path(folder), max_shard_size=max_shard_size, half=half)

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
        return load(cls, resolve(name_or_path, **options), domains=domains)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Save to a temporary folder and upload it; options as in `sfm.hub.publish.push_folder`."""
        with tempfile.TemporaryDirectory() as scratch:
            self.save_pretrained(scratch)
            return push_folder(scratch, repo_id, **options)
