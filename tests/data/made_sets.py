"""Small sets of made pictures in the exact layout of the real ones: no real image is in this repository."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

NUM_LABELS = 10


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def put(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def idx(raw: Path, *, num_train: int = 40, num_test: int = 20) -> Path:
    """MNIST or Fashion-MNIST: four IDX files, labels 0 to 9 in turn; image i is noise of seed i."""
    raw.mkdir(parents=True, exist_ok=True)
    for stem, num, first in (("train", num_train, 0), ("t10k", num_test, 1000)):
        images = np.stack([noise(first + i, 28, 28) for i in range(num)])
        labels = (np.arange(num) % NUM_LABELS).astype(np.uint8)
        (raw / f"{stem}-images-idx3-ubyte").write_bytes(struct.pack(">4I", 2051, *images.shape) + images.tobytes())
        (raw / f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 2049, num) + labels.tobytes())
    return raw


def cifar10_image(batch: int, i: int) -> np.ndarray:
    """Image i of a batch (0 to 5): height, width, colour."""
    return noise(100 * batch + i, 32, 32, 3)


def cifar10_binary(folder: Path, *, num: int = 10) -> Path:
    """The six batches of the binary version, labels 0 to 9 in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    for batch, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        records = [bytes([i % 10]) + cifar10_image(batch, i).transpose(2, 0, 1).tobytes() for i in range(num)]
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    return folder


def classes(root: Path, names: tuple[str, ...], *, num_train: int = 3, num_test: int = 2) -> Path:
    """train/<class>/*.png and test/<class>/*.png."""
    for k, name in enumerate(names):
        for split, num in (("train", num_train), ("test", num_test)):
            for i in range(num):
                put(root / split / name / f"{i:05d}.png", noise(1000 * k + 100 * (split == "test") + i, 32, 32, 3))
    return root


def lag(root: Path, *, num_normal: int = 6, num_suspicious: int = 3) -> Path:
    """LAG part 1: names unique over both classes; every image has a soft map of 112 px, peaked at (60, 50)."""
    y, x = np.mgrid[:112, :112]
    heat = (255 * np.exp(-((x - 60) ** 2 + (y - 50) ** 2) / 400)).astype(np.uint8)
    folders = ["non_glaucoma"] * num_normal + ["suspicious_glaucoma"] * num_suspicious
    for number, folder in enumerate(folders, start=1):
        put(root / folder / f"image/{number:04d}.jpg", noise(number, 50, 50, 3))
        put(root / folder / f"attention_map/{number:04d}.jpg", heat)
        label = root / folder / f"label/{number:04d}.txt"
        label.parent.mkdir(exist_ok=True)
        label.write_text(f"{int(folder.startswith('s'))}\n")
    return root


TEST_CLIPS = {"01_0014": 11, "02_0128": 7}  # every 5th: 0 5 10; 0 5
VIDEOS = {"01_001": 12, "01_002": 6, "13_001": 5}


def shanghaitech(root: Path) -> Path:
    """Two test clips, anomalous from their middle on with a box in their pixel mask, and three videos."""
    for clip, num in TEST_CLIPS.items():
        for i in range(num):
            put(root / f"testing/frames/{clip}/{i:03d}.jpg", noise(i, 36, 64, 3))
        frames = (np.arange(num) >= num // 2).astype(np.uint8)
        pixels = np.zeros((num, 36, 64), np.uint8)
        pixels[num // 2 :, 5:15, 10:30] = 1
        for kind, array in (("test_frame_mask", frames), ("test_pixel_mask", pixels)):
            (root / "testing" / kind).mkdir(parents=True, exist_ok=True)
            np.save(root / "testing" / kind / f"{clip}.npy", array)
    for name, num in VIDEOS.items():
        avi(root / f"training/videos/{name}.avi", num)
    return root


def avi(path: Path, num_frames: int) -> Path:
    """A real .avi: frame i is grey 10 * i, within 3, so that order and count can be tested."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    row = zlib.crc32(path.name.encode()) % 31
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 36, "yuv420p"
        for i in range(num_frames):
            picture = np.full((36, 64, 3), 10 * (i % 25), np.uint8)
            picture[row : row + 4, i % 16 * 4 : i % 16 * 4 + 4] ^= 64  # something that moves: frames are no copies
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))
    return path
