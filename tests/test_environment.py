"""The environment: what satisfies it, what was half made, and each thing that stands in the way."""

import hashlib
import json
import os
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from course_lib.cli import environment, install, machine, pip
from course_lib.cli.environment import CommandError
from course_lib.paths import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PINS = [Requirement(line.split(" \\")[0]) for line in re.findall(r"^\w.*", LOCK, re.MULTILINE)]
SYSTEMS = [
    {"sys_platform": "linux", "platform_machine": "x86_64", "os_name": "posix"},
    {"sys_platform": "win32", "platform_machine": "AMD64", "os_name": "nt"},
    {"sys_platform": "darwin", "platform_machine": "arm64", "os_name": "posix"},
]


def pinned(python: str, system: dict) -> dict[str, Version]:
    where = {**system, "python_version": python, "python_full_version": python + ".9"}
    return {
        canonicalize_name(pin.name): Version(next(iter(pin.specifier)).version)
        for pin in PINS
        if pin.marker is None or pin.marker.evaluate(where)
    }


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system["sys_platform"])
def test_the_lock_meets_every_floor_on_every_system(python, system):
    pins = pinned(python, system)
    project = environment.tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for line in project["dependencies"] + project["optional-dependencies"]["test"]:
        floor = Requirement(line)
        if floor.name != "torch":
            assert floor.specifier.contains(pins[canonicalize_name(floor.name)]), line


def test_the_lock_holds_what_torch_needs_but_not_torch():
    pins = pinned("3.11", SYSTEMS[0])
    chosen = re.compile("torch$|triton|nvidia-|cuda-")
    assert not [name for name in pins if chosen.match(name)]
    for line in metadata.requires("torch"):
        needed = Requirement(line)
        wanted = needed.marker is None or Marker(str(needed.marker)).evaluate({"extra": ""})
        if wanted and not chosen.match(needed.name):
            assert needed.specifier.contains(pins[canonicalize_name(needed.name)]), line


def test_every_pin_is_exact_and_hashed_and_names_no_place():
    assert len(PINS) > 100
    assert all([s.operator for s in pin.specifier] == ["=="] for pin in PINS)
    assert len(re.findall(r"==.*\\\n    --hash=sha256:[0-9a-f]{64}", LOCK)) == len(PINS)
    assert not re.search(r"://|--index|--find|\.whl|@", LOCK)


def test_conda_gets_the_same_pins_and_the_same_torch():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    lines = next(d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    given = {str(Requirement(line)) for line in lines if not line.startswith("-")}
    assert given == {str(pin) for pin in PINS} | {f"torch=={environment.TORCH}"}
    assert "-e ." in lines


def test_the_pinned_torch_is_inside_its_own_floor():
    assert environment.is_at_least(environment.TORCH, environment.floors()["torch"])


@pytest.mark.parametrize(
    ("version", "floor", "expected"),
    [
        ("2.13.0+cpu", "2.11", True),
        ("2.9", "2.11", False),
        ("10.0", "9.9.9", True),
        ("2.11", "2.11", True),
        ("2.10.9+cu130", "2.11", False),
    ],
)
def test_versions_compare_by_number_and_without_their_local_part(version, floor, expected):
    assert environment.is_at_least(version, floor) is expected


@pytest.fixture
def env(tmp_path, monkeypatch):
    """A finished .venv in a folder with a space and Chinese characters, holding every floor."""
    folder = tmp_path / "a clone 课程" / ".venv"
    site = folder / "lib" / "python3.11" / "site-packages"
    lock = tmp_path / "requirements.lock"
    lock.write_text("a==1 \\\n    --hash=sha256:0\n", encoding="utf-8")
    names = {"ENV": folder, "LOCK": lock, "STAMP": folder / "many_futures.stamp"}
    names["PYTHON"] = folder / "bin" / "python"
    for module in (environment, install, machine, pip):
        for name, value in names.items():
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    site.mkdir(parents=True)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").touch()
    (folder / "pyvenv.cfg").write_text(f"home = {tmp_path}\n", encoding="utf-8")
    for name, floor in environment.floors(tests=True).items():
        add_package(site, name, floor)
    names["STAMP"].write_text(environment.fingerprint(), encoding="utf-8")
    return folder


def add_package(site: Path, name: str, version: str) -> Path:
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "INSTALLER").write_text("pip\n")
    return info


def test_a_finished_environment_has_no_problem(env):
    assert environment.problem(tests=True) is None


def test_a_changed_lock_is_noticed_but_not_its_line_ends(env):
    environment.LOCK.write_bytes(environment.LOCK.read_bytes().replace(b"\n", b"\r\n"))
    assert environment.problem() is None
    environment.LOCK.write_text("a==2 \\\n    --hash=sha256:1\n", encoding="utf-8")
    assert "another requirements.lock" in environment.problem()


@pytest.mark.parametrize("phase", ["started", "venv"])
def test_an_interrupted_installation_is_noticed(env, phase):
    environment.STAMP.write_text(phase, encoding="utf-8")
    assert "half-made" in environment.problem()


def test_a_vanished_python_is_noticed(env, tmp_path):
    (env / "pyvenv.cfg").write_text(f"home = {tmp_path / 'uninstalled'}\n", encoding="utf-8")
    assert "lost the Python" in environment.problem()


def test_a_removed_or_too_old_package_is_named(env):
    site = environment.site_packages()
    shutil.rmtree(next(site.glob("einops-*")))
    shutil.rmtree(next(site.glob("tqdm-*")))
    add_package(site, "tqdm", "4.1")
    assert "einops is not installed" in environment.problem()
    assert "tqdm is 4.1, needs 4.67" in environment.problem()


def test_a_long_list_of_lacks_is_cut(env):
    for info in environment.site_packages().iterdir():
        shutil.rmtree(info)
    lacks = len(environment.floors()) - 3
    assert f"{lacks} more are missing" in environment.problem()


def test_the_tests_packages_count_for_tests_only(env):
    shutil.rmtree(next(environment.site_packages().glob("nbval-*")))
    assert environment.problem() is None
    assert "nbval" in environment.problem(tests=True)


def test_a_running_python_that_satisfies_is_used_as_it_is(env):
    environment.STAMP.write_text("venv", encoding="utf-8")  # even beside a half-made .venv
    assert environment.find() == Path(sys.executable)


def test_a_bare_python_turns_to_a_finished_environment(env, monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    assert environment.find() == environment.PYTHON
    environment.STAMP.write_text("venv", encoding="utf-8")
    assert environment.find() is None


def test_an_environment_entered_by_hand_still_notices_a_changed_lock(env, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(env))
    assert environment.find() == Path(sys.executable)
    environment.LOCK.write_text("a==2\n", encoding="utf-8")
    assert environment.find() is None


def test_a_package_cut_short_is_unpacked_again(env, monkeypatch):
    site = environment.site_packages()
    cut = add_package(site, "half", "1.0")
    (cut / "INSTALLER").unlink()
    monkeypatch.setattr(pip, "install", lambda *a, **k: None)
    install.install_lock(site)
    assert not cut.exists()
    assert next(site.glob("einops-*")).exists()


def test_the_stamp_is_written_last(env, monkeypatch):
    def install_fails(*arguments, on_line=None):
        if on_line is None:  # torch, the last step
            raise CommandError("no network")

    environment.STAMP.write_text("venv", encoding="utf-8")
    shutil.rmtree(next(environment.site_packages().glob("torch-*")))
    monkeypatch.setattr(pip, "install", install_fails)
    monkeypatch.setattr(machine, "has_nvidia_gpu", lambda: True)
    with pytest.raises(CommandError, match="no network"):
        install.make()
    assert "half-made" in environment.problem()
    monkeypatch.setattr(pip, "install", lambda *a, **k: add_torch(environment.site_packages(), **k))
    install.make()
    assert environment.problem() is None
    line = (environment.site_packages() / "many_futures.pth").read_text("utf-8")
    assert (environment.site_packages() / line.strip()).resolve() == ROOT


def add_torch(site: Path, on_line=None) -> None:
    if on_line is None:
        add_package(site, "torch", environment.TORCH)


def test_only_one_start_makes_the_environment(env):
    second = install.one_at_a_time()
    with install.one_at_a_time(), pytest.raises(CommandError, match="wait until that one is done"):
        second.__enter__()
    with install.one_at_a_time():
        pass


@pytest.mark.parametrize(
    ("system", "gpu", "offered", "expected"),
    [
        ("linux", False, [[]], ["--no-deps", "torch=={}+cpu"]),
        ("linux", False, [["--index-url", install.CPU_INDEX]], ["torch=={}+cpu", "--index-url"]),
        ("linux", False, [], ["torch=={}"]),
        ("linux", True, [[]], ["torch=={}"]),
        ("darwin", False, [[]], ["torch=={}"]),
        ("win32", False, [[]], ["torch=={}"]),
        ("win32", True, [["--index-url", install.CUDA_INDEX]], ["torch=={}+cu130"]),
    ],
)
def test_each_machine_gets_its_torch(system, gpu, offered, expected, monkeypatch):
    monkeypatch.setattr(pip, "offers_torch", lambda version, source: source in offered)
    source = install.torch_source(system, gpu=gpu)
    assert {part.format(environment.TORCH) for part in expected} <= set(source)
    assert ("--no-deps" in source) == bool(offered and (system == "linux") != gpu)


def test_no_network_is_told_from_other_failures_of_pip(monkeypatch, tmp_path):
    monkeypatch.setattr(pip, "COMMAND", [sys.executable, "-m", "pip"])
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(CommandError, match="no connection to the package index"):
        pip.install("--target", str(tmp_path), "einops==0.8.2", on_line=lambda line: None)
    with pytest.raises(CommandError, match=r"It said:\n.*nothing\.whl"):
        pip.install("--no-index", str(tmp_path / "nothing.whl"), on_line=lambda line: None)


def test_a_full_disk_is_named_and_harmless_warnings_are_not_repeated():
    said = ["ERROR: Could not install packages due to an OSError: [Errno 28] No space left"]
    assert "disk is full" in pip.advice([*said, "x on device"])
    noise = "WARNING: Location 'file:///x/' is ignored: it is either a non-existing path"
    assert pip.advice(["ERROR: hash mismatch", noise]).endswith("said:\nERROR: hash mismatch")


def test_progress_counts_packages_and_megabytes(capsys):
    progress = pip.Progress("2/3 Packages", 3)
    for line in [
        "Ignoring appnope: markers 'sys_platform' don't match your environment",
        "Collecting aiohttp==3.14.5 (from -r requirements.lock (line 6))",
        "  Downloading aiohttp-3.14.5-cp311.whl.metadata (8.1 kB)",
        "  Downloading aiohttp-3.14.5-cp311.whl (1.5 MB)",
        "Collecting x==1",
        "  Using cached x-1.tar.gz (500 kB)",
    ]:
        progress.read(line)
    progress.finish()
    assert "2 of 2, 2 MB, 0:00" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("system", "processor", "macos", "maxsize", "said"),
    [
        ("Darwin", "x86_64", "14.1", 2**63 - 1, "Macs with an Intel processor"),
        ("Darwin", "arm64", "13.6.1", 2**63 - 1, "needs macOS 14; this is 13.6.1"),
        ("Windows", "ARM64", "", 2**63 - 1, "take the 64-bit one"),
        ("Windows", "AMD64", "", 2**31 - 1, "take the 64-bit one"),
        ("Darwin", "arm64", "14.0", 2**63 - 1, None),
        ("Windows", "AMD64", "", 2**63 - 1, None),
        ("Linux", "aarch64", "", 2**63 - 1, None),
    ],
)
def test_machines_without_a_torch_are_refused(system, processor, macos, maxsize, said, monkeypatch):
    monkeypatch.setattr(sys, "maxsize", maxsize)
    monkeypatch.setattr(machine.platform, "system", lambda: system)
    monkeypatch.setattr(machine.platform, "machine", lambda: processor)
    monkeypatch.setattr(machine.platform, "mac_ver", lambda: (macos, ("", "", ""), processor))
    if said is None:
        machine.check_platform()
        return
    with pytest.raises(CommandError, match=said):
        machine.check_platform()


def test_a_read_only_clone_is_refused(monkeypatch):
    def refuse(**_):
        raise OSError(30, "Read-only file system")

    machine.check_writable()
    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    with pytest.raises(CommandError, match="Read-only file system"):
        machine.check_writable()


def test_too_little_disk_is_refused_before_anything_is_made(env, monkeypatch):
    usage = shutil.disk_usage(env)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage._replace(free=2_900_000_000))
    with pytest.raises(CommandError, match=r"CPU build.* need 3\.0 GB .* has 2\.9 GB"):
        machine.check_disk("CPU")
    with pytest.raises(CommandError, match="CUDA build"):
        machine.check_disk("CUDA")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage._replace(free=4_000_000_000))
    machine.check_disk("CPU")


def test_a_python_without_venv_names_the_debian_package(monkeypatch):
    machine.check_venv()
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    with pytest.raises(CommandError, match=re.escape(f"apt install python{version}-venv")):
        machine.check_venv()


def test_a_foreign_environment_is_left_alone(env):
    machine.check_owner("in .venv x is not installed")
    environment.STAMP.unlink()
    with pytest.raises(CommandError, match="not made by this command"):
        machine.check_owner("in .venv x is not installed")


def test_the_data_are_compared_with_their_table(tmp_path):
    from course_lib.cli.doctor import check_data

    (tmp_path / "good.npz").write_bytes(b"good")
    digest = hashlib.sha256(b"good").hexdigest()
    table = tmp_path / "README.md"
    table.write_text(f"| file | sha256 |\n|---|---|\n| `good.npz` | {digest} |\n")
    assert [(well, said) for well, _, said in check_data(tmp_path)] == [
        (True, "1 files, all as in data/README.md")
    ]
    table.write_text(table.read_text() + f"| `lost.npz` | {digest} |\n")
    (tmp_path / "good.npz").write_bytes(b"bad")
    (finding,) = check_data(tmp_path)
    assert finding[0] is False
    assert "good.npz, lost.npz" in finding[2]


def test_lab_settings_are_valid_and_calm():
    folder = ROOT / "course_lib" / "cli" / "jupyter" / "labconfig"
    settings = json.loads((folder / "default_setting_overrides.json").read_text("utf-8"))
    assert settings["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"
    assert settings["@jupyterlab/notebook-extension:tracker"]["windowingMode"] == "defer"
