"""The configuration of a model of the WSInfer zoo: classes, patch size, spacing and transforms.

Only what it says is taken; the weights come as ONNX. The file is that of https://github.com/SBU-BMI/wsinfer-zoo.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ultraread.errors import ModelConfigInvalid

NM_PER_UM = 1000
Positive = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    """Frozen; what is not known here is passed over, because zoos add fields of their own."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Side(_Part):
    size: Annotated[int, Field(gt=0)]


class _Statistics(_Part):
    mean: Annotated[tuple[float, ...], Field(min_length=1)]
    std: Annotated[tuple[Positive, ...], Field(min_length=1)]


class Resize(_Part):
    """Tiles are resized to a square of `size` pixels."""

    name: Literal["Resize"]
    arguments: _Side


class ToTensor(_Part):
    """Grey values are divided by the full range of 8 bit."""

    name: Literal["ToTensor"]
    arguments: dict[str, Any] | None = None


class Normalize(_Part):
    """(value - mean) / std, by channel."""

    name: Literal["Normalize"]
    arguments: _Statistics


Transform = Annotated[Resize | ToTensor | Normalize, Field(discriminator="name")]


class WsinferConfig(_Part):
    """The whole file."""

    spec_version: str
    architecture: str
    name: str = ""
    num_classes: Annotated[int, Field(gt=0)]
    class_names: tuple[str, ...]
    patch_size_pixels: Annotated[int, Field(gt=0)]
    spacing_um_px: Positive
    transform: tuple[Transform, ...]

    @property
    def nm_per_px(self) -> float:
        """Six digits: 0.2525 um are 252.5 nm, not what binary fractions make of it."""
        return float(f"{self.spacing_um_px * NM_PER_UM:.6g}")

    @property
    def network_px(self) -> int:
        """Side of what the network gets: that of `Resize`, else of the tile."""
        sizes = [one.arguments.size for one in self.transform if isinstance(one, Resize)]
        return sizes[0] if sizes else self.patch_size_pixels

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation by channel; empty where nothing is normalised."""
        stated = [one.arguments for one in self.transform if isinstance(one, Normalize)]
        return (stated[0].mean, stated[0].std) if stated else ((), ())


def load_wsinfer_config(file: Path) -> WsinferConfig:
    """Read a configuration. Raises ModelConfigInvalid where it is missing, or says what is not understood."""
    try:
        config = WsinferConfig.model_validate_json(file.read_bytes())
    except OSError as missing:
        raise ModelConfigInvalid(f"{file.name} cannot be read") from missing
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelConfigInvalid(f"{file.name}: {where}: {first['msg']}") from invalid
    _refuse_unless_consistent(config, file.name)
    return config


def _refuse_unless_consistent(config: WsinferConfig, name: str) -> None:
    order = [one.name for one in config.transform]
    if "ToTensor" not in order or order != [
        one for one in ("Resize", "ToTensor", "Normalize") if one in order
    ]:
        raise ModelConfigInvalid(
            f"{name}: transforms are {order}; Resize, ToTensor and Normalize are taken, in this order, the "
            "first and the last if need be"
        )
    if len(config.class_names) != config.num_classes:
        raise ModelConfigInvalid(f"{name}: {len(config.class_names)} names for {config.num_classes} classes")
