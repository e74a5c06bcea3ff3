import pytest


def section(rows: list[dict]) -> str:
    from docs.generate.deployment import deployment

    machine = {"processor": "x86_64", "instructions": {"avx2": True, "avx512_vnni": False}}
    return deployment({"machine": machine, "method": "in turn", "files": 48, "parts": {"forward": {"rows": rows}}})


def row(median: float, *, bound: float = 2.0, at_least: bool) -> dict:
    quartiles = {"lower_quartile": median - 0.1, "upper_quartile": median + 0.1}
    return {"what": "A / B", "median": median, **quartiles, "bound": bound, "at_least": at_least}


@pytest.mark.parametrize(
    ("median", "at_least", "shown"),
    [
        (1.9, False, "≤ 2.00 | yes"),
        (2.1, False, "≤ 2.00 | no"),
        (2.1, True, "≥ 2.00 | yes"),
        (1.9, True, "≥ 2.00 | no"),
    ],
)
def test_a_ratio_stands_beside_its_bound(median, at_least, shown):
    assert f"| A / B | {median:.3f} | {median - 0.1:.3f} to {median + 0.1:.3f} | {shown} |" in section(
        [row(median, at_least=at_least)]
    )


def test_what_could_not_be_measured_says_why():
    assert "| A / B | - | no environment |" in section([{"what": "A / B", "median": None, "note": "no environment"}])


def test_the_processors_instructions_are_named():
    assert "has avx2 and lacks avx512_vnni" in " ".join(section([]).split())
