"""What recipes are made of: strict plain values."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

LossKind = Literal["norm", "huber", "square"]
Logger = Literal["csv", "tensorboard", "wandb", "trackio"]
LARGEST = 2**53  # whole numbers up to it are exact in every format


def _whole(value: Any) -> Any:
    """`2e4` is a whole number, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# no true as 1, no text as a number
Count = Annotated[int, BeforeValidator(_whole), Field(le=LARGEST)]
Items = Field(strict=False)  # a list of YAML is a tuple here


class Strict(BaseModel):
    """A section: no unknown key, no value of another type, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    def to_dict(self) -> dict[str, Any]:
        """The resolved values as plain JSON."""
        return self.model_dump(mode="json")
