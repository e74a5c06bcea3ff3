"""Write docs/reliability.md from benchmarks/results/faults.jsonl: what was tried on the commands, and what happened.

python -m docs.generate.reliability
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.result_files import FOLDER, read_result
from docs.generate.tables import Page, markdown

PAGE = Path(__file__).parents[1] / "reliability.md"
Row = Mapping[str, Any]

NOT_MEASURED = """
`make test-faults` attacks the commands and counts what comes out. No run of it has been kept yet: this page has no
figures until `python -m benchmarks.faults --keep` has been run.
"""
# What is promised, and the attacks that try it.
PROMISES: dict[str, tuple[str, ...]] = {
    "a damaged photograph is named, and the others are done": ("images",),
    "a damaged model, table or setting is refused": ("models", "tables"),
    "odd names and files that are none are met in one line": ("names", "special files"),
    "what a signal stops leaves nothing half done; a training goes on to the same weights": ("kills",),
    "on a full disk what was there stays whole": ("disks and streams",),
    "two writers do not mix": ("two writers",),
    "data that mislead are said to": ("situations",),
    "a damaged request is refused by a server, which goes on": ("a server: mutated requests",),
    "a server that is asked too much answers in time what it accepts": ("a server: twice its capacity",),
    "a server answers as its own description says": ("a server: its own description",),
}
MEASURED = {
    "asked_per_second": "asked a second",
    "served": "served",
    "refused": "refused with 503",
    "late": "accepted and late",
    "lost": "lost",
    "p99_seconds": "s at p99 of what was accepted",
    "deadline": "s its deadline",
    "refused_p50_seconds": "s until the sender had a refusal (median)",
    "killed": "times SIGKILL",
    "resumed_bit_identically": "trainings that ended with the same weights",
}
RULES = """
## The rules

Every command that was tried has to end within its time, without a traceback, without a line of a library (but for
libtiff's own), without a character that a terminal obeys, with an exit code of [files.md](files.md), and with at most
{largest} MiB of memory, libraries included. Then its outcome is one of these:

{outcomes}
"""
METHOD = """
## How

`python -m benchmarks.faults` makes each input from seed {seed}, so that every run tries the same ones. Moments of
signals are drawn too, but what a process does at that moment is not repeated. A full disk is {full_disk}. A
resumed training has to have the same weights, bit for bit, as one that was never stopped. A flipped bit of a model
has to be refused or to change no score. The numbers of a photograph that is read in spite of a flipped bit are
compared with those of the sound file. At twice its capacity each request counts as tried, and its time is its
sender's, with nothing taken off for sending. A short form is among the tests. Attacks may be kept in pieces: a row
is of its own last full run. The machine did other things as well, which is in all times. Machine: {machine};
{packages}.
"""
NOT_COVERED = """
## What is not covered

- Models are the smallest (`d-u`, 32 px, photographs of 48 px): what takes longer on larger ones was not waited for.
- A server of one small model, and photographs of 1200 px: what it is asked at twice its capacity is dozens a second.
- Linux on a local disk. Not Windows, not network file systems, not a GPU, not OpenVINO.
- Signals, not power cuts: what a disk keeps of a file that was written, its file system decides.
- A changed byte in the pixels of a JPEG, TIFF, WebP, BMP, GIF or PPM: those have no checksum, so it is read as it is.
- Inputs are mutated at random, not guided by what the decoders do with them: it is no fuzzing of Pillow or
  ONNX Runtime, whose faults cavga inherits.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(text(), encoding="utf-8")


def text() -> str:
    """The page, from what was measured if it was."""
    title, asked = "Reliability", "What happens with damaged files, odd names, signals and full disks?"
    if not (FOLDER / "faults.jsonl").is_file():
        return Page(title, asked, "", (NOT_MEASURED,)).text()
    return page(read_result("faults"), title, asked).text()


def page(content: Mapping[str, Any], title: str, asked: str) -> Page:
    """The page of one run of all attacks."""
    rows = content["rows"]
    tried, wrong = (sum(row[name] for row in rows) for name in ("tried", "wrong"))
    slowest, peak = max(row["slowest_seconds"] for row in rows), max(row["peak_mib"] for row in rows)
    found = (
        f"{tried:,} inputs were tried, and {wrong or 'none'} of them showed a fault. "
        f"The slowest command took {slowest:g} s, the largest {peak:,} MiB."
    )
    outcomes = "\n".join(f"- **{name}**: {meaning}" for name, meaning in content["outcomes"].items())
    rules = RULES.format(largest=f"{content['largest_peak_mib']:,}", outcomes=outcomes)
    method = METHOD.format(
        seed=content["seed"],
        full_disk=content["full_disk"],
        machine=", ".join(f"{key} {value}" for key, value in content["machine"].items()),
        packages=", ".join(f"{name} {value}" for name, value in content["packages"].items()),
    )
    promises = f"## The promises\n\n{_promises(rows)}"
    table = f"## What came out\n\n{_table(rows, content['outcomes'])}"
    return Page(title, asked, found, (promises, rules, table, _faults(rows), method, NOT_COVERED))


def _table(rows: Sequence[Row], outcomes: Mapping[str, str]) -> str:
    head = ["attack", "tried", *outcomes]
    lines = [[f"{row['kind']}: {row['attack']}", *(str(row[name]) for name in head[1:])] for row in rows]
    total = ["all", *(str(sum(row[name] for row in rows)) for name in head[1:])]
    return markdown(head, [*lines, total])


def _promises(rows: Sequence[Row]) -> str:
    """A line for each promise: which attacks tried it, and what was counted."""
    lines = []
    for promise, attacks in PROMISES.items():
        found = [row for row in rows if {row["kind"], f"{row['kind']}: {row['attack']}"} & set(attacks)]
        tried, wrong = (sum(row[name] for row in found) for name in ("tried", "wrong"))
        more = {name: value for row in found for name, value in row.get("measured", {}).items()}
        said = [f"{value:,} {MEASURED[name]}" for name, value in more.items()]
        if tried:
            lines.append([promise, ", ".join(attacks), f"{tried:,}", f"{tried - wrong:,}", "; ".join(said)])
    return markdown(["promise", "attacks", "tried", "survived", "counted"], lines)


def _faults(rows: Sequence[Row]) -> str:
    """The first faults of each attack, if there are any."""
    found = [f"- {row['kind']}, {row['attack']}: {row['wrong']}" for row in rows if row["wrong"]]
    return "\n".join(["## Faults that stand", "", *found]) if found else ""


if __name__ == "__main__":
    main()
