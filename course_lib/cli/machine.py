"""What this machine must offer before anything is installed. The standard library alone."""

import platform
import shutil
import subprocess
import sys
import tempfile

from course_lib.cli import environment
from course_lib.cli.environment import ENV, TORCH, CommandError
from course_lib.paths import ROOT

GIGABYTES = {"CPU": 3, "CUDA": 9}  # .venv without CUDA measured 1.6, and room for pip's cache


def check_platform() -> None:
    """Refuse the machines for which torch has no builds."""
    if platform.system() == "Darwin" and platform.machine() == "x86_64":
        raise CommandError(
            f"PyTorch {TORCH} has no builds for Macs with an Intel processor. On a Mac with Apple "
            "silicon this Python is one for Intel: install the arm64 one from python.org. On an "
            "Intel Mac, use a Linux machine, a container or a hub."
        )
    if platform.system() == "Darwin" and int(platform.mac_ver()[0].split(".")[0]) < 14:
        raise CommandError(f"PyTorch {TORCH} needs macOS 14; this is {platform.mac_ver()[0]}.")
    if sys.maxsize < 2**32 or (platform.system(), platform.machine()) == ("Windows", "ARM64"):
        raise CommandError(
            f"PyTorch {TORCH} has no builds for this Python; take the 64-bit one for Intel and AMD "
            "processors from python.org (Windows on ARM runs it too)."
        )


def check_writable() -> None:
    """Refuse a clone in which no file can be written."""
    try:
        with tempfile.TemporaryFile(dir=ROOT):
            pass
    except OSError as error:
        raise CommandError(
            f"Cannot write into {ROOT} ({error.strerror}). The course keeps its environment and "
            "your work in its own folder: clone it into a folder of yours and start it there."
        ) from error


def check_owner(problem: str | None) -> None:
    """Refuse to change a .venv that something else has made."""
    if ENV.exists() and environment.stamp() is None and any(ENV.iterdir()):
        raise CommandError(
            f"{problem}, and .venv was not made by this command. Install there what is missing "
            "(pip install -e '.[test]'), or delete the folder .venv and type the command again."
        )


def check_disk(build: str) -> None:
    """Refuse a disk that would be full halfway; what .venv already holds counts."""
    held = sum(f.stat().st_size for f in ENV.rglob("*") if f.is_file() and not f.is_symlink())
    need = max(GIGABYTES[build] - held / 1e9, 0.5)
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < need:
        raise CommandError(
            f"The course's packages ({build} build of PyTorch) need {need:.1f} GB of disk; "
            f"{ROOT} has {free:.1f} GB left. Free some space, or clone onto a larger disk."
        )


def check_venv() -> None:
    """Refuse a Python that cannot make environments, as Debian ships it."""
    if environment.has_module("venv") and environment.has_module("ensurepip"):
        return
    package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    raise CommandError(
        f"This Python ({sys.executable}) came without its module venv. On Debian and Ubuntu: "
        f"sudo apt install {package} (or python3-venv). Elsewhere: take a Python from python.org, "
        "conda or uv."
    )


def has_nvidia_gpu() -> bool:
    """Whether an NVIDIA driver answers."""
    if not shutil.which("nvidia-smi"):
        return False
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
