"""What attention that is trained with its complement adds to the energy of the prior.

python -m studies.complement ROOT RESNET18_WEIGHTS CACHE [--datasets A;B] [--ways A;B] [--seeds 0,1]

r-s, frozen encoder, ImageNet weights. In rows of part `made` are anomalies of the self-test's kinds, on normal images
that no head and no prior of theirs had seen: settings are chosen on those and on the textures. Rows of part `test` are
real photographs and decide nothing. Writes benchmarks/results/complement.jsonl; what it holds is not computed again.
"""

import argparse
import platform
import time
from pathlib import Path

from benchmarks.result_files import FOLDER, read_result, write_result
from cavga.benchmark.textures import TEXTURES
from studies.complement.figures import Row, figures
from studies.complement.heads import LOSSES, Said, said_by_c, said_by_guided_head
from studies.complement.latents import Latents, latents_of
from studies.complement.moved import MOVES, energies_of_moved
from studies.complement.pixels import load_pixels, papers

RESULT = "complement"
NONE, C, BOTH = "energy alone", "C", "C and y"
CHOSEN = "bound 0.9 and complement"
WAYS = (NONE, *(f"y: {name}" for name in LOSSES), C, BOTH, *(f"z moved: {name}" for name in MOVES))
SETS = ("magnetic_tile", "mvtec_ad/screw", "mvtec_loco/juice_bottle", "elpv_mono", *TEXTURES)


def main() -> None:
    """Every set, way and seed that is asked for; the file is written after each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("weights")
    parser.add_argument("cache", type=Path)
    parser.add_argument("--datasets", help="default: all")
    parser.add_argument("--ways", default=";".join(WAYS))
    parser.add_argument("--seeds", default="0")
    args = parser.parse_args()
    names = args.datasets.split(";") if args.datasets else [*SETS, *papers(args.root)]
    rows = list(read_result(RESULT)["rows"]) if (FOLDER / f"{RESULT}.jsonl").is_file() else []
    known = {(row["data"], row["way"], row["seed"]) for row in rows}
    for name in names:
        for seed in map(int, args.seeds.split(",")):
            missing = [way for way in args.ways.split(";") if (name, way, seed) not in known]
            if not missing:
                continue
            latents = latents_of(load_pixels(args.root, name, args.weights, args.cache), seed, args.cache)
            said: dict[str, Said] = {}  # by the ways that are over, for one that joins two of them
            for way in missing:
                start = time.monotonic()
                found = of_way(way, latents, seed, said)
                header = {"data": name, "way": way, "seed": seed, "seconds": round(time.monotonic() - start)}
                rows += [header | row for row in found]
                write_result(RESULT, {"table": RESULT, "machine": platform.machine(), "rows": rows})
                print(header, flush=True)


def of_way(way: str, latents: Latents, seed: int, said: dict[str, Said]) -> list[Row]:
    """Both parts; of a head at every weight that it may have beside the energy."""
    if way == NONE:
        return figures(latents, seed)
    if way.startswith("z moved: "):
        return figures(latents, seed, moved=energies_of_moved(way.removeprefix("z moved: "), latents, seed))
    for part in (C, f"y: {CHOSEN}") if way == BOTH else (way,):
        if part not in said:
            said[part] = said_by_c(latents, seed) if part == C else said_by_guided_head(part[3:], latents, seed)
    return figures(latents, seed, said=said[C] + said[f"y: {CHOSEN}"] if way == BOTH else said[way])


if __name__ == "__main__":
    main()
