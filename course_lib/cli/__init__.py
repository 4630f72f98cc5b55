"""The commands: `python3 -m course_lib COMMAND`. The standard library alone until one of them runs.

`lab`, `test`, `build` and `train` continue in the Python that `environment.ensure` finds or makes;
`doctor` looks at it from outside and installs nothing.
"""

import argparse
import signal
import sys
import tempfile
from io import TextIOWrapper
from pathlib import Path

from course_lib.cli import environment
from course_lib.cli.environment import CommandError
from course_lib.paths import ROOT

HAS_TRAIN = (Path(__file__).parent / "train.py").exists()


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # an old console must not fail at a character
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that children are ended too
    parser = make_parser()
    args, rest = parser.parse_known_args(arguments)
    if rest and not args.passes_on:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    try:
        if args.needs_environment:
            python = environment.ensure(tests=args.command == "test")
            if python != Path(sys.executable):
                return environment.call([str(python), "-m", "course_lib", *arguments])
        return args.run(args)
    except CommandError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the same command goes on from here.", file=sys.stderr)
        return 130


def make_parser() -> argparse.ArgumentParser:
    """The commands that exist, and their arguments."""
    parser = argparse.ArgumentParser(
        prog="python3 -m course_lib", description="Many Futures, a course on visual prediction."
    )
    parser.set_defaults(needs_environment=True, passes_on=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    lab = commands.add_parser("lab", help="open a chapter in JupyterLab, the last one if unnamed")
    lab.add_argument("chapter", nargs="?", metavar="N", help="number or name of the chapter")
    lab.add_argument("--no-browser", action="store_true", help="only print the address")
    lab.set_defaults(run=run_lab)

    test = commands.add_parser("test", help="run the tests; arguments are passed on to pytest")
    test.set_defaults(run=run_test, passes_on=True)

    build = commands.add_parser("build", help="make the notebooks from their sources")
    build.add_argument("chapters", nargs="*", metavar="N", help="all of them if unnamed")
    build.add_argument("--check", action="store_true", help="only compare, execute nothing")
    kept = build.add_mutually_exclusive_group()
    kept.add_argument("--solutions", action="store_true", help="solution edition, in editions/")
    kept.add_argument("--no-solutions", action="store_true", help="for a class, in editions/")
    build.set_defaults(run=run_build)

    doctor = commands.add_parser("doctor", help="say what works on this machine and what does not")
    doctor.set_defaults(run=run_doctor, needs_environment=False)

    if HAS_TRAIN:
        train = commands.add_parser(
            "train", help="train a recipe; --help says more", add_help=False
        )
        train.set_defaults(run=run_train, passes_on=True)
    return parser


def run_lab(args: argparse.Namespace) -> int:
    """Open a chapter in JupyterLab."""
    from course_lib.cli.lab import open_lab

    return open_lab(args.chapter, browser=not args.no_browser)


def run_test(args: argparse.Namespace) -> int:
    """Run pytest away from the reader's own folder, on one thread per process."""
    with tempfile.TemporaryDirectory() as home:
        variables = environment.child_environment(COURSE_HOME=home, OMP_NUM_THREADS="1")
        command = [sys.executable, "-m", "pytest", *args.rest]
        return environment.call(command, cwd=ROOT, env=variables)


def run_build(args: argparse.Namespace) -> int:
    """Make or check the notebooks."""
    from course_lib.cli.notebooks import build

    options = {"check": args.check, "solutions": args.solutions, "no_solutions": args.no_solutions}
    try:
        return build(args.chapters, **options)
    except ValueError as error:
        raise CommandError(str(error)) from error


def run_doctor(_: argparse.Namespace) -> int:
    """Say what works."""
    from course_lib.cli.doctor import examine

    return examine()


def run_train(args: argparse.Namespace) -> int:
    """Train a recipe; its arguments are known to the library only."""
    from course_lib.cli import train

    parser = argparse.ArgumentParser(prog="python3 -m course_lib train")
    train.add_arguments(parser)
    return train.run(parser.parse_args(args.rest))
