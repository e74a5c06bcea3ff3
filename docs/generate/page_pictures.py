"""Write docs/images/page-*.png: the page of `cavga serve` with one of the bundled papers, as a browser shows it.

python -m docs.generate.page_pictures FOLDER

FOLDER is for the project, which is trained where it is not there yet. It takes chromium and playwright.
"""

import shutil
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from cavga.demo.papers import write_papers
from tests.service.running import running

PAPER, PROJECT = "FVN02", "paper FVN02"
NUM_GOOD, NUM_BAD = 12, 24
WIDE, TABLET = (1280, 800), (820, 1180)
LARGEST = (960, 960)  # px, of a picture in the documents
COMMON, RARE = 48, 128  # colours of its palette
IMAGES = Path(__file__).parents[1] / "images"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE = 900_000  # ms


def main(folder: Path) -> None:
    """Four pictures: photographs, inspection, versions, and inspection on a dark tablet."""
    data = folder / "data" / PAPER
    if not data.is_dir():
        write_papers(folder / "data")
    with running({}, projects=folder / "projects", deadline=60.0) as server, sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": WIDE[0], "height": WIDE[1]})
        tab.set_default_timeout(PATIENCE)
        if not (folder / "projects" / PROJECT / "runs/001/versions").is_dir():
            prepare(tab, server.url, data)
        picture(tab, server.url, "photographs", "section[aria-label='What was found']")
        picture(tab, server.url, "inspect", ".tile.normal")
        picture(tab, server.url, "versions", ".changes")
        dark = browser.new_page(viewport={"width": TABLET[0], "height": TABLET[1]}, color_scheme="dark")
        picture(dark, server.url, "inspect", ".tile.normal", name="tablet")
        browser.close()


def prepare(tab: Page, url: str, data: Path) -> None:
    """Train, inspect, mark and refit, as an engineer would."""
    tab.goto(url)
    tab.fill("#new-project", PROJECT)
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".drop.empty")
    tab.set_input_files("input.file", sorted((data / "train/good").iterdir()))
    tab.wait_for_selector("section[aria-label='What was found']")
    tab.click("text=Go on: train a model")
    tab.select_option("#variant", "r-u")
    tab.fill("#size", "128")
    tab.click("button:text-is('Train')")
    tab.wait_for_selector("text=Training 001 is in use")
    tab.click("nav >> text=Inspect")
    good, bad = (sorted((data / "test" / kind).iterdir()) for kind in ("good", "impurity"))
    tab.set_input_files("input.file", [*good[:NUM_GOOD], *bad[:NUM_BAD]])
    tab.wait_for_selector(f".tile.normal, .tile.anomalous >> nth={NUM_GOOD + NUM_BAD - 1}")
    for photograph, key in [(path, "b") for path in bad[:6]] + [(path, "g") for path in good[:2]]:
        tab.click(f".tile[title='{photograph.name}']")
        tab.keyboard.press(key)
    tab.wait_for_load_state("networkidle")
    tab.click("nav >> text=Versions")
    tab.click("button:text-is('Refit')")
    tab.wait_for_selector(".changes")


def picture(tab: Page, url: str, step: str, shown: str, *, name: str = "") -> None:
    """One step of the page, as a picture of few colours."""
    tab.goto(f"{url}/#/{PROJECT}/{step}")
    tab.reload()
    tab.wait_for_selector(shown)
    tab.wait_for_load_state("networkidle")
    tab.wait_for_timeout(1500)
    drawn = Image.open(BytesIO(tab.screenshot())).convert("RGB")
    drawn.thumbnail(LARGEST, Image.Resampling.LANCZOS)
    path = IMAGES / f"page-{name or step}.png"
    few_colours(drawn).save(path, optimize=True)


def few_colours(drawn: Image.Image) -> Image.Image:
    """The picture with a palette: what covers most of it, and the rare colours that mean something."""
    palette = []
    for method, count in ((Image.Quantize.MEDIANCUT, COMMON), (Image.Quantize.MAXCOVERAGE, RARE)):
        palette += (drawn.quantize(count, method=method).getpalette() or [])[: 3 * count]
    holder = Image.new("P", (1, 1))
    holder.putpalette(palette)
    return drawn.quantize(palette=holder, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
