"""The report: which cases it shows, what it says, and that it stands alone."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from cavga.evaluation.report import Case, Section, write_report
from cavga.evaluation.verdicts import counts_of_verdicts, verdict_of
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
        "verdict": verdict_of(label, is_anomalous=score >= 0.5, touches=True),
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
        "decisions": counts_of_verdicts(["found"] * 2 + ["called, elsewhere", "missed"] + ["correctly passed"] * 2),
        "counts": {"train": 65, "test_normal": 2, "test_anomalous": 4, "with_mask": 4, "excluded": 0},
        "provenance": {"preset": "recommended"},
    }


def make_section(title="brick", **changes):
    scores = [(0.9, 1), (0.8, 1), (0.5, 1), (0.2, 1), (0.1, 0), (0.3, 0)]
    cases = [make_case("test/stain/003.png", score=0.2), make_case("test/good/001.png", 0, 0.3)]
    values = {"title": title, "metrics": make_metrics(), "scores": scores, "cases": cases, "notes": ["a note"]}
    values |= {"first": cases}
    return Section(**{**values, **changes})


def page_of(tmp_path, *sections, title="A report"):
    path = tmp_path / "report.html"
    write_report(path, title, sections)
    return path.read_text(encoding="utf-8")


def plain(page):
    return re.sub(r"<[^>]+>", "", page)


def test_the_page_says_the_result_in_words_and_figures(tmp_path):
    text = plain(page_of(tmp_path, make_section()))
    assert "Learnt what is normal from 65 good photographs. Tried on 6 other photographs." in text
    assert "3 of 4 defective photographs called anomalous" in text
    assert "2 with the mark on the defect, 1 with the mark elsewhere" in text
    assert "0 of 2 good photographs called anomalous (false alarms)" in text
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
    assert "presetrecommended" in text
    assert "a note" in text


def test_verdicts_of_all_kinds(tmp_path):
    cases = [
        make_case("a.png", 1, 0.2),
        make_case("b.png", 0, 0.8),
        make_case("c.png", 1, 0.8),
        make_case("d.png", 0, 0.2),
        make_case("e.png", 1, 0.8, verdict="called, elsewhere"),
        make_case("f.png", 1, 0.8, verdict="called, place unknown"),
    ]
    text = plain(page_of(tmp_path, make_section(cases=cases, first=[])))
    names = ("missed", "false alarm", "found", "correctly passed", "called, elsewhere", "called, place unknown")
    for name, letter in zip(names, "abcdef", strict=True):
        assert f"{name}{letter}.png" in text
    assert text.index("called, elsewhere") < text.index("The threshold") < text.index("foundc.png")
    assert "stain · score 0.2 &lt; 0.5" in text
    assert "good · score 0.8 ≥ 0.5" in text


def test_the_page_is_well_formed_and_fetches_nothing(tmp_path):
    page = page_of(tmp_path, make_section(), make_section("grass"))
    parser = WellFormed()
    parser.feed(page)
    assert not parser.open
    assert not re.search(r"https?:|//|<script|<link|@import|url\(", re.sub(r"base64,[\w+/=]+", "", page))
    images = [attributes for tag, attributes in parser.tags if tag == "img"]
    assert len(images) == 2 * 2 + 2 * 2 * (2 + 3)  # two pairs above, and each section's pairs and panels
    assert all(image["src"].startswith("data:image/jpeg;base64,") and image["alt"] for image in images)
    assert ("html", {"lang": "en"}) in parser.tags


def test_several_sections_are_summarised_with_links(tmp_path):
    page = page_of(tmp_path, make_section("brick"), make_section("grass"))
    for i, title in enumerate(("brick", "grass")):
        assert f'<a href="#section-{i}">{title}</a>' in page
        assert f'<section id="section-{i}">' in page
    assert "6 of 8</b> defective photographs" in page
    assert page.count("<td>3 of 4</td>") == 2
    assert "2 models, each learnt from its own good photographs, 130 in all." in page
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
    metrics["decisions"] = counts_of_verdicts(["false alarm", "correctly passed"])
    text = plain(page_of(tmp_path, make_section(metrics=metrics, scores=[(0.4, 0), (0.6, 0)])))
    assert "1 of 2 good photographs called anomalous" in text
    assert "defective photographs" not in text
    assert text.count("not computableno defective test images") == 8


@pytest.mark.parametrize("metrics", [{}, {"image": None, "pixel": None, "intervals": None, "counts": None}])
def test_an_empty_evaluation_still_gives_a_page(tmp_path, metrics):
    page = page_of(tmp_path, make_section(metrics=metrics, scores=[], cases=[], first=[], notes=[]))
    assert "Tried on 0 other photographs. Without a threshold none was judged." in page
    assert "<figure" not in page


def test_a_case_without_mask_on_another_scale(tmp_path):
    case = make_case(mask=None, scale=MapScale(-1.5, 2.5), anomaly_map=np.full((4, 4), np.nan, dtype=np.float32))
    assert "-4 and below" in page_of(tmp_path, make_section(cases=[case]))


def test_many_notes_are_folded(tmp_path):
    page = page_of(tmp_path, make_section(notes=[f"note {i}" for i in range(20)]))
    assert "<summary>12 more</summary>" in page
    assert all(f"<li>note {i}</li>" in page for i in range(20))


def test_three_sections_of_24_cases_stay_below_11_megabytes(tmp_path):
    photograph = np.stack([pytest.importorskip("skimage.data").grass()[:256, :256]] * 3, axis=-1)  # fine texture
    anomaly_map = resize_map(np.random.default_rng(0).random((16, 16), dtype=np.float32) ** 8, (256, 256))
    case = make_case(photograph=photograph, anomaly_map=anomaly_map)
    panels, pair = (
        len(page_of(tmp_path, make_section(cases=cases, first=first))) for cases, first in (([case], []), ([], [case]))
    )
    assert 3 * (24 * panels + 6 * pair) + 6 * pair < 11_000_000  # the style sheet is counted with each of them
