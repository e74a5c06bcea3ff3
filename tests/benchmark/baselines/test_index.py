from cavga.benchmark.baselines.index import BASELINES
from cavga.benchmark.experiments.index import TABLES


def test_every_table_that_a_baseline_names_has_it():
    """A table that reads no baselines of that kind would leave it out without a word."""
    for method, baseline in BASELINES.items():
        for table in baseline.tables:
            assert method in {experiment.method for experiment in TABLES[table]((0,), "weights.pth")}, (method, table)
