"""`ModelConfig`: everything that is needed to build a model, as plain JSON. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sfm.config.baseline import BaselineSpec
from sfm.config.coverage import Coverage
from sfm.config.schema import check
from sfm.errors import HubError, InputError
from sfm.quantity import Quantity
from sfm.version import __version__

FORMAT = 2
MODEL_TYPE = "sfm"


@dataclass(frozen=True, order=True)
class Target:
    """One thing that a model can say: a quantity of an encoder's systems at a level of theory."""

    encoder: str
    level: str
    quantity: str

    @property
    def context(self) -> tuple[str, str]:
        return self.encoder, self.level

    def __str__(self) -> str:
        return f"{self.encoder}:{self.quantity}@{self.level}"


@dataclass(frozen=True)
class HeadSpec:
    """One head: which class (a plugin's part, `plugin/quantity`) for which encoder.

    With a `level` it serves that level of theory alone, in the place of the head that serves all
    the others: so do heads in closed form (`sfm.nn.kernel`).
    """

    encoder: str
    quantity: str
    part: str
    options: Mapping[str, Any] = field(default_factory=dict)
    level: str | None = None

    @property
    def key(self) -> str:
        name = f"{self.encoder}:{self.quantity}"
        # a module's name has no dots
        return name if self.level is None else f"{name}@{self.level}".replace(".", "\u00b7")


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of a `FoundationModel`.

    Attributes:
        trunk: fields of `sfm.nn.trunk.TrunkConfig`.
        encoders: constructor options by encoder part.
        encoder_domains: domain of each encoder.
        heads: all heads.
        targets: what the model was trained to say.
        contexts: (encoder, level) pairs, in the order of the trunk's tables.
        quantities: definition of every quantity in `targets`.
        plugins: plugin name -> {"distribution", "version"} range.
        name: a short name for messages and cards.
        repulsion: `zbl`, the screened nuclear repulsion of energies (`sfm.nn.repulsion`), or None.
        coverage: what the training data cover, per context; empty where nobody recorded it.
        baselines: theories, or other models, beneath the energies of some contexts.
    """

    trunk: Mapping[str, Any]
    encoders: Mapping[str, Mapping[str, Any]]
    encoder_domains: Mapping[str, str]
    heads: tuple[HeadSpec, ...]
    targets: tuple[Target, ...]
    contexts: tuple[tuple[str, str], ...]
    quantities: Mapping[str, Quantity]
    plugins: Mapping[str, Mapping[str, str]]
    name: str = "sfm"
    repulsion: str | None = None
    coverage: tuple[Coverage, ...] = ()
    baselines: tuple[BaselineSpec, ...] = ()

    def __post_init__(self) -> None:
        if self.repulsion not in (None, "zbl"):
            raise InputError(f"repulsion is {self.repulsion!r}; it is 'zbl' or null")

    @property
    def levels(self) -> tuple[str, ...]:
        """All levels of theory, in order of first use."""
        return tuple(dict.fromkeys(level for _, level in self.contexts))

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.encoder_domains.values()))

    def context_indices(self) -> list[tuple[int, int]]:
        """(encoder index, level index) of each context."""
        encoders, levels = list(self.encoders), list(self.levels)
        return [(encoders.index(e), levels.index(level)) for e, level in self.contexts]

    def targets_of(self, *, encoder: str | None = None, level: str | None = None) -> list[Target]:
        """The targets, optionally of one encoder or level."""
        return [
            t for t in self.targets if encoder in (None, t.encoder) and level in (None, t.level)
        ]

    def encoder_for(self, domain: str, quantity: str | None = None) -> str:
        """Name of the encoder of `domain` that can say `quantity`.

        Raises:
            InputError: there is none.
        """
        for encoder, its_domain in self.encoder_domains.items():
            said = {t.quantity for t in self.targets_of(encoder=encoder)}
            if its_domain == domain and (quantity is None or quantity in said):
                return encoder
        raise InputError(
            f"model '{self.name}' was not trained on {quantity or 'anything'} of domain "
            f"'{domain}' (its domains: {', '.join(self.domains)})"
        )

    def level_of(self, encoder: str, level: str | None = None, quantity: str | None = None) -> str:
        """`level` if the encoder was trained at it; the only one there is if None.

        Raises:
            InputError: an unknown level, or several and none was named.
        """
        targets = self.targets_of(encoder=encoder)
        known = list(dict.fromkeys(t.level for t in targets if quantity in (None, t.quantity)))
        if not known:
            raise InputError(
                f"model '{self.name}' was not trained on {quantity or 'anything'} with '{encoder}'"
            )
        if level is None and len(known) == 1:
            return known[0]
        if level in known:
            return str(level)
        said = "is ambiguous" if level is None else f"'{level}' is unknown"
        raise InputError(
            f"level of theory for {encoder} {quantity or ''} {said}: name one of "
            + ", ".join(f"'{x}'" for x in known)
        )

    def context(self, encoder: str, level: str) -> int:
        """Index of (encoder, level) in the trunk's tables.

        Raises:
            InputError: the model was not trained there.
        """
        try:
            return self.contexts.index((encoder, level))
        except ValueError:
            raise InputError(
                f"model '{self.name}' was not trained at level '{level}' with '{encoder}'"
            ) from None

    def restricted(self, domains: Iterable[str]) -> ModelConfig:
        """The config without the encoders (and their heads, targets) of other domains.

        Contexts stay, so that the trunk's tables keep their shape.
        """
        keep = {e for e, d in self.encoder_domains.items() if d in set(domains)}
        return replace(
            self,
            heads=tuple(h for h in self.heads if h.encoder in keep),
            targets=tuple(t for t in self.targets if t.encoder in keep),
            encoder_domains={e: d for e, d in self.encoder_domains.items() if e in keep},
            coverage=tuple(c for c in self.coverage if c.encoder in keep),
            baselines=tuple(b for b in self.baselines if b.encoder in keep),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, with the format version."""
        body = asdict(self)
        body["contexts"] = [list(c) for c in self.contexts]
        return {
            "model_type": MODEL_TYPE,
            "architectures": ["FoundationModel"],
            "format": FORMAT,
            "sfm_version": __version__,
            **body,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelConfig:
        """The config of a checkpoint of this or an earlier format.

        Raises:
            HubError: not an sfm model, a newer format, missing keys, or values that cannot be.
        """
        if data.get("model_type") != MODEL_TYPE:
            raise HubError(
                f"config.json: model_type is {data.get('model_type')!r}, not '{MODEL_TYPE}': "
                "this is not an sfm model"
            )
        kinds = data.get("architectures")
        if kinds and (not isinstance(kinds, list) or "FoundationModel" not in kinds):
            kinds = kinds if isinstance(kinds, list) else [kinds]
            raise HubError(
                f"config.json: this is a {', '.join(map(str, kinds))}, not a foundation model: "
                "its README.md says how to load it"
            )
        data = upgrade(dict(data))
        check(data)
        try:
            return cls(
                trunk=data["trunk"],
                encoders=data["encoders"],
                encoder_domains=data["encoder_domains"],
                heads=tuple(HeadSpec(**h) for h in data["heads"]),
                targets=tuple(Target(**t) for t in data["targets"]),
                contexts=tuple((e, level) for e, level in data["contexts"]),
                quantities={k: Quantity(**q) for k, q in data["quantities"].items()},
                plugins=data["plugins"],
                name=data.get("name", "sfm"),
                repulsion=data["repulsion"],
                coverage=tuple(Coverage.from_dict(c) for c in data["coverage"]),
                baselines=tuple(BaselineSpec(**b) for b in data.get("baselines", ())),
            )
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise HubError(f"config.json is damaged: {type(error).__name__}: {error}") from None


def _repulsion_and_coverage(data: dict[str, Any]) -> dict[str, Any]:
    """Format 1 knew neither: its models say what they said, and do not know what they cover."""
    return {"repulsion": None, "coverage": [], **data}


# one function per format: {n: function from format n to n + 1}
UPGRADES: dict[int, Any] = {1: _repulsion_and_coverage}


def upgrade(data: dict[str, Any]) -> dict[str, Any]:
    """Bring a checkpoint's config to the present format.

    Raises:
        HubError: it comes from a newer sfm.
    """
    version = data.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version > FORMAT or version < 1:
        raise HubError(
            f"config.json has format {version!r}; this sfm reads formats 1 to {FORMAT}: "
            "upgrade with pip install -U sfm-hub"
        )
    while version < FORMAT:
        data = UPGRADES[version](data)
        version += 1
    return data
