"""Make .venv: the hashed lock first, then torch for this machine. The standard library alone.

A torch without a hash beside hashed packages in one file makes pip refuse, hence two steps.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from course_lib.cli import environment, machine, pip
from course_lib.cli.environment import ENV, LOCK, STAMP, TORCH, CommandError
from course_lib.paths import ROOT

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA_INDEX = "https://download.pytorch.org/whl/cu130"


def make(*, tests: bool = False) -> None:
    """Make .venv, finish a half-made one, or bring it up to a changed lock.

    Raises:
        CommandError: something on this machine stands in the way; what, and what to do.
    """
    reason = environment.problem(tests=tests)
    gpu = machine.has_nvidia_gpu()
    machine.check_platform()
    machine.check_writable()
    machine.check_owner(reason)
    machine.check_disk("CUDA" if gpu else "CPU")
    is_laid_out = environment.stamp() not in (None, "started") and environment.has_base_python()
    if not is_laid_out:
        machine.check_venv()
    print(f"Setting up the course: {reason}. This takes a few minutes.", flush=True)
    start = time.monotonic()
    with one_at_a_time():
        if not is_laid_out:
            make_venv()
        site = environment.site_packages()
        if site is None:
            raise CommandError(f"{ENV} holds no packages folder: delete {ENV} and try again.")
        install_lock(site)
        install_torch(site, gpu=gpu)
        # Relative, hence plain ASCII for an old locale, and right after the clone has moved.
        (site / "many_futures.pth").write_text(f"{os.path.relpath(ROOT, site)}\n", encoding="utf-8")
        STAMP.write_text(environment.fingerprint(), encoding="utf-8")
    print(f"Ready after {pip.clock(time.monotonic() - start)}.\n", flush=True)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold .venv against a second start; the system lets go of it however this one ends."""
    ENV.mkdir(exist_ok=True)
    if environment.stamp() is None:
        STAMP.write_text("started", encoding="utf-8")  # from here on .venv is ours
    with (ENV / "many_futures.lock").open("a", encoding="utf-8") as file:
        try:
            if sys.platform == "win32":
                import msvcrt

                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise CommandError(
                "Another start of the course is setting it up: wait until that one is done."
            ) from None
        yield


def make_venv() -> None:
    """Lay out .venv with pip inside."""
    print("1/3 Python: making .venv", flush=True)
    for old in ("bin", "include", "lib", "lib64", "Lib", "Scripts"):
        remove(ENV / old)
    STAMP.write_text("started", encoding="utf-8")
    base = getattr(sys, "_base_executable", sys.executable)  # a venv cannot remake itself
    command = [base, "-m", "venv", str(ENV)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-1000:]
        raise CommandError(f"Python could not make the environment .venv. It said:\n{said}")
    STAMP.write_text("venv", encoding="utf-8")


def remove(path: Path) -> None:
    """Delete a folder or a link, if it is there."""
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def install_lock(site: Path) -> None:
    """Install the exact packages of the lock, by hash, with one line of progress."""
    STAMP.write_text("venv", encoding="utf-8")
    for info in site.glob("*.dist-info"):
        # pip writes INSTALLER last. Without it the unpacking was cut short, and pip would take
        # the package for installed.
        if not (info / "INSTALLER").exists():
            shutil.rmtree(info)
    pins = len(re.findall(r"^\S+==", LOCK.read_text(encoding="utf-8"), re.MULTILINE))
    progress = pip.Progress("2/3 Packages", pins)
    pip.install("--require-hashes", "--no-deps", "-r", str(LOCK), on_line=progress.read)
    progress.finish()


def install_torch(site: Path, *, gpu: bool) -> None:
    """Install torch for this machine, with pip's own progress bar."""
    if (environment.installed("torch", site) or "").split("+")[0] == TORCH:
        return
    print(f"3/3 PyTorch {TORCH}, {'CUDA' if gpu else 'CPU'}", flush=True)
    start = time.monotonic()
    pip.install(*torch_source(sys.platform, gpu=gpu))
    size = sum(f.stat().st_size for f in site.glob("torch/**/*") if f.is_file()) / 1e6
    print(f"    {size:.0f} MB unpacked, {pip.clock(time.monotonic() - start)}", flush=True)


def torch_source(system: str, *, gpu: bool) -> list[str]:
    """What to ask pip for: PyPI's builds for Linux hold CUDA, those for Windows do not."""
    wanted, index = "", ""
    if system == "linux" and not gpu:
        wanted, index = f"{TORCH}+cpu", CPU_INDEX
    elif system == "win32" and gpu:
        wanted, index = f"{TORCH}+cu130", CUDA_INDEX
    for source in ([], ["--index-url", index]) if wanted else ():
        if pip.offers_torch(wanted, source):
            # The lock holds what torch needs, CUDA's libraries for Linux apart.
            return ["--no-deps", f"torch=={wanted}", *source]
    return [f"torch=={TORCH}"]
