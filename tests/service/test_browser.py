"""The page in a real browser, Debian's chromium: the whole story on bundled photographs, and what could go wrong."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cavga.demo.papers import write_papers
from cavga.service.page_files import PREFIX
from tests.conftest import GOLDEN, save_image, texture
from tests.service.running import running
from tests.service.test_doors import TOKEN

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of playwright's own
]
SLOW = 300_000  # ms: children load torch, and others may use the cores too
EVIL = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Watched:
    """A tab, with all that it complained of and asked for."""

    def __init__(self, browser, url: str, **options) -> None:
        self.context = browser.new_context(
            accept_downloads=True, **{"viewport": {"width": 1280, "height": 800}, **options}
        )
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(SLOW)
        self.url, self.complaints, self.asked = url, [], []
        self.tab.on("console", self._heard)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.on("dialog", lambda dialog: (self.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
        self.tab.on("response", self._answered)
        self.tab.on("request", lambda request: self.asked.append(request.url))

    def _heard(self, message) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def _answered(self, response) -> None:
        if response.status >= 400 and PREFIX in response.url:
            self.complaints.append(f"{response.status} {response.url}")

    def close(self) -> None:
        self.context.close()
        assert self.complaints == []
        assert [url for url in self.asked if not url.startswith((self.url, "blob:", "data:"))] == []


@pytest.fixture
def visit(browser):
    """Open a server's page in a tab; that nothing went wrong in it is checked at the end."""
    opened = []

    def go(url: str, where: str = "", **options):
        opened.append(Watched(browser, url, **options))
        opened[-1].tab.goto(f"{url}/{where}")
        return opened[-1].tab

    yield go
    for watched in opened:
        watched.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A projects folder with a project that has the golden model and photographs, one of them with an evil name."""
    folder = tmp_path / "projects/part"
    shutil.copytree(GOLDEN, folder / "runs/001")
    (folder / "project.json").write_text("{}", encoding="utf-8")
    for i in range(6):
        save_image(folder / f"inspect/{i}.png", texture(100 + i))
        save_image(folder / f"good/{i}.png", texture(i))
    save_image(folder / f"inspect/{EVIL}", texture(7))
    save_image(folder / f"good/{EVIL}", texture(8))
    return folder.parent


@pytest.fixture
def page(root: Path):
    with running({}, projects=root) as found:
        yield found


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The real command, in a process of its own."""
    command = [sys.executable, "-m", "cavga", "serve", "--projects", str(tmp_path / "projects"), "--port", "0"]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, stdout=file, env={**os.environ, "OMP_NUM_THREADS": "1"})
    while (url := re.search(r"http://\S+", log.read_text(encoding="utf-8"))) is None:
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.05)
    yield url[0]
    process.send_signal(signal.SIGTERM)
    process.wait(60)


def test_the_whole_story(served, visit, tmp_path):
    paper = write_papers(tmp_path)["BTN01"]
    good = sorted((paper / "train/good").iterdir())[:10]
    new = [*sorted((paper / "test/good").iterdir())[:3], *sorted((paper / "test/impurity").iterdir())[:4]]
    tab = visit(served)
    tab.fill("#new-project", "paper BTN01")
    tab.keyboard.press("Enter")
    (tmp_path / "damaged.png").write_bytes(b"x")
    tab.wait_for_selector(".drop.empty")
    tab.set_input_files("input.file", [*good, tmp_path / "damaged.png"])
    tab.wait_for_selector(".problems >> text=damaged.png")
    tab.wait_for_selector("text=10 photographs added, 1 left out")
    tab.wait_for_selector("text=fewer than 20")
    train(tab)
    tab.click("nav >> text=Inspect")
    tab.set_input_files("input.file", new)
    counted(tab, ".tile.anomalous, .tile.normal", 7)
    slide(tab)
    mark(tab)
    refit(tab)
    download(tab, tmp_path)
    run = tmp_path / "projects/paper BTN01/runs/001"
    assert {"marks.csv", "versions", "model.onnx"} <= {path.name for path in run.iterdir()}


def counted(tab, selector: str, count: int) -> None:
    """Wait until there are so many."""
    playwright.expect(tab.locator(selector)).to_have_count(count, timeout=SLOW)


def train(tab) -> None:
    tab.click("text=Go on: train a model")
    tab.select_option("#variant", "r-u")
    tab.fill("#size", "64")
    tab.fill("#train-rate", "10")
    tab.click("button:text-is('Train')")
    tab.wait_for_selector(".job progress")
    tab.wait_for_selector(".job .phase >> text=left")
    tab.click("button:text-is('Train')")
    tab.wait_for_selector("text=training of paper BTN01 is under way")
    tab.wait_for_selector(".job.done, .job.failed")
    assert "Training of paper BTN01 is done" in tab.inner_text(".job")
    tab.wait_for_selector("text=Training 001 is in use")
    tab.wait_for_selector("text=/predict answers with paper BTN01")


def slide(tab) -> None:
    """The slider changes decisions and counts without asking the server."""
    tab.wait_for_load_state("networkidle")
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.focus("#threshold")
    tab.keyboard.press("End")
    tab.wait_for_selector(".counts >> text=0 anomalous, 7 normal")
    tab.keyboard.press("Home")
    tab.wait_for_selector(".counts >> text=7 anomalous, 0 normal")
    assert [url for url in asked if not url.startswith("blob:") and not url.endswith("/jobs")] == []
    tab.click("button:text-is('Back')")


def mark(tab) -> None:
    """Two bad, one good, and one taken back, by keys alone."""
    tab.focus(".stage canvas")
    for key in ("b", "ArrowRight", "b", "ArrowRight", "b", "u", "ArrowDown", "ArrowDown", "ArrowDown", "g"):
        tab.keyboard.press(key)
    counted(tab, ".tile .mark.bad", 2)
    counted(tab, ".tile .mark.good", 1)
    tab.wait_for_load_state("networkidle")


def refit(tab) -> None:
    tab.click("nav >> text=Versions")
    tab.wait_for_selector("text=2 photographs marked bad and 1 marked good")
    tab.click("button:text-is('Refit')")
    tab.wait_for_selector("text=Refit of paper BTN01 is done")
    tab.wait_for_selector("text=What version 001 changed")
    assert tab.locator(".changes .lines li").count() == 5
    assert tab.locator(".changes tbody tr").count() == 3
    tab.click("[aria-label='Use version 000']")
    tab.wait_for_selector("tr.in-use >> text=as trained")
    tab.click("[aria-label='Use version 001']")
    tab.wait_for_selector("tr.in-use >> text=2 bad and 1 good marks")


def download(tab, folder: Path) -> None:
    tab.click("nav >> text=Use it")
    for title, name in (("Scores as CSV", "paper BTN01.csv"), ("Overlays as ZIP", "paper BTN01.zip"),
                        ("ONNX file", "paper-BTN01.onnx")):  # fmt: skip
        with tab.expect_download() as found:
            tab.click(f"button:text-is('{title}')")
        assert found.value.suggested_filename == name
        found.value.save_as(folder / name)
        assert (folder / name).stat().st_size > 200


def test_names_are_text_whatever_they_are(page, root, visit):
    shutil.copytree(root / "part/good", root / "<img src=x onerror=alert(2)>/photos")
    shutil.copytree(root / "part", root / "<script>alert(3)<")
    tab = visit(page.url)
    tab.wait_for_selector("text=Not shown, because of their names: <script>alert(3)<")
    tab.fill("#new-project", EVIL)
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".problem >> text=<img src=x onerror=alert(1)>.png")
    for step in ("photographs", "inspect", "versions", "use"):
        tab.goto(f"{page.url}/#/part/{step}")
        tab.wait_for_load_state("networkidle")
    tab.goto(f"{page.url}/#/part/photographs")
    tab.wait_for_selector(f".grid .name[title='{EVIL}']")
    tab.click("text=From a folder on the server")
    tab.wait_for_selector("#folders option >> text=onerror=alert(2)", state="attached")
    tab.click("#folders >> text=Cancel")
    tab.goto(f"{page.url}/#/part/inspect")
    tab.click(f".tile[title='{EVIL}']")
    tab.wait_for_selector(f".side .name >> text={EVIL}")
    tab.goto(f"{page.url}/#/%3Cimg%20src=x%20onerror=alert(4)%3E/inspect")
    tab.wait_for_selector("text=no project '<img src=x onerror=alert(4)>'")
    assert tab.locator("main img[src='x']").count() == 0


def test_what_is_dropped_is_taken(page, visit, root):
    tab = visit(page.url, "#/part/inspect")
    counted(tab, ".tile.anomalous, .tile.normal", 7)
    content = list((root / "part/good/3.png").read_bytes())
    tab.evaluate(
        """(content) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([new Uint8Array(content)], 'dropped.png', { type: 'image/png' }));
          transfer.items.add(new File(['no photograph'], 'notes.png', { type: 'image/png' }));
          document.querySelector('.stage').dispatchEvent(
            new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        content,
    )
    tab.wait_for_selector(".problems >> text=notes.png")
    counted(tab, ".tile.anomalous, .tile.normal", 8)
    assert (root / "part/inspect/dropped.png").is_file()
    assert not (root / "part/inspect/notes.png").exists()


def test_a_photograph_is_looked_at_closely(page, visit):
    tab = visit(page.url, "#/part/inspect")
    tab.wait_for_selector(".tile[aria-current]")
    tab.wait_for_load_state("networkidle")
    before = tab.inner_text(".percent")
    tab.keyboard.press("1")
    playwright.expect(tab.locator(".percent")).to_have_text("100 %")
    tab.keyboard.press("+")
    playwright.expect(tab.locator(".percent")).to_have_text("150 %")
    tab.mouse.move(640, 400)
    tab.mouse.wheel(0, -400)
    playwright.expect(tab.locator(".percent")).not_to_have_text("150 %")
    tab.keyboard.press("0")
    playwright.expect(tab.locator(".percent")).to_have_text(before)
    drawn = tab.evaluate(
        "(() => { const c = document.querySelector('.stage canvas');"
        " const p = c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data; return p[3]; })()"
    )
    assert drawn == 255


def test_outlines_enclose_what_reaches_the_threshold_and_nothing_else(page, visit):
    tab = visit(page.url)
    grey = Image.fromarray(texture(3, size=64).astype(np.float32))
    values = np.asarray(grey.resize((37, 29), Image.Resampling.BICUBIC))
    threshold = float(np.median(values)) + 0.01
    rings = tab.evaluate(
        """async ([values, width, height, threshold]) => {
          const { rings } = await import('/page/contour.js');
          return rings({ width, height, values }, threshold);
        }""",
        [values.ravel().tolist(), values.shape[1], values.shape[0], threshold],
    )
    assert len(rings) > 3
    y, x = np.indices(values.shape)
    inside = np.zeros(values.shape, dtype=bool)  # of an odd number of rings
    for ring in rings:
        for (x1, y1), (x2, y2) in zip(ring, ring[1:] + ring[:1], strict=True):
            if y1 != y2:
                inside ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    is_clear = values != np.float32(threshold)
    assert (inside == (values >= threshold))[is_clear].all()


def test_a_keyboard_is_enough(page, visit):
    tab = visit(page.url, "#/part/inspect")
    counted(tab, ".tile.anomalous, .tile.normal", 7)
    reached = []
    for _ in range(40):
        tab.keyboard.press("Tab")
        seen = tab.evaluate(FOCUSED)
        if seen in reached:
            break
        reached.append(seen)
    names = " ".join(name for name, _, _ in reached)
    assert all(
        name in names for name in ("skip", "tile", "threshold", "mask-threshold", "good", "bad", "canvas".upper())
    )
    assert [seen for seen in reached if seen[1] == "none" and not seen[0].startswith("BODY")] == []
    assert [seen for seen in reached if not seen[2] and not seen[0].startswith("BODY")] == []
    tab.focus(".tile[aria-current]")
    first = tab.get_attribute(".tile[aria-current]", "title")
    tab.keyboard.press("ArrowRight")
    assert tab.get_attribute(".tile[aria-current]", "title") != first
    assert tab.evaluate("document.activeElement.getAttribute('aria-current')") == "true"
    tab.keyboard.press("h")
    assert tab.locator("button[aria-pressed=false] >> text=Heat").count() == 1


@pytest.mark.parametrize("size", [(1280, 800), (820, 1180)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(page, visit, size, scheme):
    tab = visit(page.url, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    for where in ("#/", "#/part/photographs", "#/part/model", "#/part/inspect", "#/part/versions", "#/part/use"):
        tab.goto(f"{page.url}/{where}")
        tab.wait_for_selector("main > *")
        tab.wait_for_load_state("networkidle")
        assert tab.evaluate("document.documentElement.scrollWidth") <= size[0], where
        assert tab.evaluate(FAINT) == [], where


# What has the focus: how it is called, the line around it, what a screen reader says.
FOCUSED = """(() => {
  const focused = document.activeElement;
  const drawn = focused.matches('.filters input') ? focused.nextElementSibling : focused;
  const line = focused.matches(':focus-visible') ? getComputedStyle(drawn).outlineStyle : 'none';
  const said = focused.getAttribute('aria-label') || focused.innerText || focused.labels?.[0]?.innerText || '';
  return [`${focused.tagName} ${focused.id} ${focused.className}`, line, said];
})()"""

# Texts whose contrast with what is behind them is below 4.5 to 1 (WCAG 2 AA), as the browser draws them.
FAINT = """(() => {
  const channels = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = channels(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join('');
    if (!text || !element.checkVisibility()) continue;
    if (element.matches(':disabled, :disabled *, noscript, .hidden, .spoken, .skip')) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${text.slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return found;
})()"""


def test_the_token_is_asked_for_once_and_kept_in_the_tab(root, visit):
    with running({}, projects=root, token=TOKEN) as server:
        tab = visit(server.url)
        tab.fill("#token-value", "not the one of this server")
        tab.keyboard.press("Enter")
        tab.wait_for_selector("text=That was not the token of this server")
        tab.fill("#token-value", TOKEN)
        tab.keyboard.press("Enter")
        tab.click(".card")
        tab.wait_for_selector(".tile img[src^=blob]")
        tab.reload()
        tab.wait_for_selector(".tile.normal, .tile.anomalous")
        assert TOKEN not in tab.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")
