"""ShanghaiTech Campus as single images (mSTC): every 5th frame of each clip, one category per scene. No torch.

training/videos/SS_NNN.avi, testing/frames/SS_NNNN/NNN.jpg, testing/test_frame_mask/SS_NNNN.npy (frames) and
testing/test_pixel_mask/SS_NNNN.npy (frames, height, width). Labels come from the frame masks alone, pixel masks
are for localization. Training frames and pixel masks are written as pictures first, clip by clip, below mstc/.
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cavga.data.manifest import relative_to_root
from cavga.data.readers.unpack import logged, unpack
from cavga.data.records import ANOMALOUS, NORMAL, Catalog, ImageRecord
from cavga.errors import DataError, MissingExtraError, UsageError, unknown_name
from cavga.images.walk import IMAGE_SUFFIXES, subfolders
from cavga.structured_files import StructureError, map_array

# Paper: "every 5th frame of the video from each scene"; counting from the first frame of each clip is ours.
STRIDE = 5
JPEG_QUALITY = 95  # test frames are JPEG files too; PNG would take several times the space
OUTPUT = "mstc"
_AGAIN = "copy it from its source again"

logger = logging.getLogger("cavga")


def find_shanghaitech(data: Path) -> Path | None:
    """`data` or shanghaitech/ in it, with test frames or training videos."""
    for root in (data, data / "shanghaitech"):
        if (root / "testing/frames").is_dir() or (root / "training/videos").is_dir():
            return root
    return None


def load_shanghaitech(root: Path, *, category: str | None) -> Catalog:
    """One scene; its training frames and masks are extracted unless they were before."""
    videos = sorted(path for path in _files(root / "training/videos") if path.suffix.lower() == ".avi")
    clips = subfolders(root / "testing/frames")
    scene = _choose_scene(root, {_scene(path) for path in (*videos, *clips)}, category)
    clips = [path for path in clips if _scene(path) == scene]
    records = _training_records(root, scene, [path for path in videos if _scene(path) == scene])
    for clip in logged(clips, f"scene {scene}, test: {{}} of {{}} clips"):
        records += _test_records(root, scene, clip)
    names = {clip.name for clip in clips}
    masks = [path for kind in ("test_frame_mask", "test_pixel_mask") for path in _files(root / "testing" / kind)]
    return Catalog(
        root=root,
        layout="shanghaitech",
        category=scene,
        records=tuple(records),
        expects_masks=bool(clips),
        orphan_masks=tuple(path for path in sorted(masks) if _scene(path) == scene and path.stem not in names),
    )


def count_scene(root: Path, scene: str) -> dict[str, int]:
    """Clips and test images of one scene, by the names of cavga.data.readers.published; nothing is extracted."""
    videos = [path for path in _files(root / "training/videos") if path.suffix.lower() == ".avi"]
    clips = [path for path in subfolders(root / "testing/frames") if _scene(path) == scene]
    labels: list[NDArray[np.bool_]] = []
    for clip in clips:
        labels.append(_frame_mask(root / f"testing/test_frame_mask/{clip.name}.npy", len(_numbered(clip)))[::STRIDE])
    num_test, num_anomalous = (sum(map(count, labels)) for count in (len, np.count_nonzero))
    return {
        "training clips": sum(_scene(path) == scene for path in videos),
        "test clips": len(clips),
        "test_normal": int(num_test - num_anomalous),
        "test_anomalous": int(num_anomalous),
    }


def _choose_scene(root: Path, scenes: set[str], category: str | None) -> str:
    names = sorted(scenes)
    if not names:
        raise DataError(f"{root}: no clips in training/videos (.avi) or testing/frames; check the path")
    if category is not None and category not in names:
        raise unknown_name("category", category, names)
    if category is None and len(names) > 1:
        raise UsageError(f"{root} holds several categories, choose one: {', '.join(names)}")
    return category or names[0]


def _scene(path: Path) -> str:
    return path.name.split("_")[0]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_file() and path.name[0] != "."] if folder.is_dir() else []


def _training_records(root: Path, scene: str, videos: Sequence[Path]) -> list[ImageRecord]:
    records = []
    for video in logged(videos, f"scene {scene}, training: {{}} of {{}} clips"):
        folder = unpack(root, f"{OUTPUT}/training/{video.stem}", partial(_extract, video))
        for path in sorted(folder.glob("*.jpg"), key=lambda path: int(path.stem)):
            name = relative_to_root(path, root)
            records.append(ImageRecord(path, name, NORMAL, "train", category=scene, group=video.stem))
    return records


def _extract(video: Path, folder: Path) -> None:
    """Every 5th frame of a video, decoded straight through and counted: seeking and time stamps are off in these."""
    try:
        import av
    except ImportError:
        raise MissingExtraError("reading .avi files needs PyAV: pip install 'cavga[video]'") from None
    num_frames = 0
    try:
        with av.open(str(video)) as container:
            announced = container.streams.video[0].frames
            for frame in container.decode(video=0):
                if num_frames % STRIDE == 0:
                    picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
                    picture.save(folder / f"{num_frames:04d}.jpg", quality=JPEG_QUALITY)
                num_frames += 1
    except (av.FFmpegError, IndexError) as error:  # IndexError: no video in it
        raise DataError(f"{video}: cannot be decoded: {error}; {_AGAIN}") from error
    if not num_frames:
        raise DataError(f"{video}: no frame in it can be decoded; {_AGAIN}")
    if num_frames < announced:  # a hint only: headers of sound files are off by some
        logger.warning(
            "%s: %d frames decoded, its header says %d; if it is cut, %s and delete %s",
            video,
            num_frames,
            announced,
            _AGAIN,
            folder.parent,
        )


def _test_records(root: Path, scene: str, clip: Path) -> list[ImageRecord]:
    frames = _numbered(clip)
    labels = _frame_mask(root / f"testing/test_frame_mask/{clip.name}.npy", len(frames))
    masks = _mask_folder(root, clip.name, labels)
    records = []
    for i in range(0, len(frames), STRIDE):
        mask = None if masks is None else masks / f"{i:04d}.png"
        record = ImageRecord(
            path=frames[i],
            relative_path=frames[i].relative_to(root).as_posix(),
            label=ANOMALOUS if labels[i] else NORMAL,
            split="test",
            mask_paths=(mask,) if mask is not None and mask.is_file() else (),
            category=scene,
            group=clip.name,
        )
        records.append(record)
    return records


def _numbered(clip: Path) -> list[Path]:
    """The frames by number, not by name (10.jpg comes after 9.jpg); none may be missing."""
    frames = [path for path in _files(clip) if path.suffix.lower() in IMAGE_SUFFIXES]
    odd = [path.name for path in frames if not path.stem.isdecimal()]
    if odd:
        raise DataError(f"{clip}: {odd[0]} has no frame number for a name; expected 000.jpg, 001.jpg ..; remove it")
    frames.sort(key=lambda path: int(path.stem))
    numbers = [int(path.stem) for path in frames]
    if numbers != list(range(len(numbers))):
        raise DataError(
            f"{clip}: {len(frames)} frames, but not numbered 0 to {len(frames) - 1}, so labels would not fit them; "
            "unpack the clip again"
        )
    return frames


def _frame_mask(path: Path, num_frames: int) -> NDArray[np.bool_]:
    """Per frame, whether it is anomalous."""
    values = _array(path)
    if values.shape != (num_frames,):
        raise DataError(
            f"{path}: has shape {values.shape}, but the clip {num_frames} frames: expected ({num_frames},); "
            "unpack both again"
        )
    return np.asarray(values > 0)


def _mask_folder(root: Path, clip: str, labels: NDArray[np.bool_]) -> Path | None:
    """The pixel masks of a clip's frames as pictures, where the frame or a pixel is anomalous; None without any.

    A frame that is called normal but has marked pixels, or the other way round, is for `check` to report.
    """
    path = root / f"testing/test_pixel_mask/{clip}.npy"
    if not path.is_file():
        return None

    def fill(folder: Path) -> None:
        values = _array(path)
        if values.ndim != 3 or len(values) != len(labels):
            raise DataError(
                f"{path}: has shape {values.shape}, expected ({len(labels)}, height, width); unpack it again"
            )
        for i in range(0, len(labels), STRIDE):
            mask = values[i] > 0
            if labels[i] or mask.any():
                Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{i:04d}.png")

    return unpack(root, f"{OUTPUT}/masks/{clip}", fill)


def _array(path: Path) -> NDArray[Any]:
    """A .npy file, mapped and not loaded: a clip's pixel masks take up to 385 MB."""
    try:
        values = map_array(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing, so the clip has no labels; unpack the set again") from error
    except (OSError, StructureError) as error:
        raise DataError(f"{path}: not a .npy file that can be read ({error}); unpack it again") from error
    if values.dtype.kind not in "bui":
        raise DataError(f"{path}: holds {values.dtype}, expected whole numbers 0 and 1; unpack it again")
    return values
