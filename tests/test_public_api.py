import importlib.util
import subprocess
import sys

import pytest

import cavga


@pytest.mark.parametrize("name", cavga.__all__)
def test_every_public_name_is_there(name):
    assert getattr(cavga, name) is not None


def test_a_shell_lists_the_public_names_and_no_others():
    assert dir(cavga) == sorted(cavga.__all__)


def test_a_package_does_not_take_the_place_of_a_function():
    import cavga.exporting.export
    import cavga.library

    assert all(callable(getattr(cavga, name)) for name in cavga.__all__ if name != "__version__")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cavga.nothing


def test_the_package_is_typed():
    spec = importlib.util.find_spec("cavga")
    assert spec is not None
    assert spec.origin is not None
    assert (spec.submodule_search_locations or [""])[0]
    from pathlib import Path

    assert (Path(spec.origin).parent / "py.typed").is_file()


def test_import_is_inert():
    check = (
        "import os, sys; before = dict(os.environ); import cavga; assert dict(os.environ) == before; "
        "assert 'numpy' not in sys.modules and 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
