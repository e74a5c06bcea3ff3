"""What a few marked photographs add, at a false-alarm rate that is promised.

python -m studies.marks.study ROOT RESNET18_WEIGHTS CACHE [--parts chosen,tested,...] [--datasets A,B]

r-u, frozen ResNet-18, 256 px (papers and textures 128). "chosen" marks anomalies that are made on training images: the
rule was chosen on those. The other parts mark real bad test images and look at the rest, once. CACHE keeps z (a few
hundred MB). Writes benchmarks/results/marks.jsonl; rows of other parts and sets that it holds stay.
"""

import argparse
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.result_files import FOLDER, read_result, write_result
from cavga.benchmark.textures import TEXTURES
from cavga.calibration.rules import conformal_threshold
from cavga.marking.suggest import choose_unlike
from cavga.metrics.image import auroc
from cavga.model.marks_head import READOUTS
from cavga.training import fit_marks as rule
from cavga.training.features import MAX_MADE
from cavga.training.fit_marks import MarksFit, Normals, Readings, fit_marks, read_images
from studies.fold_thresholds import scaled
from studies.marks.baselines import deviation_network, logistic_regression
from studies.marks.lamp import lamp_rows
from studies.marks.latents import SEED, Images, MarkedSet, load_set
from studies.marks.unmarked import scores_of
from studies.rows import rounded

RESULT = "marks"
REAL = (
    "magnetic_tile",
    "mvtec_ad/screw",
    "elpv_mono",
    "mvtec_loco/juice_bottle",
    "piped_paper/BTN01",
    "piped_paper/FLR01",
)
LAMP, LAMP_SETS = "lamp", ("magnetic_tile", "mvtec_ad/screw")
SMALL = 128  # pixels, of papers and textures
RATES = (0.05, 0.01)
COUNTS = (1, 2, 5, 10)
NUM_DRAWS, NUM_NETWORK_DRAWS, NUM_MANY_DRAWS = 10, 3, 5
NUM_KINDS = 3  # of made anomalies that are marked in a draw: the others are unseen
HELD_SHARE = 0.35  # of the units of training images, on which made anomalies are tested
Row = dict[str, Any]


@dataclass(frozen=True)
class Read:
    """A set with its readings."""

    data: MarkedSet
    train: Readings
    made: Readings
    test: Readings


@dataclass(frozen=True)
class Draw:
    """Which normal images set the threshold, what is marked, and what is looked at."""

    normals: Normals
    marks: Readings
    bad: Readings
    good: Readings
    unseen: Readings
    made: Readings
    """Anomalies that a run would keep, to see what marks cost."""


def main() -> None:
    """What is asked for, one set after another; the file is written after every part of a set."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("resnet18")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--parts", default=",".join((*PARTS, LAMP)))
    parser.add_argument("--datasets", default=",".join((*TEXTURES, *REAL)))
    args = parser.parse_args()
    for name in args.datasets.split(","):
        data = load_set(args.root, name, args.resnet18, args.cache, size=size_of(name))
        found = Read(data, *(readings_of(data, part) for part in (data.train, data.made, data.test)))
        for part in args.parts.split(","):
            if part == LAMP and name in LAMP_SETS:
                keep(part, name, lamp_rows(args.root, name, args.resnet18, args.cache, size=size_of(name)))
            elif part == "chosen" or (part != LAMP and name not in TEXTURES):
                keep(part, name, PARTS[part](found))


def size_of(name: str) -> int:
    """Pixels a side at which a set is read."""
    return SMALL if name in TEXTURES or name.startswith("piped") else 256


def keep(part: str, name: str, rows: Sequence[Row]) -> None:
    """Put a set's rows of a part among those of the file, in place of earlier ones."""
    content = read_result(RESULT) if (FOLDER / f"{RESULT}.jsonl").is_file() else {}
    order = (*TEXTURES, *REAL)
    kept = [row for row in content.get(part, ()) if row["data"] != name] + list(rows)
    content[part] = sorted(kept, key=lambda row: order.index(row["data"]))
    write_result(
        RESULT,
        {"table": RESULT, "machine": platform.machine(), **{key: content.get(key, []) for key in (*PARTS, LAMP)}},
    )
    for row in rows:
        print(json.dumps(row), flush=True)


def readings_of(data: MarkedSet, images: Images) -> Readings:
    """Readings by a prior with the set's scales."""
    return read_images(scaled(data.train.energies), images.z, images.energies)


def of(readings: Readings, chosen: NDArray[Any] | Tensor) -> Readings:
    """Those of some of the images."""
    positions = torch.as_tensor(chosen)
    return Readings(readings.scores[positions], {k: v[positions] for k, v in readings.features.items()})


def chosen(found: Read) -> list[Row]:
    """Made anomalies: no marks, every readout at fixed weights, and the rule."""
    rows = []
    for count in COUNTS[1:]:
        draws = list(made_draws(found, count))
        rows += [
            {"data": found.data.name, "marks": count, "way": way, **summary(draws, fit)}
            for way, fit in all_ways().items()
        ]
    return rows


def all_ways() -> dict[str, Callable[[Draw, float], MarksFit]]:
    """No marks, every readout at fixed weights, and the rule."""
    ways: dict[str, Callable[[Draw, float], MarksFit]] = {"no marks": without_marks}
    for name in READOUTS:
        for weight in rule.WEIGHTS:
            ways[f"{name}, {weight} for certain"] = lambda draw, rate, n=name, w=weight: fixed(draw, n, w)
    return ways | {"rule": by_rule}


def made_draws(found: Read, count: int) -> Iterator[Draw]:
    """Anomalies of a few kinds, marked on some training images and looked for on others."""
    data = found.data
    for seed in range(NUM_DRAWS):
        rng = np.random.default_rng([seed, count])
        units = rng.permutation(np.unique(data.unit.numpy()))
        is_held = np.isin(data.unit.numpy(), units[: round(HELD_SHARE * len(units))])
        kinds = rng.permutation(np.unique(data.made_kinds.numpy()))[:NUM_KINDS]
        is_kind, on_held = np.isin(data.made_kinds.numpy(), kinds), is_held[data.source.numpy()]
        pool = np.flatnonzero(is_kind & ~on_held)
        if len(pool) >= count:
            yield Draw(
                normals_of(found, ~is_held),
                of(found.made, rng.choice(pool, count, replace=False)),
                of(found.made, np.flatnonzero(is_kind & on_held)),
                of(found.train, np.flatnonzero(is_held)),
                of(found.made, np.flatnonzero(~is_kind & on_held)),
                of(found.made, rng.permutation(np.flatnonzero(~on_held))[:MAX_MADE]),
            )


def normals_of(found: Read, is_wanted: NDArray[np.bool_]) -> Normals:
    """Those of the training images that set the threshold."""
    positions = np.flatnonzero(is_wanted)
    return Normals(of(found.train, positions), found.data.fold.numpy()[positions], found.data.unit.numpy()[positions])


def tested(found: Read) -> list[Row]:
    """The curve: real bad images marked, the others looked at."""
    rows, good = [], int((~found.data.is_bad).sum())
    for count in (0, *COUNTS):
        draws = [draw for draw, _ in real_draws(found, count)]
        row = summary(draws, by_rule if count else without_marks)
        rows.append({"data": found.data.name, "marks": count, "way": "marks", "good": good, **row})
    return rows


def beside(found: Read) -> list[Row]:
    """What else uses marks, on the same draws."""
    data, rows = found.data, []
    for count in COUNTS:
        draws = list(real_draws(found, count))
        ways = {
            "logistic regression": of_baseline(data, draws, logistic_regression),
            "deviation network": of_baseline(data, draws[:NUM_NETWORK_DRAWS], deviation_network),
        }
        rows += [{"data": data.name, "marks": count, "way": way, **row} for way, row in ways.items()]
    return rows


def unmarked(found: Read) -> list[Row]:
    """What cannot use marks."""
    data, rows, is_bad = found.data, [], found.data.is_bad.numpy()
    for way, normal, scores in scores_of(data, size_of(data.name)):
        figures: dict[str, list[float]] = {}
        for rate in RATES:
            add_figures(figures, normal, data.unit.numpy(), (scores[is_bad], scores[~is_bad], scores[:0]), rate)
        rows.append({"data": data.name, "marks": 0, "way": way, **averaged(figures)})
    return rows


def real_draws(found: Read, count: int) -> Iterator[tuple[Draw, NDArray[np.intp]]]:
    """Bad test images marked at random, and which."""
    bad = np.flatnonzero(found.data.is_bad.numpy())
    for seed in range(NUM_DRAWS if count else 1):
        marked = np.random.default_rng([seed, count]).choice(bad, count, replace=False)
        yield draw_of(found, marked, np.setdiff1d(bad, marked)), marked


def draw_of(
    found: Read, marked: NDArray[np.intp], bad: NDArray[np.intp], unseen: NDArray[np.intp] | None = None
) -> Draw:
    """All training images set the threshold; the good test images are looked at."""
    good, none = np.flatnonzero(~found.data.is_bad.numpy()), np.zeros(0, dtype=np.intp)
    return Draw(
        normals_of(found, np.ones(len(found.train.scores), dtype=np.bool_)),
        of(found.test, marked), of(found.test, bad), of(found.test, good),
        of(found.test, none if unseen is None else unseen),
        of(found.made, np.random.default_rng(SEED).permutation(len(found.made.scores))[:MAX_MADE]),
    )  # fmt: skip


def many(found: Read) -> list[Row]:
    """Half of the bad photographs marked: what marks could add at most. Unseen are those that are missed without."""
    rows, normals = [], normals_of(found, np.ones(len(found.train.scores), dtype=np.bool_))
    threshold, _ = conformal_threshold(normals.readings.scores.numpy(), RATES[0], normals.units)
    bad, is_missed = np.flatnonzero(found.data.is_bad.numpy()), found.test.scores.numpy() < threshold
    draws = []
    for seed in range(NUM_MANY_DRAWS):
        order = np.random.default_rng([seed, len(bad)]).permutation(bad)
        rest = order[len(bad) // 2 :]
        draws.append(draw_of(found, order[: len(bad) // 2], rest, rest[is_missed[rest]]))
    for way, fit in all_ways().items():
        rows.append({"data": found.data.name, "marks": len(bad) // 2, "way": way, **summary(draws, fit)})
    return rows


def unseen(found: Read) -> list[Row]:
    """Ten marks, or all there are but one, of one defect type; the others are looked at apart."""
    kinds, rows = found.data.test_kinds.numpy(), []
    if kinds.max() < 2:
        return []
    for kind in range(1, int(kinds.max()) + 1):
        draws = []
        for seed in range(NUM_DRAWS):
            own = np.random.default_rng([seed, kind]).permutation(np.flatnonzero(kinds == kind))
            draws.append(draw_of(found, own[:10], own[10:], np.flatnonzero((kinds != kind) & (kinds > 0))))
        for way, fit in (("no marks", without_marks), ("rule", by_rule)):
            rows.append({"data": found.data.name, "kind": kind, "way": way, **summary(draws, fit)})
    return rows


def contaminated(found: Read) -> list[Row]:
    """Five marks, one of which is a good test image."""
    bad, good = (np.flatnonzero(found.data.is_bad.numpy() == value) for value in (True, False))
    draws = []
    for seed in range(NUM_DRAWS):
        rng = np.random.default_rng([seed, 5, 1])
        marked = rng.choice(bad, 4, replace=False)
        draws.append(draw_of(found, np.append(marked, rng.choice(good)), np.setdiff1d(bad, marked)))
    return [{"data": found.data.name, "marks": 5, "way": "one of five is good", **summary(draws, by_rule)}]


def suggested(found: Read) -> list[Row]:
    """What `cavga suggest` would ask for, of all test images; the bad ones among them are marked."""
    scores, features = found.test.scores, found.test.features["pooled"]
    everything = np.ones(len(found.train.scores), dtype=np.bool_)
    normals, is_bad = normals_of(found, everything), found.data.is_bad.numpy()
    threshold, _ = conformal_threshold(normals.readings.scores.numpy(), RATES[0], normals.units)
    rows = []
    for count in COUNTS[2:]:
        asked = np.array(choose_unlike(scores.numpy(), features, threshold, count))
        left = np.setdiff1d(np.arange(len(scores)), asked)
        draw = replace(
            draw_of(found, asked[is_bad[asked]], left[is_bad[left]]), good=of(found.test, left[~is_bad[left]])
        )
        for way, fit in (("no marks", without_marks), ("rule", by_rule)):
            row = {"data": found.data.name, "suggested": count, "bad": int(is_bad[asked].sum()), "way": way}
            rows.append({**row, **summary([draw], fit)})
    return rows


PARTS: Mapping[str, Callable[[Read], list[Row]]] = {
    "chosen": chosen, "tested": tested, "beside": beside, "unmarked": unmarked, "many": many,
    "unseen": unseen, "contaminated": contaminated, "suggested": suggested,
}  # fmt: skip


def without_marks(draw: Draw, _rate: float) -> MarksFit:
    """The energy alone."""
    return MarksFit(None, 0.0, 0.0, draw.normals.readings.scores, draw.marks.scores)


def by_rule(draw: Draw, rate: float) -> MarksFit:
    """What `cavga refit` does."""
    return fit_marks(draw.normals, draw.marks, draw.made, rate)


def fixed(draw: Draw, name: str, weight: float) -> MarksFit:
    """A readout at a weight, whatever comes of it."""
    return rule._CrossFit.of(name, draw.normals, draw.marks).weighted(weight, draw.normals, draw.marks)


def summary(draws: Sequence[Draw], fit: Callable[[Draw, float], MarksFit]) -> Row:
    """Means over draws, and standard deviations of recall."""
    rows: dict[str, list[float]] = {}
    used: list[bool] = []
    for draw in draws:
        for rate in RATES:
            found = fit(draw, rate)
            used.append(found.head is not None)
            groups = [found.scores_of(some).numpy() for some in (draw.bad, draw.good, draw.unseen)]
            add_figures(rows, found.normal_scores.numpy(), draw.normals.units, groups, rate)
    return averaged(rows) | {"used": rounded(float(np.mean(used)))}


def add_figures(
    rows: dict[str, list[float]], normal: NDArray[np.float32], units: NDArray[np.intp],
    groups: Sequence[NDArray[np.float32]], rate: float,
) -> None:  # fmt: skip
    """Recall, realised rate and, at the first rate, image AUROC of a draw."""
    bad, good, others = groups
    threshold, _ = conformal_threshold(normal, rate, units)
    rows.setdefault(f"recall_{rate}", []).append(float((bad >= threshold).mean()))
    rows.setdefault(f"realised_{rate}", []).append(float((good >= threshold).mean()))
    if len(others):
        rows.setdefault(f"unseen_{rate}", []).append(float((others >= threshold).mean()))
    if rate == RATES[0]:
        labels = np.repeat([1, 0], [len(bad), len(good)])
        rows.setdefault("image_auroc", []).append(auroc(np.concatenate([bad, good]), labels) or np.nan)


def averaged(rows: Mapping[str, Sequence[float]]) -> Row:
    """The mean of each figure; of recall the standard deviation too."""
    means = {name: rounded(float(np.mean(values))) for name, values in rows.items()}
    stds = {f"{name}_std": rounded(float(np.std(values))) for name, values in rows.items() if name.startswith("recall")}
    return means | stds


def of_baseline(
    data: MarkedSet,
    draws: Sequence[tuple[Draw, NDArray[np.intp]]],
    fit: Callable[[Images, Images, int], Callable[[Images], NDArray[np.float32]]],
) -> Row:
    """The figures of a baseline: its thresholds are cross-fitted over the same folds."""
    rows: dict[str, list[float]] = {}
    fold, is_bad = data.fold.numpy(), data.is_bad.numpy()
    for seed, (_, marked) in enumerate(draws):
        marks, normal = some_of(data.test, marked), np.zeros(len(fold), dtype=np.float32)
        for k in np.unique(fold):
            held = np.flatnonzero(fold == k)
            normal[held] = fit(some_of(data.train, np.flatnonzero(fold != k)), marks, seed)(some_of(data.train, held))
        scores = fit(data.train, marks, seed)(data.test)
        bad = np.setdiff1d(np.flatnonzero(is_bad), marked)
        groups = [scores[bad], scores[~is_bad], scores[:0]]
        for rate in RATES:
            add_figures(rows, normal, data.unit.numpy(), groups, rate)
    return averaged(rows)


def some_of(images: Images, chosen: NDArray[np.intp]) -> Images:
    """Some of the images, without energies of their own."""
    positions = torch.from_numpy(chosen)
    return Images(images.z[positions], images.pooled[positions], images.energies.of(positions))


if __name__ == "__main__":
    main()
