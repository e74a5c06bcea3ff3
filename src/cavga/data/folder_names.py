"""What the names of folders say of the images in them: good, bad, a mask, a split. No torch.

Names are compared without case, accents, digits and signs, so that "i.O.", "IO" and "io 2" are one word.
"""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from cavga.images.walk import subfolders

GOOD, BAD, MASK, TEST = "good", "bad", "mask", "test"
UNCLEAR = "unclear"


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_GOOD = _set(
    "good goods ok okay normal normals nondefective nondefect defectfree nodefect nodefects pass passed accept "
    "accepted acceptable conforming flawless healthy intact clean uncracked undamaged unbroken aware "  # English
    "gut gute gutteil gutteile io iordnung inordnung fehlerfrei einwandfrei "  # German
    "bon bons bonne bonnes conforme conformes normale normales normaux sansdefaut "  # French
    "bueno buenos buena buenas bien aceptado aprobado sindefecto sindefectos "  # Spanish
    "buono buoni buona buone idoneo normali bom boa boas aprovado semdefeito "  # Italian, Portuguese
    "goed goede goedgekeurd god goda godkand godkjent godkendt hyva dobry dobre dobra dobrze iyi saglam "
    "норма нормальные хорошие хорошо годные годен добре "  # Russian, Ukrainian
    "合格 合格品 良品 良 好 好品 正常 正常品 无缺陷 無缺陷 양품 정상 합격"  # Chinese, Japanese, Korean
)
_BAD = _set(
    "bad bads ng ngs nok nio ko nogood notgood notok nonok fail failed fails failure failures scrap scrapped broken "
    "damaged damage dirty cracked bware flawed flaw flaws nonconforming nonconformity notpass notpassed unhealthy "
    "notnormal nonnormal "
    "nichtio nichtgut niok ausschuss fehler fehlerteile fehlteile "
    "mauvais mauvaise mauvaises defaut defauts nonconforme nonconformes rebut rebuts pasbon "
    "malo malos mala malas noconforme noconformes rechazo rechazado rechazados "
    "difetto difetti difettoso difettosi difettose scarto scarti cattivo cattivi ruim ruins defeito defeitos reprovado "
    "slecht slechte afkeur afgekeurd dalig daliga feil fel virhe zly zle vadny vadne wadliwe hatali kusurlu hata "
    "брак бракованные дефект дефекты плохие "
    "不良 不良品 不合格 不合格品 异常 異常 缺陷 缺陷品 次品 坏 壞 废品 廢品 瑕疵 欠陥 欠陥品 "
    "불량 불량품 이상 결함 불합격"
)
_BAD_STEMS = ("defect", "anomal", "abnormal", "reject", "fault", "schlecht", "defekt", "anormal", "irregular")
_MASK = _set(
    "mask masks groundtruth groundtruths gt gts segmentation segmentations binarymask binarymasks truemask truemasks "
    "maske masken masque masques mascara mascaras maschera maschere maskers 掩码 掩膜 标注 マスク 마스크"
)
# Which of the two is bad differs from set to set; so it does of folders 0 and 1.
_EITHER = _set("positive positives negative negatives pos neg true false yes no ja nein")
_NUMBERED = frozenset(("0", "1"))
_LABELS = _set("label labels annotation annotations")  # masks beside good images, but a defect's name elsewhere
_SPLITS = {
    **{"train": "train", "training": "train", "test": "test", "testing": "test"},
    **dict.fromkeys(("validation", "valid", "val", "calibration"), "calibration"),
}
# Words that leave the meaning of a name as it is: "good parts", "NG_images".
_NEUTRAL = _set(
    "image images img imgs photo photos photograph photographs picture pictures pic pics part parts piece pieces "
    "sample samples item items product products data class folder set bild bilder teil teile bauteile foto fotos "
    "pieza piezas pezzi"
)


def meaning(name: str) -> str | None:
    """GOOD, BAD, MASK or TEST where the name of a folder says it, else None."""
    words = _words(name)
    bare = "".join(word for word in words if word not in _NEUTRAL)
    return next(filter(None, map(_meaning_of, ("".join(words), bare))), None)


def hint(name: str) -> str | None:
    """As `meaning`, also by one word of several: "bad_batch", "ok_front"; UNCLEAR where a word can mean either.

    That is enough to ask about a folder, and too little to read it so: "normal-light" is no good part.
    """
    if "".join(_words(name)) in _EITHER:
        return UNCLEAR
    return meaning(name) or next(filter(None, (_hint_of(word) for word in _words(name))), None)


def are_numbered(names: Iterable[str]) -> bool:
    """Whether folders side by side are called 0 and 1: good and bad, but nobody knows which is which."""
    return set(names) == _NUMBERED


def _hint_of(word: str) -> str | None:
    found = _meaning_of(word)
    return None if word in _LABELS or found == TEST else found


def _meaning_of(text: str) -> str | None:
    if text in _GOOD:
        return GOOD
    if text in _BAD or text.startswith(_BAD_STEMS):
        return BAD
    if text in _MASK | _LABELS:
        return MASK
    return TEST if _SPLITS.get(text) == "test" else None


def says_good(name: str) -> bool:
    """Whether a folder of this name holds good images."""
    return meaning(name) == GOOD


def says_mask(name: str) -> bool:
    """Whether a folder of this name holds masks, wherever it lies: one called labels need not."""
    return "".join(_words(name)) in _MASK


def split_of(name: str) -> str | None:
    """The split that a name says, in any case: train, test, calibration or other words for these."""
    return _SPLITS.get(name.casefold())


def split_folders(root: Path) -> dict[Path, str]:
    """The folders directly in `root` that are named after a split, and which split that is."""
    found = ((folder, split_of(folder.name)) for folder in subfolders(root))
    return {folder: split for folder, split in found if split is not None}


def folders_of_split(root: Path, split: str) -> list[Path]:
    """The folders directly in `root` that are named after one split."""
    return [folder for folder, found in split_folders(root).items() if found == split]


def mask_folders(root: Path) -> list[Path]:
    """The folders directly in `root` that hold masks by name: ground_truth, masks, labels, in any case."""
    return [folder for folder in subfolders(root) if "".join(_words(folder.name)) in _MASK | _LABELS]


def _words(name: str) -> list[str]:
    """The words of a name in lower case, without accents, digits and signs; a sign between single letters is none."""
    plain = unicodedata.normalize("NFKD", name.casefold())
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter) or ord(letter) >= 0x3000)
    letters = unicodedata.normalize("NFC", letters)
    return "".join(letter if letter.isalpha() else " " for letter in letters).split()
