"""What a table says besides its grids, in words: state, marks, what is missing, what each value cost."""

from collections.abc import Sequence
from dataclasses import dataclass

from cavga._version import __version__
from cavga.benchmark.tables.grids import GIVEN_GROUP, REPORTED_GROUP, Entry, Row
from cavga.benchmark.tables.lines import Record
from cavga.benchmark.tables.reported import ReportedTable, trusts

REPORTED, GIVEN = "†", "‡"  # marks of figures that were not measured here
MARKS = {REPORTED_GROUP: REPORTED, GIVEN_GROUP: GIVEN}
READING = (
    "IoU is of the anomalous class, over all test pixels at once; AUROC is of raw scores. The best value of a row, "
    "whichever column it is in, is bold. A mean over fewer parts than the paper's takes no part in that, and has no "
    "difference. Standard deviations are over seeds. Peak memory is that of the process while the experiment ran, "
    "torch included."
)


@dataclass(frozen=True)
class TableContent:
    """What a table's files are written from."""

    name: str
    rows: Sequence[Row]
    """Of the experiments that were run so far, failed ones too."""
    num_experiments: int
    absent: Sequence[dict[str, str]]
    """Data sets that are not there: `data` and `message`."""
    reported: ReportedTable | None

    @property
    def title(self) -> str:
        return self.name if self.reported is None else self.reported.title

    @property
    def state(self) -> str:
        """One sentence: how far the table is."""
        done, failed = (sum(bool(row["error"]) == is_failed for row in self.rows) for is_failed in (False, True))
        parts = [
            f"cavga benchmark {self.name}, cavga {__version__}: "
            f"{done} of {self.num_experiments} experiments are finished"
        ]
        parts += [f"{failed} failed"] if failed else []
        waiting = self.num_experiments - done - failed
        parts += [f"{waiting} to come"] if waiting else []
        parts += [f"not there: {', '.join(item['data'] for item in self.absent)}"] if self.absent else []
        return ", ".join(parts) + "."

    @property
    def trouble(self) -> list[tuple[str, list[str]]]:
        """What is missing from the table, and why: heading and lines."""
        failed = [f"{r['cell']}, {r['data']}, seed {r['seed']}: {r['error']}" for r in self.rows if r["error"]]
        parts = [("Data sets that are not there", [item["message"] for item in self.absent])]
        return [(title, texts) for title, texts in [*parts, ("Experiments that failed", failed)] if texts]


def marks(content: TableContent, lines: Sequence[Record]) -> list[str]:
    """What has to be said under every table."""
    texts = []
    reported = content.reported
    if reported and any(line.source == "reported" for line in lines):
        degrees = "; ".join(trust for trust in trusts(reported.grids))
        texts.append(
            f"{REPORTED} {reported.mark} ({reported.source}). Not measured here; how surely it is remembered: "
            f"{degrees}. The paper's two or three decimals are filled up to three."
        )
    if any(line.source == "given" for line in lines):
        texts.append(f"{GIVEN} Not measured here, nor recalled from the paper: from the file given with --reported.")
    if reported and reported.is_part_hidden:
        texts.append("Figures of the paper that are remembered less surely are not shown; --shaky shows them.")
    return [*texts, READING, *(reported.notes if reported else ())]


def mark_of(entry: Entry | None) -> str:
    """The mark behind a value; none behind a measured one."""
    if entry is None or entry.trust is None:
        return ""
    return GIVEN if entry.is_given else REPORTED


def value_text(entry: Entry | None) -> str:
    """A value with its standard deviation, and over how many parts it is where some are missing."""
    if entry is None:
        return ""
    deviation = "" if entry.deviation is None else f" ± {entry.deviation:.3f}"
    lacking = "" if entry.num_parts is None else f" ({entry.num_parts[0]} of {entry.num_parts[1]})"
    return f"{entry.value:.3f}{deviation}{lacking}"


def compared(lines: Sequence[Record]) -> list[dict[str, str]]:
    """The measured values, each beside what is reported, and what it cost: column -> text."""
    return [
        {
            "row": line.row,
            "model": line.column,
            "measured": _number(line.value, 3) + ("" if line.deviation is None else f" ± {line.deviation:.3f}"),
            "reported": _reported(line),
            "difference": "" if line.difference is None else f"{line.difference:+.3f}",
            "minutes": _number(line.minutes, 1),
            "images/s": _number(line.images_per_second, 1),
            "peak memory": "" if line.peak_memory_mb is None else f"{line.peak_memory_mb:,.0f} MB",
            "seeds": line.seeds or "",
            "note": line.note or "",
        }
        for line in lines
        if line.source == "measured"
    ]


def _reported(line: Record) -> str:
    if line.reported is None:
        return ""
    return f"{line.reported:.3f} {GIVEN if line.reported_is_given else REPORTED} ({line.reported_column})"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
