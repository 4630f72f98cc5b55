"""The commands, started as a reader starts them, in a small clone whose path is not plain ASCII."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from course_lib.cli import lab
from course_lib.paths import ROOT

CODE = {"cell_type": "code", "id": "a", "metadata": {}, "source": "1 + 1", "outputs": []}
CHAPTER = {"cells": [{**CODE, "execution_count": None}], "metadata": {}, "nbformat": 4}
CHAPTER["nbformat_minor"] = 5


@pytest.fixture
def clone(tmp_path):
    """What the commands need of a clone, with one chapter of one cell and no environment."""
    folder = tmp_path / "many futures 课程"
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "course_lib", folder / "course_lib", ignore=skip)
    for name in ("notebooks", "data", "tests"):
        (folder / name).mkdir()
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    (folder / "data" / "README.md").write_text("No data.\n", encoding="utf-8")
    notebook = folder / "notebooks" / "00_one.ipynb"
    notebook.write_text(json.dumps(CHAPTER), encoding="utf-8")
    return folder


def start(clone: Path, *arguments: str, bare: bool = False, before: str = "", **variables: str):
    """Run the commands; `bare` leaves Python its standard library, `before` is run first."""
    code = f"import runpy, sys\n{before}\nsys.argv[1:] = {list(arguments)!r}\n"
    code += "runpy.run_module('course_lib', run_name='__main__')"
    command = [sys.executable, *(["-S"] if bare else []), "-c", code]
    given = {k: v for k, v in os.environ.items() if k not in ("COURSE_HOME", "PYTHONPATH")}
    return subprocess.run(
        command, cwd=clone, env={**given, **variables}, capture_output=True, encoding="utf-8"
    )


def test_help_needs_the_standard_library_only_and_lists_what_exists(clone):
    said = start(clone, "--help", bare=True).stdout
    listed = {line.split()[0] for line in said.splitlines() if line.startswith("    ")}
    assert listed == {"lab", "test", "build", "doctor", "train"}
    (clone / "course_lib" / "cli" / "train.py").unlink()
    assert "train" not in start(clone, "--help", bare=True).stdout


@pytest.mark.parametrize(
    "arguments", [[], ["juggle"], ["lab", "0", "1"], ["lab", "--brows"], ["doctor", "-x"]]
)
def test_a_wrong_command_line_is_refused_with_its_usage(clone, arguments):
    done = start(clone, *arguments, bare=True)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python3 -m course_lib")


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 10, 13), (3, 15, 0)])
def test_a_python_too_old_or_too_new_is_told_which_to_take(clone, version):
    done = start(clone, "lab", bare=True, before=f"sys.version_info = {version}")
    assert done.returncode == 1
    assert "needs Python 3.11 to 3.14; this is Python " + ".".join(map(str, version)) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_old_pythons_can_read_far_enough_to_be_refused(name):
    ast.parse((ROOT / "course_lib" / name).read_text("utf-8"), feature_version=(3, 7))


BARE_ERRORS = {
    "Intel": "import platform; platform.system = lambda: 'Darwin';"
    "platform.machine = lambda: 'x86_64'",
    "GB of disk": "import shutil, types;"
    "shutil.disk_usage = lambda path: types.SimpleNamespace(free=1e9)",
    "sudo apt install python3": "sys.modules['ensurepip'] = None",
    "Cannot write into": "import tempfile; from unittest.mock import Mock;"
    "tempfile.TemporaryFile = Mock(side_effect=PermissionError(13, 'Permission denied'))",
    "could not make the environment": "sys._base_executable = '/bin/false'",
}


@pytest.mark.parametrize("said", BARE_ERRORS)
@pytest.mark.parametrize("command", ["lab", "test"])
def test_what_stands_in_the_way_is_said_in_words(clone, command, said):
    done = start(clone, command, bare=True, before=BARE_ERRORS[said])
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 500
    second = start(clone, command, bare=True, before=BARE_ERRORS[said])
    assert said in second.stderr  # nothing half-made changes the answer


def test_an_unknown_chapter_is_answered_with_the_known_ones(clone):
    done = start(clone, "lab", "7")
    assert done.returncode == 1
    assert done.stderr.startswith("no chapter '7'; permitted: 00_one")


def test_the_tests_run_away_from_the_readers_folder_on_one_thread(clone):
    (clone / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (clone / "tests" / "test_place.py").write_text(
        "import os\n"
        "from course_lib.paths import ROOT, course_home\n"
        "def test_place():\n"
        "    assert not course_home().is_relative_to(ROOT)\n"
        "    assert course_home().is_dir()\n"
        "    assert os.environ['OMP_NUM_THREADS'] == '1'\n"
        "def test_that_fails():\n"
        "    assert False\n",
        encoding="utf-8",
    )
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = start(clone, "test", "-q", "-k", "place and not fails", **alone)
    assert "1 passed, 1 deselected" in done.stdout
    assert done.returncode == 0
    assert start(clone, "test", "-q", **alone).returncode == 1


def failed(done: subprocess.CompletedProcess) -> list[str]:
    return [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAIL")]


def test_doctor_tells_a_good_environment_from_none(clone):
    good = start(clone, "doctor")
    assert (good.returncode, failed(good)) == (0, [])
    assert "device" in good.stdout
    none = start(clone, "doctor", bare=True)
    assert (none.returncode, failed(none)) == (1, ["environment"])
    assert not (clone / ".venv").exists()


def test_doctor_names_what_is_broken(clone, tmp_path):
    broken = tmp_path / "broken"
    info = broken / "jupyterlab_widgets-1.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Name: jupyterlab_widgets\nVersion: 1.1.0\n")
    (broken / "torch.py").write_text("raise ImportError('libgomp.so is missing')\n")
    digest = "0" * 64
    (clone / "data" / "README.md").write_text(f"| `lost.npz` | {digest} |\n", encoding="utf-8")
    shadow = f"import os; os.environ['PYTHONPATH'] = {str(broken)!r}"
    done = start(clone, "doctor", before=shadow)
    assert (done.returncode, failed(done)) == (1, ["torch", "ipywidgets", "data"])
    assert "libgomp.so is missing" in done.stdout
    assert "1.1.0: it needs" in done.stdout
    assert "lost.npz" in done.stdout


def test_on_a_hub_the_copy_is_made_and_no_second_server(clone):
    done = start(clone, "lab", JUPYTERHUB_SERVICE_PREFIX="/user/x/")
    assert done.returncode == 0
    assert str(clone / "my_course" / "00_one.ipynb") in done.stdout


def fetch(url: str, method: str = "GET", body: dict | None = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_lab_serves_the_readers_copy_and_leaves_everything_else_alone(clone, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    code = "import runpy; runpy.run_module('course_lib', run_name='__main__')"
    command = [sys.executable, "-c", code, "lab", "0", "--no-browser"]
    variables = {k: v for k, v in os.environ.items() if k not in ("COURSE_HOME", "SSH_CONNECTION")}
    variables |= {"HOME": str(home), "http_proxy": "http://127.0.0.1:9", "no_proxy": "x"}
    process = subprocess.Popen(
        command, cwd=clone, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, encoding="utf-8",
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Many Futures: http://127.0.0.1:")
        address, token = line.split()[2].split("?")
        base, path = address.split("/lab/tree/")
        assert path == "my_course/00_one.ipynb"
        check_contents(f"{base}/api/contents/{path}?{token}")
        plugin = "@jupyterlab/apputils-extension:notification"
        settings = fetch(f"{base}/lab/api/settings/{plugin}?{token}")
        assert settings["schema"]["properties"]["fetchNews"]["default"] == "false"
        with pytest.raises(urllib.error.HTTPError, match="403"):
            fetch(f"{base}/api/contents")
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().strip() == ""  # one line, and no more
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert list(home.iterdir()) == []
    assert not list((clone / "my_course" / ".jupyter" / "runtime").glob("jpserver-*"))
    assert {p.name for p in clone.iterdir()} - {"my_course"} == {
        "course_lib", "notebooks", "data", "tests", "pyproject.toml", "requirements.lock"
    }  # fmt: skip


def check_contents(url: str) -> None:
    """The save hook takes out a view that stands beside a picture, and leaves the rest."""
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "image/png": "aGk="}
    output = {"output_type": "display_data", "data": view, "metadata": {}}
    cell = {**CODE, "execution_count": 1, "outputs": [output]}
    body = {"type": "notebook", "format": "json", "content": {**CHAPTER, "cells": [cell]}}
    assert fetch(url)["content"]["cells"][0]["source"] == "1 + 1"
    fetch(url, "PUT", body)
    saved = fetch(url)["content"]["cells"][0]["outputs"][0]["data"]
    assert list(saved) == ["image/png"]


def test_a_server_that_ends_at_once_is_reported_with_its_log(tmp_path):
    log = tmp_path / "lab.log"
    log.write_text("one\nNo module named jupyterlab\n", encoding="utf-8")
    server = subprocess.Popen([sys.executable, "-c", ""])
    with pytest.raises(lab.CommandError, match="No module named jupyterlab"):
        lab.wait_until_it_answers(server, tmp_path, "token", log)


def test_a_server_is_known_by_its_token(tmp_path):
    (tmp_path / "jpserver-1.json").write_text('{"port": 1, "token": "old"}')
    (tmp_path / "jpserver-2.json").write_text('{"port": 2, "tok')
    assert lab.find_port(tmp_path, "new") is None
    (tmp_path / "jpserver-2.json").write_text('{"port": 2, "token": "new"}')
    assert lab.find_port(tmp_path, "new") == 2


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {}, False),
        ("linux", {"DISPLAY": ":0"}, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, True),
        ("linux", {"DISPLAY": ":10", "SSH_CONNECTION": "a 1 b 22"}, False),
        ("linux", {"BROWSER": "code", "SSH_CONNECTION": "a 1 b 22"}, True),
        ("darwin", {"SSH_CONNECTION": "a 1 b 22"}, False),
        ("darwin", {}, True),
        ("win32", {}, True),
    ],
)
def test_a_browser_is_opened_only_where_the_reader_sees_it(system, variables, expected):
    assert lab.can_show_browser(system, variables) is expected


def test_over_ssh_the_way_to_the_port_is_said(monkeypatch, capsys):
    monkeypatch.delenv("BROWSER", raising=False)
    monkeypatch.setenv("SSH_CONNECTION", "10.0.0.1 50000 10.0.0.2 22")
    lab.announce("http://127.0.0.1:8890/lab?token=x", 8890, browser=True)
    said = capsys.readouterr().out.splitlines()
    assert "http://127.0.0.1:8890/lab?token=x" in said[0]
    assert "ssh -N -L 8890:127.0.0.1:8890" in said[1]
    assert said[1].endswith("@10.0.0.2")


def test_a_child_that_is_interrupted_gives_its_own_exit_code():
    code = (
        "import subprocess, sys; from course_lib.cli import environment;"
        "child = 'import time\\nprint(1, flush=True)\\ntry: time.sleep(60)'"
        "'\\nexcept KeyboardInterrupt: exit(7)';"
        "sys.exit(environment.call([sys.executable, '-c', child]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        process.stdout.read(1)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 7
