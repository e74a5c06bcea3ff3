"""The report: which cases it shows, what it says, and that it stands alone."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from cavga.evaluation.report import Case, Section, choose_cases, write_report
from cavga.images.resize import resize_map
from cavga.rendering.scale import MapScale

VOID = {"meta", "img", "line", "path", "br"}


class WellFormed(HTMLParser):
    """Collects attributes and fails where a tag is not closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def make_case(path="test/stain/000.png", label=1, score=0.9, **changes):
    values = {
        "path": path,
        "label": label,
        "defect_type": "stain" if label else None,
        "score": score,
        "threshold": 0.5,
        "is_anomalous": score >= 0.5,
        "photograph": np.full((16, 24, 3), 100, dtype=np.uint8),
        "anomaly_map": np.linspace(0, 1, 16 * 24, dtype=np.float32).reshape(16, 24),
        "scale": MapScale(0.4, 0.4),
        "mask": np.zeros((16, 24), dtype=bool),
    }
    return Case(**{**values, **changes})


def make_metrics():
    return {
        "image": {
            "auroc": 0.912,
            "balanced_accuracy": 0.875,
            "recall": 0.75,
            "false_alarm_rate": 0.0,
            "threshold": 0.5,
        },
        "pixel": {"auroc": 0.934, "aupro": 0.811, "iou_dataset": 0.402, "iou_dataset_oracle": 0.517},
        "by_defect_type": {
            "stain": {"count": 4, "image_auroc": 0.9, "recall": 0.75, "pixel_auroc": 0.93, "aupro": None}
        },
        "intervals": {
            "image_auroc": [0.85, 0.96],
            "pixel_auroc": None,
            "recall": [0.19, 0.99],
            "false_alarm_rate": [0.0, 0.84],
        },
        "counts": {"train": 65, "with_mask": 4, "excluded": 0},
        "provenance": {"preset": "recommended"},
    }


def make_section(title="brick", **changes):
    scores = [(0.9, 1), (0.8, 1), (0.5, 1), (0.2, 1), (0.1, 0), (0.3, 0)]
    cases = [make_case("test/stain/003.png", score=0.2), make_case("test/good/001.png", 0, 0.3)]
    values = {"title": title, "metrics": make_metrics(), "scores": scores, "cases": cases, "notes": ["a note"]}
    return Section(**{**values, **changes})


def page_of(tmp_path, *sections, title="A report"):
    path = tmp_path / "report.html"
    write_report(path, title, sections)
    return path.read_text(encoding="utf-8")


def plain(page):
    return re.sub(r"<[^>]+>", "", page)


def test_cases_come_worst_first():
    predictions = [
        (0.9, 1, True),
        (0.1, 0, False),
        (0.3, 1, False),
        (0.7, 0, True),
        (0.6, 1, True),
        (0.2, 1, False),
        (0.8, 0, True),
        (0.4, 0, False),
        (0.5, None, True),
        (0.45, None, False),
    ]
    # missed 5, 2; false alarms 6, 3; found 4, 0; passed 7, 1; unlabelled 8, 9
    assert choose_cases(predictions) == [5, 2, 6, 3, 4, 0, 7, 1, 8, 9]


def test_many_missed_defects_leave_room_for_the_others():
    missed = [(i / 1000, 1, False) for i in range(100)]
    others = [(0.9, 1, True)] * 10 + [(0.1, 0, False)] * 10 + [(0.8, 0, True)] * 10
    chosen = choose_cases(missed + others)
    assert len(chosen) == 24
    assert chosen[:14] == list(range(14))
    groups = [(missed + others)[i][1:] for i in chosen]
    assert groups.count((0, True)) == groups.count((1, True)) == 4
    assert groups.count((0, False)) == 2


@pytest.mark.parametrize("maximum", [0, 1, 2, 5, 24])
def test_never_more_cases_than_the_maximum_and_none_twice(maximum):
    predictions = [(i / 50, i % 2, i % 3 == 0) for i in range(50)]
    chosen = choose_cases(predictions, maximum=maximum)
    assert len(chosen) == len(set(chosen)) == maximum
    assert choose_cases([], maximum=maximum) == []


def test_the_page_says_the_result_in_words_and_figures(tmp_path):
    text = plain(page_of(tmp_path, make_section()))
    assert "Of 4 defective images 3 were found; of 2 good images 0 were predicted anomalous." in text
    for figure in (
        "0.912",
        "95%: 0.850–0.960",
        "95%: 0.190–0.990",
        "95%: 0.000–0.840",
        "87.5%",
        "75.0%",
        "0.0%",
        "0.811",
        "0.402",
        "0.517",
        "train 65",
    ):
        assert figure in text
    assert "oracle: threshold chosen on the test masks" in text
    assert "preset recommended" in text
    assert "a note" in text


def test_verdicts_of_all_kinds(tmp_path):
    cases = [
        make_case("a.png", 1, 0.2),
        make_case("b.png", 0, 0.8),
        make_case("c.png", 1, 0.8),
        make_case("d.png", 0, 0.2),
        make_case("e.png", None, 0.8),
        make_case("f.png", None, 0.2),
    ]
    text = plain(page_of(tmp_path, make_section(cases=cases)))
    names = ("missed", "false alarm", "found", "correctly passed", "predicted anomalous", "called normal")
    for name, letter in zip(names, "abcdef", strict=True):
        assert f"{name}{letter}.png" in text
    assert "stain · score 0.2 &lt; 0.5" in text
    assert "good · score 0.8 ≥ 0.5" in text


def test_the_page_is_well_formed_and_fetches_nothing(tmp_path):
    page = page_of(tmp_path, make_section(), make_section("grass"))
    parser = WellFormed()
    parser.feed(page)
    assert not parser.open
    assert not re.search(r"https?:|//|<script|<link|@import|url\(", re.sub(r"base64,[\w+/=]+", "", page))
    images = [attributes for tag, attributes in parser.tags if tag == "img"]
    assert len(images) == 2 * 2 * 3
    assert all(image["src"].startswith("data:image/jpeg;base64,") and image["alt"] for image in images)
    assert ("html", {"lang": "en"}) in parser.tags


def test_several_sections_are_summarised_with_links(tmp_path):
    page = page_of(tmp_path, make_section("brick"), make_section("grass"))
    for i, title in enumerate(("brick", "grass")):
        assert f'<a href="#section-{i}">{title}</a>' in page
        assert f'<section id="section-{i}">' in page
    assert page.count("3 of 4") == 2
    assert "All sections" not in page_of(tmp_path, make_section())


def test_every_text_is_escaped(tmp_path):
    evil = '<b>&"x'
    metrics = make_metrics() | {"by_defect_type": {evil: {"count": 1}}, "provenance": {evil: evil}}
    case = make_case(f"{evil}.png", defect_type=evil)
    page = page_of(tmp_path, make_section(evil, metrics=metrics, cases=[case], notes=[evil]), title=evil)
    assert evil not in page
    assert "&lt;b&gt;&amp;&quot;x.png" in page


def test_a_file_name_that_is_no_text_does_not_lose_the_report(tmp_path):
    assert "caf\\xe9.png" in page_of(tmp_path, make_section(cases=[make_case("caf\udce9.png")]))


def test_what_is_missing_is_said_with_its_reason(tmp_path):
    metrics = make_metrics() | {"pixel": dict.fromkeys(("auroc", "aupro")), "counts": {"with_mask": 0}}
    text = plain(page_of(tmp_path, make_section(metrics=metrics)))
    assert text.count("not computableno masks") == 4
    metrics["image"] = {"threshold": 0.5, "auroc": None, "recall": float("nan")}
    text = plain(page_of(tmp_path, make_section(metrics=metrics, scores=[(0.4, 0), (0.6, 0)])))
    assert "Of 2 good images 1 was predicted anomalous." in text
    assert text.count("not computableno defective test images") == 8


@pytest.mark.parametrize("metrics", [{}, {"image": None, "pixel": None, "intervals": None, "counts": None}])
def test_an_empty_evaluation_still_gives_a_page(tmp_path, metrics):
    page = page_of(tmp_path, make_section(metrics=metrics, scores=[], cases=[], notes=[]))
    assert "0 images were scored" in page
    assert "<figure" not in page


def test_unlabelled_images_are_counted(tmp_path):
    text = plain(page_of(tmp_path, make_section(scores=[(0.4, None), (0.6, None), (0.7, None)])))
    assert "Of 3 unlabelled images 2 were predicted anomalous." in text


def test_a_case_without_mask_on_another_scale(tmp_path):
    case = make_case(mask=None, scale=MapScale(-1.5, 2.5), anomaly_map=np.full((4, 4), np.nan, dtype=np.float32))
    assert "-4 and below" in page_of(tmp_path, make_section(cases=[case]))


def test_many_notes_are_folded(tmp_path):
    page = page_of(tmp_path, make_section(notes=[f"note {i}" for i in range(20)]))
    assert "<summary>12 more</summary>" in page
    assert all(f"<li>note {i}</li>" in page for i in range(20))


def test_three_sections_of_24_cases_stay_below_8_megabytes(tmp_path):
    photograph = np.stack([pytest.importorskip("skimage.data").grass()[:256, :256]] * 3, axis=-1)  # fine texture
    anomaly_map = resize_map(np.random.default_rng(0).random((16, 16), dtype=np.float32) ** 8, (256, 256))
    section = make_section(cases=[make_case(photograph=photograph, anomaly_map=anomaly_map)])
    assert 3 * 24 * len(page_of(tmp_path, section)) < 8_500_000  # the style sheet is counted 72 times here
