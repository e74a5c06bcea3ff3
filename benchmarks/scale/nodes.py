"""Two local Ray nodes of one processor each beside one, and a node that is killed in the middle.

Both numbers of nodes take turns in one cluster, so that what else the machine does falls on both.
"""

import csv
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scale.made_sets import make_photographs, small_config
from cavga.scale.categories import train_categories
from cavga.scale.loading import one_model
from cavga.scale.parts import committed_files, read_parquet
from cavga.scale.ray_engine import on_ray, score_on_ray
from cavga.scale.score_lists import ScoringOutput
from cavga.scale.storage import Folder
from cavga.scale.work_list import WHOLE, items_of


@contextmanager
def cluster_of_one() -> Iterator[Any]:
    """A cluster with one node of one processor."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def measure_nodes(folder: Path, *, images: int, categories: int, rounds: int, part_size: int) -> list[dict[str, Any]]:
    """Rows: scoring and training by one node and by two, and with one of two killed."""
    photographs = make_photographs(folder / "photographs", images, categories=categories)
    train = partial(_train, folder, make_photographs(folder / "train", 10 * categories, categories=categories))
    model = train_model(folder)
    score = partial(_score, folder, photographs, model, part_size)
    seconds: dict[str, dict[int, list[float]]] = {name: {1: [], 2: []} for name in ("score", "train")}
    with cluster_of_one() as cluster:
        for turn in range(rounds):
            for nodes in (1, 2):
                node = _added(cluster) if nodes == 2 else None
                score(1000 + 10 * turn + nodes, photographs / "c000", 5)  # workers are started, and load what they need
                for name, work in (("score", score), ("train", train)):
                    seconds[name][nodes].append(_timed(work, 10 * turn + nodes))
                if node is not None:
                    cluster.remove_node(node)
        killed = [_killed(cluster, folder, name, work) for name, work in (("score", score), ("train", train))]
    counts = {"score": sum(1 for _ in items_of(str(photographs))), "train": categories}
    return [_row(name, counts[name], found) for name, found in seconds.items()] + [
        {"what": f"{name}, one of two nodes killed", **row, **_once(folder, name, photographs, categories)}
        for (name, row) in zip(counts, killed, strict=True)
    ]


def train_model(folder: Path) -> Path:
    """A run to score with."""
    from cavga.training.train import train

    run = folder / "model"
    return run if (run / "model.onnx").is_file() else train(folder / "train/c000", run, small_config())


def _score(
    folder: Path, photographs: Path, model: Path, size: int, turn: int, some: Path | None = None, few: int = 0
) -> None:
    load = partial(one_model, model.absolute(), "cpu")
    score_on_ray(load, str(some or photographs), str(folder / f"score-{turn}"), shard=WHOLE,
                 what=ScoringOutput(), part_size=few or size)  # fmt: skip


def _train(folder: Path, data: Path, turn: int) -> Any:
    return train_categories(data, folder / f"train-{turn}", small_config(), each=on_ray(1, 0))


def _timed(work: Callable[[int], Any], turn: int) -> float:
    started = time.perf_counter()
    work(turn)
    return time.perf_counter() - started


def _added(cluster: Any) -> Any:
    node = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
    cluster.wait_for_nodes()
    return node


KILLED = 99  # the turn whose node is killed
DONE = {"score": "score-99/*/*.done", "train": "train-99/*/model.json"}


def _killed(cluster: Any, folder: Path, name: str, work: Callable[[int], Any]) -> dict[str, Any]:
    """Do the work while the second node is killed, once something is done."""
    node, there = _added(cluster), []

    def kill() -> None:
        while not there:
            there.extend(folder.glob(DONE[name]))
            time.sleep(0.05)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    took = _timed(work, KILLED)
    killer.join()
    return {"seconds": round(took, 1), "done_when_killed": len(there)}


def _once(folder: Path, name: str, photographs: Path, categories: int) -> dict[str, Any]:
    """Whether every image, or every category, is there exactly once."""
    if name == "score":
        output = Folder(str(folder / f"score-{KILLED}"))
        rows = [
            read_parquet(output, part, ["path"])["path"].to_pylist() for part in committed_files(output.place)["scored"]
        ]
        found = Counter(path for part in rows for path in part)
        asked = {item.key for item in items_of(str(photographs))}
        return {"asked": len(asked), "there": len(found), "twice": sum(count > 1 for count in found.values())}
    with (folder / f"train-{KILLED}/categories.csv").open(encoding="utf-8", newline="") as table:
        rows = Counter(row["category"] for row in csv.DictReader(table) if not row["error"])
    there = {path.parent.name for path in (folder / f"train-{KILLED}").glob("*/model.json")}
    return {"asked": categories, "there": len(there & set(rows)), "twice": sum(count > 1 for count in rows.values())}


def _row(name: str, count: int, seconds: dict[int, list[float]]) -> dict[str, Any]:
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    return {
        "what": name,
        "count": count,
        "one_node_seconds": [round(value, 1) for value in seconds[1]],
        "two_nodes_seconds": [round(value, 1) for value in seconds[2]],
        "ratio": round(median(ratios), 2),
    }


def clean(folder: Path) -> None:
    """Remove what an earlier measurement wrote; photographs and the model stay."""
    for place in (*folder.glob("score-*"), *folder.glob("train-*")):
        shutil.rmtree(place)
