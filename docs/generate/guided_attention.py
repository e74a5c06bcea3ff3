"""The page about attention that is trained with its complement, from benchmarks/results/complement.jsonl."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks.result_files import read_result
from docs.generate.tables import Page, markdown

PAPERS, TEXTURES = "piped_paper", ("brick", "grass", "gravel")
NONE, CHOSEN, C, BOTH = "energy alone", "y: bound 0.9 and complement", "C", "C and y"
MOVED = "z moved: bound 0.6 and complement"
REPORTED = (NONE, "y: L_ae alone", "y: L_ae and complement", CHOSEN, C, BOTH, MOVED)  # others are on textures alone
WEIGHT = 0.5
METRICS = {"pixel_auroc": "pixel AUROC", "pixel_ap": "AP", "pixel_f1": "F1", "aupro": "AUPRO"}
SCORES = {"added": "added", "largest": "as one more maximum", "patches": "added to the patches"}
TEXT = """
`python -m studies.complement`: ResNet-18 with ImageNet weights, frozen, 256 px (textures and papers of PIPED 128 px),
seed 0. The energy is that of `r-u`. What a head says of a patch is added to the map at half weight, both in standard
deviations of normal patches. Columns are means over sets: papers of PIPED ({papers} of 12) count as one set, the three
textures too.

- **Made**: anomalies of the self-test's kinds on normal images that neither head nor prior had seen. Settings are
  chosen on these, and on the textures. **Test**: the real test photographs, which decide nothing (of the textures:
  synthetic ones).
- **y** is what `r-s` trains: 16 more channels of z, through A = exp(-||y||^2 / 2), the Grad-CAM of their own normality
  score. **L_ae alone** has A on normal images alone. **The complement** lowers A where an anomaly was made. With a
  **bound** L_ae asks for no more than a mean of A on an image's normal patches.
- **C** is the supervised classifier of patches that `r-s` had before, with its own loss and 1000 steps.
- **z moved**: instead of channels beside z, z itself is moved by a head that is trained through the attention of the
  mixture's energy, and the prior is fitted to what comes out. Its map is that energy alone, and so is its score.
"""
SCORES_TEXT = """
Image AUROC when what a head says (`y: bound 0.9 and complement`, half weight) has a say in the image's score. "As one
more maximum": beside the prior's two, "added to the patches": of the local energy, before its maximum is taken.
"""
STAGE_TEXT = """
`python -m studies.complement.stage`: layer3 of ResNet-18 and a guided head are trained together for 150 steps, at rates
of 1e-5 and 2e-3, with the gradient through A. Then mu, prior and the head of `r-s` are fitted anew. Beside it what a
frozen encoder gives, seed 0 both.
"""
END_TO_END_TEXT = """
`python -m studies.guided_end_to_end`: `r-s` without weights trains encoder, latent and a classifier of patches, C,
together. "Attention of y" has y in the place of C's logit, and as logit that of y's attention; losses, anomalies and
steps are the same. Seed 0. It was not taken: pixel AUROC is lower on every texture.
"""
LABELLED_TEXT = """
`python -m studies.complement.labelled`: photographs labelled bad join the loss, by the patches of theirs that are
highest, as in `r-s`. They are drawn from the bad test photographs; the ten of a draw are left out of every row's test.
Recall is at a promised 5 %, whose threshold comes from the held-out good photographs, in brackets the rate on the good
test photographs. "y alone" scores by trained attention alone, "y in the patches" adds it to the local energy.
"""


def guided_attention() -> Page:
    """The page of studies.complement."""
    every = read_result("complement")["rows"]
    rows = _finished([row for row in every if row["seed"] == 0])
    made, test = (
        {way: _mean(rows, way, part, "pixel_auroc") for way in (NONE, C, CHOSEN)} for part in ("made", "test")
    )
    return Page(
        "Attention that is trained",
        "What does attention that is trained, on normal patches and on made anomalies, add to the prior's energy?",
        f"Pixel AUROC, in the mean over sets, goes from {made[NONE]:.3f} to {made[CHOSEN]:.3f} on made anomalies and "
        f"from {test[NONE]:.3f} to {test[CHOSEN]:.3f} on test photographs; with the classifier that it took the place "
        f"of, to {made[C]:.3f} and {test[C]:.3f}. L_ae alone adds nothing.",
        (
            f"## The map\n{TEXT.format(papers=_num_papers(rows))}",
            f"### Made\n\n{_ways(rows, 'made')}",
            f"### Test\n\n{_ways(rows, 'test')}",
            f"## By set\n\n{_by_set(rows)}",
            f"## The score\n{SCORES_TEXT}\n{_scores(rows)}",
            f"## The encoder's last stage trained\n{STAGE_TEXT}\n{_stage(every)}",
            f"## Without pretrained weights\n{END_TO_END_TEXT}\n{_end_to_end()}",
            f"## A few labelled photographs\n{LABELLED_TEXT}\n{_labelled()}",
        ),
    )


def _num_papers(rows: Sequence[dict[str, Any]]) -> int:
    return len({row["data"] for row in rows if row["data"].startswith(PAPERS)})


def _chosen(rows: Sequence[dict[str, Any]], way: str, part: str) -> list[dict[str, Any]]:
    return [row for row in rows if (row["way"], row["part"]) == (way, part) and row["weight"] in (0.0, WEIGHT)]


def _group(data: str) -> str:
    if data in TEXTURES:
        return "textures"
    return PAPERS if data.startswith(PAPERS) else data


def _by_group(rows: Sequence[dict[str, Any]], way: str, part: str, key: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in _chosen(rows, way, part):
        if row.get(key) is not None:
            found.setdefault(_group(row["data"]), []).append(row[key])
    return {group: mean(values) for group, values in found.items()}


def _mean(rows: Sequence[dict[str, Any]], way: str, part: str, key: str) -> float:
    return mean(_by_group(rows, way, part, key).values())


def _finished(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of sets that have every way."""
    ways: dict[str, set[str]] = {}
    for row in rows:
        ways.setdefault(row["data"], set()).add(row["way"])
    return [row for row in rows if ways[row["data"]].issuperset(REPORTED)]


def _ways(rows: Sequence[dict[str, Any]], part: str) -> str:
    head = ["", *METRICS.values(), "image AUROC"]
    lines = []
    for way in REPORTED:
        cells = [f"{_mean(rows, way, part, key):.3f}" for key in METRICS]
        source = way if way.startswith("z moved") else NONE  # of the others the score is the energy's
        cells += [f"{_mean(rows, source, part, 'image_auroc'):.3f}"]
        lines.append([f"**{way}**" if way == CHOSEN else way, *cells])
    return markdown(head, lines)


def _by_set(rows: Sequence[dict[str, Any]]) -> str:
    ways = (NONE, C, CHOSEN)
    head = ["test photographs", *(f"{name}, {way}" for name in ("pixel AUROC", "AP") for way in ways)]
    found = {(way, key): _by_group(rows, way, "test", key) for way in ways for key in ("pixel_auroc", "pixel_ap")}
    lines = [
        [group, *(f"{found[way, key][group]:.3f}" for key in ("pixel_auroc", "pixel_ap") for way in ways)]
        for group in found[NONE, "pixel_auroc"]
    ]
    return markdown(head, lines)


def _scores(rows: Sequence[dict[str, Any]]) -> str:
    names = ["the energy's, as it is", *SCORES.values()]
    lines = []
    for part in ("made", "test"):
        columns = [_by_group(rows, NONE, part, "image_auroc")]
        columns += [_by_group(rows, CHOSEN, part, f"image_auroc_{name}") for name in SCORES]
        lines += [[f"{group}, {part}", *(f"{column[group]:.3f}" for column in columns)] for group in columns[0]]
        lines.append([f"mean, {part}", *(f"{mean(column.values()):.3f}" for column in columns)])
    return markdown(["", *names], lines)


def _labelled() -> str:
    rows = read_result("few_labelled")["rows"]
    head = ["", "image AUROC, energy", "y in the patches", "y alone"]
    head += ["recall, energy", "y in the patches", "y alone", "AP"]
    lines = []
    for name, count in dict.fromkeys((row["data"], row["count"]) for row in rows):
        found = [row for row in rows if (row["data"], row["count"]) == (name, count)]
        ways = ("energy", "patches", "y alone")
        cells = [f"{_average(found, f'image_auroc, {way}'):.3f}" for way in ways]
        cells += [f"{_average(found, f'recall, {w}'):.3f} ({_average(found, f'realised, {w}'):.3f})" for w in ways]
        cells += [f"{_average(found, key):.3f}" for key in ("pixel_ap",)]
        lines.append([f"{name}, {count} labelled, {len(found)} draws", *cells])
    return markdown(head, lines)


def _average(rows: Sequence[dict[str, Any]], key: str) -> float:
    return mean(row[key] for row in rows)


def _stage(rows: Sequence[dict[str, Any]]) -> str:
    """The map's and the score's figures of a frozen and of a trained last stage, by set and part."""
    ways = {NONE: "frozen: energy alone", "stage trained: energy alone": "trained: energy alone",
            CHOSEN: "frozen: y", "stage trained: y": "trained: y"}  # fmt: skip
    sets = list(dict.fromkeys(row["data"] for row in rows if row["way"].startswith("stage trained")))
    lines = []
    for data in sets:
        for part in ("made", "test"):
            for way, title in ways.items():
                row = next(r for r in _chosen(rows, way, part) if r["data"] == data and r["seed"] == 0)
                score = row.get("image_auroc")  # a head has no say in it
                shown = [f"{row[key]:.3f}" for key in METRICS] + ["-" if score is None else f"{score:.3f}"]
                lines.append([f"{data}, {part}", title, *shown])
    return markdown(["", "", *METRICS.values(), "image AUROC"], lines)


def _end_to_end() -> str:
    """Both ways on every texture."""
    lines = []
    for row in read_result("guided_end_to_end")["rows"]:
        image, pixel = row["metrics"]["image"], row["metrics"]["pixel"]
        cells = [image["auroc"], pixel["auroc"], pixel["average_precision"], pixel["aupro"]]
        lines.append([row["data"], row["cell"].replace("r-s, recommended", "C"), *(f"{cell:.3f}" for cell in cells)])
    return markdown(["", "", "image AUROC", "pixel AUROC", "AP", "AUPRO"], lines)
