"""Imports only ever point up this list: the rooms of the package, in the order in which data flows."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "cavga"
ROOMS = [
    "_version", "errors", "stopping", "files", "name_matching", "model_file", "resizing", "regions",
    "shapes", "networks", "setting", "config", "toml_files", "presets", "flags", "printing",
    "data.images", "ahead", "roi", "framing", "data.records", "data.manifest", "data.reading",
    "data.known_sets", "data.unpack",
    "data.one_class",
    "data.small_images", "data.lag", "data.video", "data.catalog", "data.contamination", "data.subset",
    "data.check", "data.dataset",
    "data.demo", "data.places", "data.makers", "data.procedural", "data.training_scene", "data.training_kinds",
    "data.training_makers", "data.bold_kinds", "data.made_images",
    "attention", "losses", "coreset", "blur",
    "model.encoder", "model.decoder", "model.discriminator", "model.latent", "model.classifier", "model.prior",
    "model.cell_classifier", "model.region_classifier", "model.cavga",
    "model.variants",
    "model.weights",
    "checkpoint", "gan_weights", "training_log", "objectives", "training", "whitening", "first_filters",
    "inference", "classification", "prior_fitting",
    "self_supervision", "fitting", "significance", "metrics",
    "pixel_metrics", "pixel_counts_file", "paired_bootstrap", "calibration", "calibration_file",
    "engines.engine", "engines.onnx_engine", "engines.openvino_engine",
    "engines.program_engine", "engines.exported", "engines.torch_engine", "decoding", "detector",
    "map_scale", "pictures", "overlays", "page", "prediction_lines", "evaluation_files", "comparing", "evaluation",
    "attention_figure", "report",
    "map_files", "score_file", "foreign_maps", "coco",
    "prediction_folder", "prediction", "bundle_files", "bundle", "runs", "calibrating",
    "drift", "profiling", "self_check", "sections",
    "thresholds",
    "export", "export_check", "quantization", "export_run", "pipeline", "pretraining", "evaluating", "evaluating_maps",
    "self_test_images", "self_test_page", "self_testing", "progress", "demo",
    "measuring", "tables.reported", "tables.grids", "tables.records", "tables.content", "tables.curve", "tables.html",
    "tables.pages",
    "baselines.blur", "baselines.padim", "baselines.patchcore", "baselines.autoencoder", "baselines.ae_l2",
    "baselines.ae_ssim", "baselines.beta_vae", "baselines.advae", "baselines.gamma_vae_g",
    "baselines.label_classifier", "baselines.cam", "baselines.guided_backprop", "baselines.smoothgrad",
    "cells.cell", "cells.at_128_px", "cells.good_only", "cells.data_curve", "cells.small_images", "cells.paper",
    "cells.figures", "cells.tables", "cells.choosing", "cells.manifests", "controls", "benchmark", "estimating",
    "tables.counting", "tables.properties", "tables.property_pages",
    "figures.tested", "figures.strips", "figures.pages", "figures.coverage", "figures.qualitative", "figures.contrast",
    "figures.failures", "figures.improvements", "figures.drawing",
    "verbs.outcome", "verbs.demo", "verbs.check", "verbs.train", "verbs.evaluate", "verbs.export", "verbs.predict",
    "verbs.bundle", "verbs.calibrate", "verbs.compare", "verbs.drift", "verbs.profile", "verbs.pretrain",
    "verbs.benchmark", "cli", "__main__",
]  # fmt: skip
OUTSIDE = {
    "__init__",
    "engines.__init__",
    "verbs.__init__",
    "data.__init__",
    "model.__init__",
    "baselines.__init__",
    "cells.__init__",
    "tables.__init__",
    "figures.__init__",
}


def room_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cavga."):
            room = node.module.removeprefix("cavga.")
            is_package = (SOURCE / room.replace(".", "/")).is_dir()
            found |= {f"{room}.{name.name}" for name in node.names} if is_package else {room}
    return found


def test_every_file_has_a_room():
    assert {room_of(path) for path in SOURCE.rglob("*.py")} == set(ROOMS) | OUTSIDE


def test_imports_point_one_way():
    for path in SOURCE.rglob("*.py"):
        room = room_of(path)
        if room in OUTSIDE:
            continue
        for other in imported_rooms(path):
            assert ROOMS.index(other) < ROOMS.index(room), f"{room} imports {other}, which comes after it"


def test_files_and_functions_are_small():
    for path in SOURCE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 300, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                assert length <= 40, f"{path}: {node.name} has {length} lines"
