"""What `config.json` of a model may hold: types and ranges, checked before a layer is built."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sfm.config.baseline import LARGEST_FILE
from sfm.errors import HubError

Word = Annotated[str, Field(min_length=1, max_length=300)]
Part = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
Symbol = Annotated[str, Field(min_length=1, max_length=3)]
Size = Annotated[int, Field(ge=1, le=65_536)]
Option = (
    bool
    | Annotated[int, Field(ge=-65_536, le=65_536)]
    | float
    | Annotated[str, Field(max_length=300)]
    | None
    | Annotated[list[int | float | str], Field(max_length=1000)]
)
Options = dict[Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,60}$")], Option]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Trunk(_Strict):
    channels: Size = 64
    layers: Annotated[int, Field(ge=1, le=256)] = 2
    experts: Size = 4
    radial: Size = 8
    carried: Size = 16


# sizes of blocks, names of descriptors and a baseline of a head in closed form
Nested = dict[Annotated[str, Field(min_length=1, max_length=200)], Option]


class _Head(_Strict):
    encoder: Part
    quantity: Word
    part: Part
    options: dict[Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,60}$")], Option | Nested] = {}
    level: Word | None = None


class _Target(_Strict):
    encoder: Part
    level: Word
    quantity: Word


class _Quantity(_Strict):
    name: Word
    unit: Word
    irreps: Annotated[str, Field(max_length=60)] = "0e"
    per: str = "system"
    extensive: bool = False
    derived_from: str | None = None
    summary: Annotated[str, Field(max_length=1000)] = ""
    affine: Annotated[list[Word | float], Field(min_length=2, max_length=2)] | None = None


class _Coverage(_Strict):
    encoder: Part
    level: Word
    systems: Annotated[int, Field(ge=0)]
    elements: list[Symbol]
    charges: list[float] = [0.0]
    spins: list[float] = []
    states: list[Annotated[list[float], Field(min_length=2, max_length=2)]] = []
    closest: dict[Annotated[str, Field(max_length=7)], Annotated[float, Field(ge=0)]] = {}
    narrower: dict[Word, list[Symbol]] = {}


class _Baseline(_Strict):
    encoder: Part
    level: Word
    simulator: Part | Literal[""] = ""
    values: dict[Word, bool | int | float | Word] = {}
    files: dict[Word, Annotated[str, Field(max_length=LARGEST_FILE)]] = {}
    model: Annotated[str, Field(max_length=200)] = ""
    model_level: Annotated[str, Field(max_length=300)] = ""
    model_sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


class _Config(BaseModel):
    """Keys that a newer format adds are its own business; `sfm.config.upgrade` knows the format."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    trunk: _Trunk
    encoders: dict[Part, Options]
    encoder_domains: dict[Part, Word]
    heads: list[_Head]
    targets: list[_Target]
    contexts: Annotated[
        list[Annotated[list[Word], Field(min_length=2, max_length=2)]], Field(min_length=1)
    ]
    quantities: dict[Word, _Quantity]
    plugins: dict[Word, dict[str, Annotated[str, Field(max_length=300)]]]
    name: Word = "sfm"
    repulsion: Word | None
    coverage: list[_Coverage]
    baselines: list[_Baseline] = []


def check(data: Mapping[str, Any]) -> None:
    """Raise a `HubError` that names the first value of a config that cannot be."""
    try:
        _Config.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(x) for x in first["loc"])[:120]
        raise HubError(f"config.json is damaged: {where}: {first['msg'][:200]}") from None
    for name, quantity in data["quantities"].items():
        counts = re.findall(r"(\d+)x", quantity.get("irreps", "0e"))
        degrees = re.findall(r"(\d+)[eo]", quantity.get("irreps", "0e"))
        if any(len(n) > 4 for n in counts) or any(len(n) > 2 for n in degrees):
            raise HubError(f"config.json is damaged: quantities.{name}.irreps are too large")
    known = data["quantities"]
    for i, head in enumerate(data["heads"]):
        if head["quantity"] not in known:
            raise HubError(
                f"config.json is damaged: heads.{i}: no quantity {head['quantity'][:80]!r}"
            )
