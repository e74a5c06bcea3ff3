"""What stands behind the page: its routes at a real server, what they refuse, and that no path leads out."""

import json
import shutil
import time
from pathlib import Path

import httpx
import pytest

from cavga.marking.marks import withdraw_marks
from cavga.service.page_files import INDEX
from cavga.service.settings import MIB
from tests.conftest import GOLDEN, is_one_complaint, run_command, save_image, texture
from tests.marking.conftest import marking_config
from tests.service.running import Running, png, running
from tests.service.test_doors import TOKEN, bomb, reason


@pytest.fixture(scope="module")
def learnt(category: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that can be marked, shared: copy it before changing it."""
    from cavga.training.train import train

    return train(category, tmp_path_factory.mktemp("runs") / "page", marking_config())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A projects folder with a project `part` that has the golden model and three photographs to inspect."""
    folder = tmp_path / "projects/part"
    shutil.copytree(GOLDEN, folder / "runs/001")
    (folder / "project.json").write_text("{}", encoding="utf-8")
    for i in range(3):
        save_image(folder / f"inspect/{i}.png", texture(100 + i))
    return folder.parent


@pytest.fixture
def page(root: Path):
    with running({}, projects=root) as found:
        yield found


def post(server: Running, where: str, /, **content) -> httpx.Response:
    return server.client.post(where, json=content)


def upload(server: Running, name: str, content: bytes, which: str = "good", project: str = "part") -> httpx.Response:
    where = f"/projects/{project}/photographs"
    return server.client.post(where, params={"set": which, "file": name}, content=content)


def inspected(server: Running, project: str = "part") -> dict:
    """What is known once nothing is being scored any more."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = server.client.get(f"/projects/{project}/inspection").json()
        waiting = [row for row in found["photographs"] if row.get("score") is None and not row.get("error")]
        if not found["scoring"]["is_running"] and not waiting:
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def test_the_page_is_its_own_and_loads_nothing_from_elsewhere(page):
    response = page.client.get("/")
    policy = response.headers["content-security-policy"]
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "//" not in policy
    folder = Path(__file__).parents[2] / "src/cavga/service/page"
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
        assert "innerHTML" not in text, path
        if path.name != INDEX:
            assert page.client.get(f"/page/{path.name}").text == path.read_text(encoding="utf-8")
    for name in ("other.js", "..%2f__init__.py", "%2e%2e%2fapp.py"):
        assert page.client.get(f"/page/{name}").status_code == 404


def test_without_the_page_there_are_no_projects(server):
    for path in ("/", "/page/app.js", "/projects", "/jobs", "/folders"):
        assert server.client.get(path).status_code == 404


def test_a_project_is_made_filled_and_checked(page, root):
    assert post(page, "/projects", name=" Prüfteil 3 ").json() == {"name": "Prüfteil 3"}
    for i in range(3):
        assert upload(page, f"C:\\photos\\{i}.png", png(texture(i)), project="Prüfteil 3").json()["is_new"]
    assert not upload(page, "1.png", png(texture(1)), project="Prüfteil 3").json()["is_new"]
    assert sorted(path.name for path in (root / "Prüfteil 3/good").iterdir()) == ["0.png", "1.png", "2.png"]
    assert post(page, "/projects/Prüfteil 3/check").status_code == 200
    state = page.client.get("/projects/Prüfteil 3").json()
    while state["check"]["is_running"]:
        state = page.client.get("/projects/Prüfteil 3").json()
    assert (state["num_good"], state["check"]["counts"]["train_normal"], state["check"]["is_current"]) == (3, 3, True)
    assert any("fewer than 20" in finding["problem"] for finding in state["check"]["findings"])
    gone = post(page, "/projects/Prüfteil 3/photographs/remove", set="good", names=["1.png"])
    assert gone.json() == {"num_removed": 1}
    assert not page.client.get("/projects/Prüfteil 3").json()["check"]["is_current"]
    picture = page.client.get("/projects/Prüfteil 3/picture", params={"set": "good", "file": "0.png", "side": 160})
    assert picture.headers["content-type"] == "image/jpeg"


def test_photographs_are_scored_as_they_come_as_predict_does(page, spot):
    assert upload(page, "spot.png", spot, "inspect").status_code == 200
    found = inspected(page)
    rows = {row["name"]: row for row in found["photographs"]}
    assert sorted(rows) == ["0.png", "1.png", "2.png", "spot.png"]
    answer = page.predict(spot, where="/models/part/predict").json()
    assert rows["spot.png"]["score"] == pytest.approx(answer["score"], rel=1e-5)
    assert rows["spot.png"]["score"] >= found["threshold"] == answer["threshold"]
    response = page.client.get("/projects/part/map", params={"file": "spot.png"})
    height, width = map(int, response.headers["x-map-size"].split())
    assert len(response.content) == 4 * height * width


def test_a_folder_of_the_projects_folder_can_be_copied_and_no_other(page, root):
    save_image(root / "incoming/line 3/7.png", texture(7))
    (root / "incoming/line 3/damaged.png").write_bytes(b"x")
    assert page.client.get("/folders").json()["folders"] == ["incoming", "incoming/line 3"]
    done = post(page, "/projects/part/photographs/copy", set="inspect", folder="incoming/line 3").json()
    assert (done["num_new"], len(done["refused"])) == (1, 1)
    assert done["refused"][0].startswith("damaged.png: ")
    for folder in ("..", "/etc", "incoming/../..", "part/good", ".", ""):
        assert reason(post(page, "/projects/part/photographs/copy", set="good", folder=folder)) == (404, "not_there")
    wrong = post(page, "/projects/part/photographs/copy", set="../runs", folder="incoming")
    assert reason(wrong) == (404, "not_there")


@pytest.mark.parametrize("name", ["..%2f..", "nowhere", "part%00", "part%2f..%2fpart", "%2fetc"])
def test_projects_are_looked_up_by_their_names_alone(page, name):
    for path in ("", "/inspection", "/photographs", "/model.onnx"):
        assert page.client.get(f"/projects/{name}{path}").status_code == 404


@pytest.mark.parametrize("file", ["../../project.json", "/etc/passwd", "..", "0.png/..", "deep/0.png", "", "0.png\0"])
def test_photographs_are_looked_up_by_their_names_alone(page, file):
    for path, more in (("picture", {"set": "inspect"}), ("map", {})):
        response = page.client.get(f"/projects/part/{path}", params={"file": file, **more})
        assert reason(response) == (404, "not_there")
    assert reason(post(page, "/projects/part/photographs/remove", set="inspect", names=[file]))[0] == 404
    assert reason(post(page, "/projects/part/marks", name=file, label="bad"))[0] == 404


def test_what_is_no_photograph_is_left_out_and_named(page, root):
    for name, content, status in (
        ("damaged.png", b"\x89PNG", 422), ("page.html", b"<script>", 422), ("large.png", bomb(20_000, 20_000), 413),
        ("none.png", b"", 422), ("x.svg", b"<svg/>", 422), ("", png(texture(1)), 422),
    ):  # fmt: skip
        response = upload(page, name, content)
        assert response.status_code == status
        assert name in response.json()["error"]["message"]
        assert str(root) not in response.text
    assert not (root / "part/good").exists()


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/projects", {"name": "../x"}, 422),
        ("/projects", {"name": "<img src=x onerror=alert(1)>"}, 422),
        ("/projects", {"name": "part"}, 422),
        ("/projects", {"name": 3}, 422),
        ("/projects", {"name": "x", "path": "/etc"}, 422),
        ("/projects/part/train", {"variant": "--help"}, 422),
        ("/projects/part/train", {"encoder": "--config=/etc/passwd"}, 422),
        ("/projects/part/train", {"image_size": "1;2"}, 422),
        ("/projects/part/train", {"false_alarm_rate": 2}, 422),
        ("/projects/part/train", {"resume": True}, 422),
        ("/projects/part/rate", {"false_alarm_rate": 0}, 422),
        ("/projects/part/rate", {}, 422),
        ("/projects/part/use", {"number": "../../x"}, 422),
        ("/projects/part/use", {"run": ".."}, 404),
        ("/projects/part/marks", {"name": "0.png", "label": "perhaps"}, 422),
        ("/jobs/1/cancel", {}, 404),
    ],
)
def test_bodies_that_hold_something_else(page, root, path, content, status):
    inspected(page)
    response = post(page, path, **content)
    assert reason(response)[0] == status
    assert str(root) not in response.text
    assert page.client.post(path, content=b"x", headers={"Content-Type": "text/plain"}).status_code in (404, 415)
    assert page.client.get("/jobs").json() == {"jobs": []}


@pytest.mark.parametrize("headers", [{"Origin": "http://elsewhere.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_other_sites_pages_reach_nothing(page, root, headers):
    assert reason(page.client.post("/projects", json={"name": "x"}, headers=headers)) == (403, "cross_site")
    assert reason(page.client.get("/projects", headers=headers)) == (403, "cross_site")
    assert not (root / "x").exists()


def test_the_token_opens_everything_but_the_page_itself(root):
    with running({}, projects=root, token=TOKEN) as server:
        for path in ("/", "/page/app.js", "/page/style.css"):
            assert server.client.get(path).status_code == 200
        for path in ("/projects", "/projects/part", "/folders", "/jobs", "/projects/part/model.onnx", "/pages"):
            assert reason(server.client.get(path)) == (401, "token")
        known = {"Authorization": f"Bearer {TOKEN}"}
        assert server.client.get("/projects", headers=known).status_code == 200


def test_what_is_too_long_is_refused(root):
    with running({}, projects=root, max_body_bytes=MIB) as server:
        assert reason(upload(server, "a.png", bytes(MIB + 1))) == (413, "body_size")


def test_marks_are_those_of_the_command(root, learnt):
    run = root / "part/runs/002"
    shutil.copytree(learnt, run)
    with running({}, projects=root) as server:
        rows = inspected(server)["photographs"]
        assert [row["mark"] for row in rows] == [None] * 3
        assert post(server, "/projects/part/marks", name="0.png", label="bad").status_code == 200
        assert post(server, "/projects/part/marks", name="1.png", label="bad").status_code == 200
        assert post(server, "/projects/part/marks", name="1.png", label="good").status_code == 200
        assert post(server, "/projects/part/marks", name="2.png", label="bad").status_code == 200
        assert post(server, "/projects/part/marks", name="2.png", label=None).status_code == 200
        marks = {row["name"]: row["mark"] for row in inspected(server)["photographs"]}
        assert marks == {"0.png": "bad", "1.png": "good", "2.png": None}
        withdraw_marks(run, [root / "part/inspect/0.png"])  # what the command does is seen
        assert inspected(server)["photographs"][0]["mark"] is None
        guarantees = post(server, "/projects/part/rate", false_alarm_rate=0.3).json()["guarantees"]
        assert any("normal images" in sentence for sentence in guarantees)
        inspected(server)
        table = server.client.get("/projects/part/predictions.csv", params={"only": "marked"}).text
        assert table.count("\n") == 2
        assert "1.png" in table


def test_a_photograph_that_it_was_trained_on_is_not_marked(root, learnt, category):
    shutil.copytree(learnt, root / "part/runs/002")
    shutil.copy(category / "train/good/000.png", root / "part/inspect/seen.png")
    with running({}, projects=root) as server:
        inspected(server)
        response = post(server, "/projects/part/marks", name="seen.png", label="good")
        assert reason(response) == (422, "unusable")
        assert "trained on this very photograph" in response.text
        assert str(root) not in response.text


def test_another_threshold_is_in_force_at_once_and_everywhere(page, spot):
    before = inspected(page)
    assert post(page, "/projects/part/rate", threshold=1e6).status_code == 200
    after = inspected(page)
    assert after["threshold"] == 1e6
    assert after["version"] != before["version"]
    assert page.predict(spot, where="/models/part/predict").json()["threshold"] == 1e6
    assert "kept no scores" in post(page, "/projects/part/rate", false_alarm_rate=0.2).text


def test_the_model_that_is_picked_answers_and_still_does_after_a_new_start(root, spot):
    shutil.copytree(root / "part", root / "other")
    with running({}, projects=root) as server:
        assert server.predict(spot).json()["model"] == "other"  # the first one
        assert post(server, "/projects/part/pick").json() == {"picked": "part"}
        assert server.predict(spot).json()["model"] == "part"
    with running({}, projects=root) as server:
        assert server.predict(spot).json()["model"] == "part"
        post(server, "/projects", name="new")
        assert reason(post(server, "/projects/new/pick"))[0] == 422
        assert {model["name"] for model in server.client.get("/models").json()["models"]} == {"other", "part"}


def test_without_any_model_predict_says_so(tmp_path, spot):
    with running({}, projects=tmp_path / "projects") as server:
        assert reason(server.predict(spot)) == (503, "no_model")
        assert server.client.get("/v2/health/ready").status_code == 200
        assert not (tmp_path / "projects").exists()


def test_nothing_is_learnt_from_no_photographs(tmp_path):
    with running({}, projects=tmp_path / "projects") as server:
        post(server, "/projects", name="new")
        assert "has no good photographs" in post(server, "/projects/new/train").json()["error"]["message"]


def test_downloads_hold_what_was_inspected(page):
    inspected(page)
    table = page.client.get("/projects/part/predictions.csv")
    assert table.headers["content-disposition"] == "attachment; filename*=utf-8''part.csv"
    assert table.text.count("\n") == 4
    assert page.client.get("/projects/part/overlays.zip").content.startswith(b"PK")
    assert page.client.get("/projects/part/model.onnx").content == (GOLDEN / "model.onnx").read_bytes()
    assert page.client.get("/projects/part/predictions.csv", params={"only": "odd"}).status_code == 422


def test_training_needs_torch_and_says_so_where_there_is_none(page, monkeypatch):
    monkeypatch.setattr("cavga.service.workbench.find_spec", lambda _name: None)
    assert "cavga[train]" in page.client.get("/projects").json()["cannot_train"]
    for path in ("train", "refit"):
        response = post(page, f"/projects/part/{path}")
        assert reason(response) == (501, "missing_extra")
        assert "cavga[train]" in response.json()["error"]["message"]
    assert inspected(page)["photographs"]  # and goes on


def test_a_full_disk_is_said(page, root, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    response = upload(page, "a.png", png(texture(1)))
    assert reason(response) == (507, "not_written")
    assert "No space left" in response.text
    assert list((root / "part/good").iterdir()) == []


def test_folders_that_are_no_projects_are_named(root):
    (root / "<b>x").mkdir()
    (root / "<b>x/project.json").write_text("{}", encoding="utf-8")
    with running({}, projects=root) as server:
        assert server.client.get("/projects").json()["not_shown"] == ["<b>x"]


def test_the_routes_of_the_page_are_not_described_to_others(page):
    paths = json.loads(page.client.get("/openapi.json").text)["paths"]
    assert not [path for path in paths if path.startswith(("/projects", "/jobs", "/folders", "/page"))]


def test_the_command_needs_something_to_serve_and_other_names(capsys, root, monkeypatch):
    code, _, err = run_command(capsys, "serve", "--no-page")
    assert code == 2
    assert is_one_complaint(err)
    monkeypatch.setattr("cavga.service.server.listening", lambda _settings: (_ for _ in ()).throw(AssertionError))
    code, _, err = run_command(capsys, "serve", f"part={GOLDEN}", "--projects", root)
    assert code == 2
    assert "part" in err
