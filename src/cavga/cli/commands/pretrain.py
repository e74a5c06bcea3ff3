"""`cavga pretrain`: train the DC-GAN parts on a folder of any images, for --gan-weights of train and benchmark."""

import argparse
from pathlib import Path

from cavga.cli.flags import add_setting_flags, config_from_flags, one_of
from cavga.cli.outcome import DONE, IN_PART, Outcome
from cavga.cli.waiting import waiting_told
from cavga.config.presets import PRESETS, PRETRAINING, make_config

SETTINGS = (
    *("image_size", "skip_bad", "latent_channels", "decoder_width"),
    *("vae_weight", "kl_weight", "adversarial_weight"),
    *("seed", "epochs", "batch_size", "learning_rate", "device"),
)


# fmt: off
def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "example: cavga pretrain celeba/img_align_celeba --output celeba.safetensors"
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="images of anything, searched recursively")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .safetensors file to write")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint beside FILE")
    parser.add_argument("--preset", type=one_of("preset", tuple(PRESETS)), default="paper", metavar="NAME",
                        help="the preset of the trainings that are to start from FILE (default paper)")
    add_setting_flags(parser, lambda name: name in SETTINGS, make_config("paper", PRETRAINING))
    parser.set_defaults(run=run, config=None)


def run(args: argparse.Namespace) -> Outcome:
    config = config_from_flags(args, lambda _preset: PRETRAINING)
    from cavga.training.pretrain import pretrain

    with waiting_told(enabled=not args.json) as progress:
        done = pretrain(args.folder, args.output, config, resume=args.resume, progress=progress)
    origin, path = done.origin, done.path
    lines = [
        f"trained encoder, decoder and discriminator of DC-GAN on {origin['images']} images of {origin['data']}, "
        f"{origin['steps']} steps",
        f"weights: {path} (`cavga train DATA --output RUN --preset {origin['preset']} --gan-weights {path}` starts "
        "from them)",
        f"log: {done.log}",
    ]
    result = {"weights": str(path), "log": str(done.log), "left_out": list(done.left_out), **origin}
    return Outcome(lines, result, list(done.left_out), IN_PART if done.left_out else DONE)
