"""Pages about our own tables: real sets, parts left out, encoders, textures, the earlier prior, labelled images."""

from collections.abc import Sequence
from typing import Any

from benchmarks.result_files import read_result
from docs.generate.tables import (
    FULL,
    IMAGE,
    PADIM,
    PADIM_FINEST,
    PATCHCORE,
    PIXEL,
    SCREW,
    TEXTURES,
    TILE,
    WITH_FACTORS,
    Metric,
    Page,
    Row,
    by_seed,
    in_words,
    markdown,
    of,
    on_all_textures,
    rows_of,
    section,
    value,
)

PUBLISHED = (PADIM, PADIM_FINEST, PATCHCORE)
RIVALS = (*PUBLISHED, WITH_FACTORS)
SHOWN = (FULL, *RIVALS)  # before the other rows
ACCURACY = """
`cavga benchmark accuracy`: 256 px, R to layer3, frozen, ImageNet weights. Every row learns from all normal training
images.

- **Thresholds.** Ours come from five folds of the training images. Those of the baselines come from a baseline that
  was fitted without a fifth; the one that is measured was then fitted to all.
- **Epochs.** The one epoch trains the decoder, which no score of `recommended` uses.
- **Baselines.** PaDiM stands on the same 3 x 3 averaged features of layers 1 to 3, at 8 px a patch, and, "at the finest
  stage", as in its paper on layers 1 to 3 at 64 x 64 patches. Neither is the stronger everywhere: hold ours against the
  better of the two. PatchCore stands on layers 2 and 3 and keeps 10 % of all patches. "PatchCore and factor model" is
  in the next section.
- **Variants.** `r-s` makes synthetic anomalies on the normal images. Its image scores are those of `r-u`.
- **Choices.** What was chosen on what is in decisions [0011](../decisions/0011-aggregated-prior.md) to
  [0013](../decisions/0013-mask-threshold.md), [0015](../decisions/0015-every-cell-every-image.md) and
  [0021](../decisions/0021-border.md).
- **Magnetic tile** shows each place in up to six exposures, on both sides of this split; see below.
- **Seeds.** Where a row lacks some, they were cut to fit two cores. Seeds 1 and 2 of the baselines ran on a GPU. The
  two baselines of one seed are `python -m studies.paired`.
"""
FACTORS = """
`python -m studies.paired`: seed 0, one core. "PatchCore and factor model" is PatchCore with a memory of 2 %, joined
with the factor model of our own prior as the default joins its mixture with it. The default's own two parts stand
beside it, image AUROC of each. The last column is the default less that baseline on the same test images, with a
paired 95 % interval (10,000 resamples).

The mixture alone is above PatchCore's 10 % on {above}. Elsewhere the default's lead in images is the factor model of
the flattened z: with it PatchCore cannot be told from the default on {alike}, and the default is better on {better}.

- **Image scores** are those of r-u, which are r-s's bit for bit: r-u's image AUROC of seed 0 is that of `r-s` above.
- **Maps.** Pixel AUROC of r-u, which is not the default's map, less that baseline's: {pixels}. The map of `r-s` was not
  scored anew, so of it there is no paired interval; its figures stand in the tables above.
- **Cut**: one seed; no paired interval against PatchCore with 10 %, half an hour on magnetic tile. Of its row above
  image AUROC of seed 0 is shown.
- **PaDiM at the finest stage** is below the default in images on every set, by {padim}.
"""
TILE_GROUPS = """
`python -m studies.tile_groups_rows`: settings, test images and baselines as above, fewer training images, one seed.
"No place on both sides" leaves out every training image that shows a place of the test in another exposure. "Drawn by
the seed" has as many images, drawn without regard to places.

So part of what is found above in images of magnetic tile is that the model has seen the place. With places apart
every image AUROC is lower, ours by most: {ours:.3f}, where PaDiM has {padim:.3f} and PatchCore {patchcore:.3f}. In
pixel AUROC, AP and F1 `r-s` stays above both.

The factor model of the flattened z is what remembers places. With places apart its image AUROC alone is {factor:.3f}
and the mixture's {mixture:.3f}: the score would be better without it. Where places are shared ({factor_shared:.3f}
and {mixture_shared:.3f}) it adds a little. It stays in the score for logical defects (juice bottle: [decision
0015](../decisions/0015-every-cell-every-image.md)).
"""
ABLATION = """
`python -m studies.ablation`: `r-s` of `recommended`, with one thing changed in every other row.

- The textures are trained end to end from nothing, for 10 epochs of synthetic anomalies. They are what the settings
  were chosen on.
- All rows ran on a GPU, where training rounds otherwise. The first row differs from that of the other pages as seeds
  do.
- Compare a row of fewer seeds with those seeds of the first row (in the JSONL).
- On magnetic tile the image's score reads nothing that anomaly types change.
"""
ATTENTION_LOSSES = """
`python -m studies.attention_losses`: `r-u` of `recommended` on the textures, whose encoder is trained, with another
loss of attention in place of L_ae. Two ask that mean(A) of an image be at least 0.8: the square of what it lacks, and
an extended log-barrier (t = 20). The third is the entropy of A over the patches. L_ae, the first row, has w_ae =
0.01. One seed. Image AUROC over the textures goes from {low:.3f} to {high:.3f} with the seed of L_ae alone ([demo
textures](textures.md)), so differences within that say nothing.
"""
DEMO = """
`cavga benchmark textures`: no pretrained weights, 128 px, 65 training cuts a texture.

- `recommended` is `r-u` here. "Untrained encoder" and "without L_ae" change one thing of it. PaDiM stands on its
  features.
- `r-s` is trained on synthetic anomalies, 10 epochs of many more images ([decision
  0014](../decisions/0014-training-on-made-anomalies.md)).
- `paper` is cut to 15 of its 150 recalled epochs and one seed.
- The three bands of a photograph are not alike. So the false alarms that the calibration band guarantees (at most 3.8
  %) are not what the test band shows: thresholds hold for images like those held out.
- Two threads (`r-s`: one). Another number of threads rounds differently and moves a trained row about as much as
  another seed.
"""
ENCODERS = """
`python -m studies.encoders`: `recommended`, 256 px, frozen ImageNet weights, one seed. `r-u` has no guided attention:
with a frozen encoder L_ae changes nothing ([decision 0016](../decisions/0016-what-earns-its-place.md)). `r-s` trains
C with L_cga on synthetic anomalies; the image score is the same.
"""
EARLIER_PRIOR = """
`cavga benchmark screw`, measured before [decision 0011](../decisions/0011-aggregated-prior.md). All 320 normal images
(20 % of them held out for thresholds), 41 normal and 119 anomalous test images, 256 px, R to layer3, frozen, ImageNet
weights.

- "mu trained on" starts from the whitened head of `recommended` and trains it with Eq. 4.
- "Standard prior" is N(0, I) at every position.
- In this data the normal test images are darker (mean grey 168 to 173) than every anomalous one (176 to 192). After 4
  of 150 epochs the residual of `paper` measures little else, and ranks all of them the wrong way round. An image
  AUROC of 0.000 is that, not a slip in the metric.
"""
VARIANTS = """
`cavga benchmark variants`, 128 px, with the Gaussian prior that `recommended` had before [decision
0011](../decisions/0011-aggregated-prior.md).

- 2 % of the anomalous test images (8 on magnetic tile, 2 on screw, 1 on a texture) were drawn by the seed for the w
  variants. Every row is tested without them.
- R on magnetic tile and screw has ImageNet weights to layer3; D and the textures have none.
- `paper` is cut to 5 of its 150 recalled epochs (textures: 8 and one seed).
- Seeds draw the labelled images and the images held out, too.
- On screw the normal test photographs are darker than all anomalous ones. Rows of `paper` and of D measure little
  else, in one direction or the other.
"""
WEAK = """
`cavga benchmark weak`: magnetic tile, 128 px, R to layer3, frozen, ImageNet weights, `recommended` with the same
earlier prior.

- Every row is tested without the 16 images that the first row drew. The others' draws are parts of it.
- `recommended` was chosen on synthetic anomalies before these rows were run, but for the form of C's map ([decision
  0008](../decisions/0008-weak-supervision.md)).
- One epoch trains the decoder alone, which no score uses.
"""
AGREEMENT = """
`python -m benchmarks.compare_anomalib`: the same images ({train} of {category} to fit on, {test} to score, {height}
px), weights, channels and bank, raw maps and scores before any normalisation. Differences are in units of anomalib's
largest value.

- PatchCore's map and PaDiM's deeper stages are enlarged by bilinear interpolation (the paper's word for the map),
  where anomalib repeats patches.
- The blur repeats the border, where anomalib mirrors it.
- PaDiM's covariances get its paper's 0.01, where anomalib adds 0.01001.
"""


def real_sets() -> Page:
    """The page of accuracy and tile_groups."""
    paired, apart = read_result("paired"), rows_of("tile_groups")
    found = [*rows_of("accuracy"), *(row for row in paired["rows"] if row["cell"] in RIVALS)]
    rows = sorted(found, key=lambda row: SHOWN.index(row["cell"]) if row["cell"] in SHOWN else len(SHOWN))
    rows.sort(key=lambda row: list(dict.fromkeys(row["data"] for row in found)).index(row["data"]))
    no_place, drawn = dict.fromkeys(row["data"] for row in apart)
    images = [of(rows, FULL, IMAGE, data) for data in dict.fromkeys(row["data"] for row in rows)]
    parts = {row["data"]: row["image_auroc_of"] for row in apart if row["cell"] == FULL}
    text = TILE_GROUPS.format(
        ours=of(apart, FULL, IMAGE, no_place),
        padim=of(apart, PADIM, IMAGE, no_place),
        patchcore=of(apart, PATCHCORE, IMAGE, no_place),
        factor=parts[no_place]["factor model"],
        mixture=parts[no_place]["mixture"],
        factor_shared=parts[drawn]["factor model"],
        mixture_shared=parts[drawn]["mixture"],
    )
    return Page(
        "Real data sets: normal images only",
        "How well does the default, `r-s` of `recommended`, do on real data sets, beside PaDiM and PatchCore on the "
        "same features?",
        f"Its image AUROC is {min(images):.3f} to {max(images):.3f}, above both as they are published on "
        f"{_wins(rows, IMAGE, PUBLISHED)} sets. Most of that lead is our factor model: PatchCore that is given it too "
        f"cannot be told from the default on {len(_alike(paired))} of {len(images)} (second section). Pixel AUROC is "
        f"the highest on {_wins(rows, PIXEL, RIVALS)}. Magnetic tile counts with a caveat: see the third section.",
        (
            section("Four sets", ACCURACY, rows),
            _factors_section(paired, rows),
            section("Magnetic tile, places apart", text, apart),
        ),
    )


def _wins(rows: Sequence[Row], metric: Metric, rivals: Sequence[str]) -> str:
    """On how many of the sets that have the metric the default is above the rivals."""
    section_, key = metric
    sets = dict.fromkeys(row["data"] for row in rows if row["metrics"][section_][key] is not None)
    won = [data for data in sets if of(rows, FULL, metric, data) > max(of(rows, name, metric, data) for name in rivals)]
    return f"{len(won)} of {len(sets)}"


def _differences(paired: dict[str, Any], name: str, figure: str) -> dict[str, dict[str, Any]]:
    """Ours less a baseline's of every set that has the figure."""
    found = [row for row in paired["differences"] if row["a"] == name and figure in row["figures"]]
    return {row["data"]: row["figures"][figure] for row in found}


def _alike(paired: dict[str, Any]) -> list[str]:
    found = _differences(paired, WITH_FACTORS, "image_auroc")
    return [data for data, one in found.items() if one["better"] is None]


def _shown(one: dict[str, Any]) -> str:
    low, high = one["interval"]
    return f"{one['difference']:+.3f} ({low:+.3f} to {high:+.3f})"


def _factors_section(paired: dict[str, Any], rows: Sequence[Row]) -> str:
    """What of the default's lead is the factor model's: a line a set."""
    ours = {row["data"]: row for row in paired["rows"] if "image_auroc_of" in row}
    first = [row for row in rows if row["seed"] == 0]
    images = _differences(paired, WITH_FACTORS, "image_auroc")
    lines, above = [], []
    for data, row in ours.items():
        parts, memory = row["image_auroc_of"], of(first, PATCHCORE, IMAGE, data)
        above += [data] if parts["mixture"] > memory else []
        shown = (parts["mixture"], parts["factor model"], value(row, IMAGE), memory, images[data]["a"])
        lines.append([data, *(f"{number:.3f}" for number in shown), _shown(images[data])])
    finest = [one["difference"] for one in _differences(paired, PADIM_FINEST, "image_auroc").values()]
    pixels = _differences(paired, WITH_FACTORS, "pixel_auroc")
    text = FACTORS.format(
        above=f"{len(above)} of {len(ours)} ({', '.join(above)})",
        alike=f"{len(_alike(paired))} of {len(ours)}",
        better=", ".join(data for data, one in images.items() if one["better"] == "b") or "none",
        pixels="; ".join(f"{data} {_shown(one)}" for data, one in pixels.items()),
        padim=f"{min(finest):.3f} to {max(finest):.3f}",
    )
    head = ["", "mixture", "factor model", "default", "PatchCore 10 %", "PatchCore and factor model", "difference"]
    return f"## How much of it is the factor model\n{text}\n{markdown(head, lines)}"


def parts() -> Page:
    """The page of ablation and attention_losses."""
    rows, losses = rows_of("ablation"), rows_of("attention_losses")
    on_textures = on_all_textures(rows)
    names = [name for name in dict.fromkeys(row["cell"] for row in on_textures) if name != FULL]
    whole = of(on_textures, FULL, PIXEL)
    most, next_most = sorted((of(on_textures, name, PIXEL), name) for name in names)[:2]
    other = on_all_textures(losses)
    found = [of(other, name, IMAGE) for name in dict.fromkeys(row["cell"] for row in other) if name != "recommended"]
    l_ae = [row for row in on_all_textures(rows_of("textures")) if row["cell"] == "recommended"]
    seeds = by_seed(l_ae, IMAGE)
    text = ATTENTION_LOSSES.format(low=min(seeds), high=max(seeds))
    return Page(
        "What each part adds",
        "What does `r-s` of `recommended` lose when one part is left out, and is a later loss of attention better than "
        "L_ae?",
        f'Over the textures pixel AUROC is {whole:.3f}; "{most[1]}" takes it to {most[0]:.3f}, nothing else below '
        f"{next_most[0]:.3f}. With a later loss of attention, or none, image AUROC is {min(found):.3f} to "
        f"{max(found):.3f}; the seed of L_ae alone moves it from {min(seeds):.3f} to {max(seeds):.3f}.",
        (
            section("r-s with one part left out", ABLATION, rows),
            section("What came after L_ae", text, losses),
        ),
    )


def textures() -> Page:
    """The page of textures."""
    rows = rows_of("textures")
    shown = {
        name: f"{of(rows, name, IMAGE, *TEXTURES):.3f} and {of(rows, name, PIXEL, *TEXTURES):.3f}"
        for name in (FULL, "recommended", PADIM, "paper")
    }
    return Page(
        "Demo textures: no pretrained weights",
        "How well are defects of the bundled textures found by models that start from nothing?",
        f"Image and pixel AUROC over the textures are {shown[FULL]} for `r-s`, {shown['recommended']} for `r-u`, "
        f"{shown[PADIM]} for PaDiM on the features of `r-u`, and {shown['paper']} for `paper`, cut short.",
        (section("Three textures", DEMO, rows),),
    )


def encoders() -> Page:
    """The page of encoders."""
    rows = rows_of("encoders")

    def difference(one: str, other: str, metric: Metric, data: str) -> str:
        return f"{round(of(rows, one, metric, data) - of(rows, other, metric, data), 3) + 0.0:+.3f}"

    squeeze, resnet = "squeezenet1_0", "resnet18"
    lower = [difference(f"{squeeze}, r-s", f"{resnet}, r-s", IMAGE, data) for data in (TILE, SCREW)]
    guided = [difference(f"{squeeze}, r-s", f"{squeeze}, r-u", PIXEL, data) for data in (TILE, SCREW)]
    return Page(
        "Other encoders",
        "Does SqueezeNet serve in place of ResNet-18, and does attention that is guided to synthetic anomalies help?",
        f"With SqueezeNet image AUROC changes by {lower[0]} on magnetic tile and {lower[1]} on screw. Guided attention "
        f"changes its pixel AUROC by {guided[0]} and {guided[1]}.",
        (section("ResNet-18 and SqueezeNet", ENCODERS, rows),),
    )


def earlier_prior() -> Page:
    """The page of screw."""
    rows, now = rows_of("screw"), rows_of("accuracy")
    best = max(of(rows, name, IMAGE) for name in dict.fromkeys(row["cell"] for row in rows) if name != PADIM)
    return Page(
        "The earlier, Gaussian prior on screw",
        "What did `recommended` reach on MVTec AD's screw with the Gaussian prior that it had at first?",
        f"An image AUROC of {of(rows, 'recommended', IMAGE):.3f}, and {best:.3f} with the best of its settings; the "
        f"prior of now reaches {of(now, FULL, IMAGE, SCREW):.3f} ([real sets](real-sets.md)).",
        (section("Settings of the Gaussian prior", EARLIER_PRIOR, rows),),
    )


def weak_supervision() -> Page:
    """The page of weak and variants."""
    rows, variants, now = rows_of("weak"), rows_of("variants"), rows_of("table3")
    none, one, eight, sixteen = (
        of(rows, name, IMAGE) for name in ("none (r-u)", "1 labelled bad", "8 labelled bad (2 %)", "16 labelled bad")
    )
    without = of(rows, "8, without L_cga", IMAGE)
    return Page(
        "Weak supervision: a few labelled anomalous images",
        "What do a few images labelled anomalous add, with the Gaussian prior that `recommended` had at first?",
        f"On magnetic tile image AUROC rises from {none:.3f} with none to {one:.3f} with one and {sixteen:.3f} with "
        f"sixteen; with eight it is {eight:.3f}, and {without:.3f} without L_cga. With the prior of now `r-w` has "
        f"{of(now, 'r-w, recommended', IMAGE, TILE):.3f} and `r-u` {of(now, 'r-u, recommended', IMAGE, TILE):.3f} "
        "([decision 0022](../decisions/0022-labelled-bad-and-the-prior.md), [paper tables](paper-tables.md)).",
        (
            section("How many labelled images, and what each part adds", WEAK, rows),
            section("The four variants", VARIANTS, variants),
        ),
    )


def baselines() -> Page:
    """The page of anomalib_agreement: a line a step of each baseline."""
    content = read_result("anomalib_agreement")
    images, rows = content["images"], content["rows"]
    lines = [
        [
            row["baseline"],
            row["what"],
            f"{row['max_relative']:.1e}" if "max_relative" in row else f"{100 * row['share']:g} % of {row['count']}",
            f"{row['correlation']:.4f}" if "correlation" in row else "-",
            in_words(row["note"]),
        ]
        for row in rows
    ]
    maps = [row["correlation"] for row in rows if row["what"] == "maps"]
    same = [row["max_relative"] for row in rows if row["what"] in ("features", "means", "distances", "inside")]
    text = AGREEMENT.format(height=images["size"][0], **{key: images[key] for key in ("category", "train", "test")})
    return Page(
        "Our baselines beside anomalib's",
        "Are our PaDiM and PatchCore those of anomalib?",
        f"Features, means and distances differ by at most {max(same):.0e} of the largest value. Whole maps correlate "
        f"at {min(maps):.3f} or more, for the three reasons below.",
        (
            f"## Step by step\n{text}",
            markdown(["", "what", "largest difference", "correlation", ""], lines),
        ),
    )
