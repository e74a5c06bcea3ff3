"""Take the tables and figures of `cavga benchmark` into benchmarks/results.

python -m benchmarks.collect runs/benchmark
"""

import json
import sys
from pathlib import Path

from benchmarks.result_files import FOLDER, write_result


def main(output: Path, folder: Path = FOLDER) -> list[Path]:
    """Write OUTPUT/NAME.json as NAME.jsonl, for every NAME; returns what was written."""
    return [
        write_result(path.stem, json.loads(path.read_text(encoding="utf-8")), folder)
        for path in sorted(output.glob("*.json"))
    ]


if __name__ == "__main__":
    for written in main(Path(sys.argv[1])):
        print(written)
