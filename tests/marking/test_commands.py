import json
import shlex

import pytest

import cavga
from tests.conftest import run_command


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Refits without an export."""
    monkeypatch.setattr("cavga.marking.refit.export_refitted", lambda *_args, **_settings: None)


def test_the_commands_go_through_a_week(run, photographs, capsys):
    def done(line):
        code, out, err = run_command(capsys, *shlex.split(line.format(run=run, photographs=photographs)))
        assert code == 0, err
        return out

    assert "4 photographs marked; 4 bad and 0 good" in done("mark '{run}' '{photographs}/bad' --bad --type square")
    done("mark '{run}' '{photographs}/good/0.png' --good")
    assert "4 were marked so already" in done("mark '{run}' --bad '{photographs}/bad' --type square")
    done("mark --good '{run}' '{photographs}/good/1.png' --json '{photographs}/good/2.png'")
    assert "2 photographs withdrawn" in done(
        "mark '{run}' --withdraw '{photographs}/good/1.png' '{photographs}/good/2.png'"
    )
    assert done("mark '{run}' --list").count("square") == 4
    assert "version 001" in done("refit '{run}'")
    assert "001 *" in done("versions '{run}'")
    assert "version 000 now" in done("use '{run}' 000")
    assert "1 photographs withdrawn" in done("mark '{run}' '{photographs}/good/0.png' --withdraw")
    assert len(json.loads(done("suggest '{run}' '{photographs}/good' -k 2 --json"))["suggestions"]) == 2
    assert "never refitted" not in done("versions '{run}'")


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ("", "expected one of --bad, --good"),
        ("x.png --bad --good", "expected one of --bad, --good"),
        ("--bad", "--bad needs photographs"),
        ("x.png --list", "--list takes no photographs"),
        ("--list x.png", "--list takes no photographs"),
        ("--bad x.png --surely", "unrecognized arguments"),
        ("x.png --good --type scratch", "--type names a defect"),
        ("nothing.png --bad", "no such image or folder"),
        ("--import nothing.csv", "no such file"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(trained, capsys, flags, match):
    code, _, err = run_command(capsys, "mark", str(trained), *flags.split())
    assert code in (2, 3)
    assert match in err
    assert len(err.strip().splitlines()) == 1


def test_the_same_from_python(run, photographs):
    marked = cavga.mark(run, bad=photographs / "bad", good=[photographs / "good/0.png"], defect_type="square")
    assert "4 bad and 1 good" in repr(marked)
    done = cavga.refit(run)
    assert done.number == "001"
    assert cavga.versions_of(run)[-1].is_in_use
    assert json.dumps(done.as_dict())
    cavga.use_version(run, "000")
    assert len(cavga.suggest(run, photographs / "good", count=2).suggestions) == 2
    assert "3 bad and 1 good" in repr(cavga.withdraw(run, photographs / "bad/0.png"))
