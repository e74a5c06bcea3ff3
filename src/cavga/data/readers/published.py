"""What is published of the known data sets: how many images they have, their classes. No torch.

Counts serve `cavga check`: a difference is a note, since people use subsets.
"""

from cavga.data.readers.layouts import CLASS_LAYOUTS
from cavga.data.records import Catalog

MNIST_CLASSES = tuple(str(digit) for digit in range(10))
FASHION_MNIST_CLASSES = (  # the first is called "T-shirt/top", which is no folder's name
    *("T-shirt_top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

IDX_LABEL_DIGESTS = {  # md5 of the unpacked label files: the two sets have the same file names
    "a25bea736e30d166cdddb491f175f624": "MNIST",
    "27ae3e4e09519cfbb04c329615203637": "MNIST",
    "9018921c3c673c538a1fc5bad174d6f9": "Fashion-MNIST",
    "15d484375f8d13e6eb1aabb0c3f46965": "Fashion-MNIST",
}

_NUM_TEST = 10_000  # of MNIST, Fashion-MNIST and CIFAR-10
_MNIST_TRAIN = (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949)
_MNIST_TEST = (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009)

_ONE_CLASS = {  # folder -> title, classes, how many of each are in the training split and in the test split
    "MNIST": ("MNIST", MNIST_CLASSES, _MNIST_TRAIN, _MNIST_TEST),
    "FashionMNIST": ("Fashion-MNIST", FASHION_MNIST_CLASSES, (6000,) * 10, (1000,) * 10),
    "cifar10": ("CIFAR-10", CIFAR10_CLASSES, (5000,) * 10, (1000,) * 10),
}
_LAG = {"train_normal": 1500, "test_normal": 811, "test_anomalous": 811}
_CLIP_COUNTS = ("training clips", "test clips", "test_normal", "test_anomalous")

# scene -> training clips, test clips, every 5th test frame of each clip: normal, anomalous
_SHANGHAITECH = {
    "01": (83, 34, 1410, 982),
    "02": (15, 3, 100, 133),
    "03": (6, 10, 578, 244),
    "04": (20, 9, 582, 374),
    "05": (66, 8, 634, 201),
    "06": (30, 6, 154, 142),
    "07": (8, 8, 500, 178),
    "08": (49, 12, 346, 401),
    "09": (10, 1, 56, 17),
    "10": (11, 5, 137, 308),
    "11": (10, 1, 40, 28),
    "12": (15, 10, 194, 465),
    "13": (7, 0, 0, 0),
}

# category -> train/good, test/good, then every type of defect
_MVTEC_AD = {
    "bottle": "209 20 broken_large 20 broken_small 22 contamination 21",
    "cable": (
        "224 58 bent_wire 13 cable_swap 12 combined 11 cut_inner_insulation 14 cut_outer_insulation 10 "
        "missing_cable 12 missing_wire 10 poke_insulation 10"
    ),
    "capsule": "219 23 crack 23 faulty_imprint 22 poke 21 scratch 23 squeeze 20",
    "carpet": "280 28 color 19 cut 17 hole 17 metal_contamination 17 thread 19",
    "grid": "264 21 bent 12 broken 12 glue 11 metal_contamination 11 thread 11",
    "hazelnut": "391 40 crack 18 cut 17 hole 18 print 17",
    "leather": "245 32 color 19 cut 19 fold 17 glue 19 poke 18",
    "metal_nut": "220 22 bent 25 color 22 flip 23 scratch 23",
    "pill": "267 26 color 25 combined 17 contamination 21 crack 26 faulty_imprint 19 pill_type 9 scratch 24",
    "screw": "320 41 manipulated_front 24 scratch_head 24 scratch_neck 25 thread_side 23 thread_top 23",
    "tile": "230 33 crack 17 glue_strip 18 gray_stroke 16 oil 18 rough 15",
    "toothbrush": "60 12 defective 30",
    "transistor": "213 60 bent_lead 10 cut_lead 10 damaged_case 10 misplaced 10",
    "wood": "247 19 color 8 combined 11 hole 10 liquid 10 scratch 21",
    "zipper": (
        "240 32 broken_teeth 19 combined 16 fabric_border 17 fabric_interior 16 rough 17 split_teeth 18 "
        "squeezed_teeth 16"
    ),
}
MVTEC_AD_CATEGORIES = tuple(_MVTEC_AD)
SHANGHAITECH_SCENES = tuple(scene for scene, counts in _SHANGHAITECH.items() if counts[1])  # those with a test


def published_counts(set_name: str, part: str | None) -> dict[str, int]:
    """Published numbers of images (of mSTC, clips) of a data set by its folder's name, by those of `found_counts`."""
    if set_name == "mvtec_ad":
        good, test_good, *types = _MVTEC_AD[part or ""].split()
        bad = sum(int(count) for count in types[1::2])
        return {"train_normal": int(good), "test_normal": int(test_good), "test_anomalous": bad}
    if set_name == "shanghaitech":
        return dict(zip(_CLIP_COUNTS, _SHANGHAITECH[part or ""], strict=True))
    if set_name == "lag":
        return dict(_LAG)
    classes, train, test = _ONE_CLASS[set_name][1:]
    k = classes.index(part or "")
    return {"train_normal": train[k], "test_normal": test[k], "test_anomalous": _NUM_TEST - test[k]}


def parts_of(set_name: str) -> tuple[str | None, ...]:
    """The categories, scenes or classes of a data set by its folder's name; (None,) of one without."""
    known = {"mvtec_ad": MVTEC_AD_CATEGORIES, "shanghaitech": tuple(_SHANGHAITECH), "lag": (None,)}
    return known[set_name] if set_name in known else _ONE_CLASS[set_name][1]


def official_counts(catalog: Catalog) -> tuple[str, dict[str, int]] | None:
    """The set that a catalog is of, and its published counts by the names of `found_counts`; None if unknown."""
    if catalog.layout == "mvtec":
        return _mvtec_ad(catalog)
    if catalog.layout == "lag":
        return "LAG (part 1, split of MedIAnomaly)", dict(_LAG)
    if catalog.layout == "shanghaitech":
        return _shanghaitech(catalog)
    return _one_class(catalog)


def found_counts(catalog: Catalog) -> dict[str, int]:
    """What of a catalog can be compared with published counts."""
    test = catalog.split("test")
    counts = {
        "train_normal": sum(record.label == 0 for record in catalog.split("train")),
        "test_normal": sum(record.label == 0 for record in test),
        "test_anomalous": sum(record.label == 1 for record in test),
        "training clips": len({record.group for record in catalog.split("train")}),
        "test clips": len({record.group for record in test}),
    }
    types = [record.defect_type for record in test if record.defect_type]
    return counts | {f"test/{name}": types.count(name) for name in set(types)}


def _mvtec_ad(catalog: Catalog) -> tuple[str, dict[str, int]] | None:
    """Known by its category's name and, since many people photograph screws, by its types of defects."""
    good, test_good, *types = _MVTEC_AD.get(catalog.category or "", "0 0").split()
    of_types = {f"test/{name}": int(count) for name, count in zip(types[::2], types[1::2], strict=True)}
    found = {name for name in found_counts(catalog) if name.startswith("test/")}
    if not found or found - set(of_types):
        return None
    return f"MVTec AD {catalog.category}", {"train_normal": int(good), "test_normal": int(test_good), **of_types}


def _shanghaitech(catalog: Catalog) -> tuple[str, dict[str, int]] | None:
    if catalog.category not in _SHANGHAITECH:
        return None
    counts = dict(zip(_CLIP_COUNTS, _SHANGHAITECH[catalog.category], strict=True))
    return f"mSTC (every 5th frame) scene {catalog.category}", counts


def _one_class(catalog: Catalog) -> tuple[str, dict[str, int]] | None:
    """Known by the names of its classes; where container files are read, by some of them."""
    if catalog.layout not in CLASS_LAYOUTS:
        return None
    normal = catalog.category or ""
    names = {normal} | {record.defect_type for record in catalog.records if record.defect_type}
    for title, classes, train, test in _ONE_CLASS.values():
        if names == set(classes) or (catalog.layout != "classes" and names <= set(classes)):
            k = classes.index(normal)
            counts = {"train_normal": train[k], "test_normal": test[k], "test_anomalous": _NUM_TEST - test[k]}
            return f"{title} with normal class {normal}", counts
    return None
