"""`python -m course_lib train RECIPE`: train, resume, publish.

The slow imports (torch, Lightning) stand inside the functions: `--help` needs none of them.
"""

import argparse
import contextlib
import importlib
import logging
import pkgutil
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from course_lib.training.measurement import Measurement
    from course_lib.training.recipe import Recipe

INTERRUPTED = 130  # the exit code of a program that Ctrl-C ended


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `train` takes."""
    parser.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="what to train or measure; see --list"
    )
    parser.add_argument("--list", action="store_true", help="list the recipes and stop")
    parser.add_argument("--full", action="store_true", help="the size for a GPU, not for two cores")
    parser.add_argument("--fresh", action="store_true", help="forget the stored state, begin anew")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads (1: more cost time beside other work)"
    )


def run(args: argparse.Namespace) -> int:
    """Train, or list what can be trained; the exit code."""
    from course_lib.training.checkpoint import CheckpointError
    from course_lib.training.measurement import Measurement

    recipes = find_recipes()
    if args.list:
        for recipe in recipes.values():
            shipped = "shipped" if recipe.results.exists() else "not made yet"
            print(f"{recipe.name:24} {recipe.sentence} ({shipped})")
        return 0
    if args.recipe not in recipes:
        return _fail(f"recipe is {args.recipe!r}; permitted: {', '.join(recipes) or 'none yet'}", 2)
    if args.threads < 1:
        return _fail(f"--threads is {args.threads}; permitted: 1 and more", 2)
    recipe = recipes[args.recipe]
    try:
        if isinstance(recipe, Measurement):
            if args.full:
                return _fail(f"{recipe.name} trains nothing; permitted: without --full", 2)
            return _measure(recipe, args)
        return _train(recipe, args)
    except (CheckpointError, FloatingPointError, OSError) as error:
        return _fail(str(error), 1)


def find_recipes() -> "dict[str, Recipe | Measurement]":
    """Recipes and measurements by name: the `RECIPES` of the modules in `course_lib/recipes`."""
    package = importlib.import_module("course_lib.recipes")
    modules = [
        importlib.import_module(f"{package.__name__}.{found.name}")
        for found in pkgutil.iter_modules(package.__path__)
    ]
    return {recipe.name: recipe for module in modules for recipe in getattr(module, "RECIPES", ())}


def _measure(measurement: "Measurement", args: argparse.Namespace) -> int:
    import torch
    from tqdm import tqdm

    from course_lib.training.measurement import measure

    torch.set_num_threads(args.threads)
    total = len(measurement.parts) + len(measurement.sheets)
    with tqdm(total=total, unit="part", desc=measurement.name) as bar:
        for name in measure(measurement, fresh=args.fresh):
            bar.set_postfix_str(name, refresh=False)
            bar.update()
    return 0


def _train(recipe: "Recipe", args: argparse.Namespace) -> int:
    import torch
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from course_lib.training.run import make_fabric, train

    torch.set_num_threads(args.threads)
    config = recipe.config(full=args.full)
    fabric = make_fabric(config)
    logger = logging.getLogger("course_lib")
    logger.setLevel(logging.INFO if fabric.is_global_zero else logging.ERROR)
    steps = train(recipe, full=args.full, fresh=args.fresh, fabric=fabric)
    bar = tqdm(total=config.steps, unit="step", desc=recipe.name, disable=not fabric.is_global_zero)
    with logging_redirect_tqdm([logger]), contextlib.closing(steps), bar, _stop_signals() as stop:
        for step in steps:
            if bar.n == 0:
                bar.initial = bar.n = step.step - 1  # a resumed run: the rate counts from here
            if bar.update():
                bar.set_postfix(loss=f"{float(step.loss):.4g}", refresh=False)
            if _agreed(stop, fabric):
                steps.close()
                command = f"python -m course_lib train {recipe.name}{' --full' * args.full}"
                logger.info("stopped at step %d; to go on: %s", step.step, command)
                return INTERRUPTED
        bar.update(config.steps - bar.n)  # it stands at 0 where all steps were made before
    return 0


@contextlib.contextmanager
def _stop_signals() -> "Iterator[list[int]]":
    """Collect the first Ctrl-C or SIGTERM, to stop between two steps; a second stops at once."""
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        received.append(number)
        signal.signal(number, previous[number])

    previous: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, note)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _agreed(stop: list[int], fabric: "Fabric") -> bool:
    """Whether any process was told to stop: all leave after the same step, or none does."""
    if fabric.world_size == 1:
        return bool(stop)
    return fabric.strategy.reduce_boolean_decision(bool(stop), all=False)


def _fail(message: str, code: int) -> int:
    print(f"train: {message}", file=sys.stderr)
    return code
