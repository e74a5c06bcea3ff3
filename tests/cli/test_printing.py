from cavga.cli.printing import left_out_lines


def test_what_an_evaluation_leaves_out_is_said_and_why_figures_are_missing():
    counts = {"excluded": 4, "test_normal": 0, "test_anomalous": 6}
    left_out, missing = left_out_lines(counts)
    assert left_out.startswith("4 of the labelled images are left out")
    assert missing.startswith("no good images are left to test")
    assert left_out_lines({"excluded": 0, "test_normal": 3, "test_anomalous": 6}) == []
