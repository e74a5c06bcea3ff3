"""GAN weights: what `cavga pretrain` writes, and what the DC-GAN parts of a training can start from.

One safetensors file of discriminator, encoder and decoder, with a record that carries the sha256 of the tensors and
its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cavga.config.schema import RunConfig
from cavga.data.manifest import sha256_of
from cavga.errors import ModelFileError
from cavga.model.build import latent_stride, stages_of, training_channels
from cavga.model.cavga import Cavga
from cavga.model.decoder import FlattenedDecoder
from cavga.model.discriminator import Discriminator, input_size_for
from cavga.model.encoder import DcganEncoder
from cavga.runs.checkpoint import TENSORS_SUM, load_tensors, save_tensors

FORMAT, FORMAT_VERSION = "cavga GAN weights", 1


@dataclass(frozen=True)
class GanWeights:
    """A file of GAN weights that was read and is whole."""

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    record: Mapping[str, Any]

    def check_fit(self, config: RunConfig) -> None:
        """Raise ModelFileError unless the parts that a training with a resolved `config` has can start from these."""
        found, expected = self.record["networks"], sizes_of(config)
        names = ["discriminator_input"]
        if config.model.backbone == "d":
            names += ["latent_channels", "decoder_width", "latent_stride"]
        unlike = [name for name in names if found[name] != expected[name]]
        if config.model.backbone == "d" and found["encoder_stages"] < expected["encoder_stages"]:
            unlike.append("encoder_stages")
        if unlike:
            wanted, got = (", ".join(f"{name} {sizes[name]}" for name in unlike) for sizes in (expected, found))
            raise ModelFileError(
                f"{self.path} does not fit {config.model.variant} ({config.preset}): expected {wanted}, found {got}; "
                "`cavga pretrain` with the --preset, --image-size and widths of this training makes one that does"
            )

    def start_model(self, model: Cavga) -> None:
        """Set encoder and decoder of backbone D; that of R has neither of DC-GAN's."""
        if isinstance(model.encoder, DcganEncoder):
            decoder = model.decoder.decoder if isinstance(model.decoder, FlattenedDecoder) else model.decoder
            self._set(model.encoder, "encoder")
            self._set(decoder, "decoder")

    def start_discriminator(self, discriminator: Discriminator) -> None:
        self._set(discriminator, "discriminator")

    def provenance(self) -> dict[str, Any]:
        """What a model that started from these says of them."""
        return {
            "gan_weights": self.path.name,
            "gan_weights_sha256": self.sha256,
            "gan_weights_data": self.record["data"],
        }

    def _set(self, module: nn.Module, name: str) -> None:
        # Of the encoder a training may need fewer stages.
        module.load_state_dict({key: self.tensors[f"{name}.{key}"] for key in module.state_dict()})


def gan_weights_for(config: RunConfig) -> GanWeights | None:
    """The GAN weights that a resolved configuration names, checked to fit; None where it names none."""
    if config.model.gan_weights is None:
        return None
    weights = read_gan_weights(Path(config.model.gan_weights))
    weights.check_fit(config)
    return weights


def sizes_of(config: RunConfig) -> dict[str, int]:
    """All that the shapes of the DC-GAN parts depend on."""
    return {
        "discriminator_input": input_size_for(config.data.input_size),
        "latent_channels": training_channels(config.model),
        "decoder_width": config.model.decoder_width,
        "latent_stride": latent_stride(config.model),
        "encoder_stages": stages_of(config.model)[-1],
    }


def write_gan_weights(
    path: Path, model: Cavga, discriminator: Discriminator, config: RunConfig, origin: Mapping[str, Any]
) -> None:
    """Write the three networks with what they were trained with; `origin` is what they were trained on."""
    parts = {"encoder": model.encoder, "decoder": model.decoder, "discriminator": discriminator}
    tensors = {f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}
    record = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "networks": sizes_of(config),
        **origin,
    }
    save_tensors(path, tensors, record)


def read_gan_weights(path: Path) -> GanWeights:
    """Read and check a file of `cavga pretrain`; raises ModelFileError."""
    if not path.is_file():
        raise ModelFileError(f"no such file of GAN weights: {path}; `cavga pretrain` writes one")
    tensors, record = load_tensors(path)
    if record.get("format") != FORMAT:
        found = ", ".join(list(tensors)[:2]) or "nothing"
        raise ModelFileError(
            f"{path}: expected a file of `cavga pretrain`, found other weights ({found}); an encoder's go to --weights"
        )
    if record.get("format_version") != FORMAT_VERSION:
        raise ModelFileError(
            f"{path} has format version {record.get('format_version')}; this cavga reads version {FORMAT_VERSION}"
        )
    if TENSORS_SUM not in record:
        raise ModelFileError(f"{path} is damaged: it lacks its sha256; copy it again or pretrain anew")
    return GanWeights(path, sha256_of(path), tensors, record)
