import pytest

from tests.conftest import write_category


@pytest.fixture
def labelled(tmp_path):
    """Three bad images to train on, five to test on."""
    return write_category(tmp_path / "labelled", num_bad=5, num_labelled=3)


@pytest.fixture
def unlabelled(tmp_path):
    """Bad images in the test set alone."""
    return write_category(tmp_path / "unlabelled", num_bad=5)
