"""Lints again whenever a file changes, until it is interrupted: `--watch`.

It looks at sizes and times: of the files that are linted, of those that were read for them, and of the configuration
files. A look at a thousand files takes milliseconds, needs no other package, and works on every kind of disk. How often
it looks hangs on how long that takes.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import click

from torchlint import engine, files, imports
from torchlint.cache import Cache
from torchlint.config import ConfigError, Settings, common_folder

PAUSE = 0.3  # seconds between two looks
_SHARE = 10  # ... and that many times what a look takes
_NAMES = ("pyproject.toml", "torchlint.toml")

Look = dict[str, tuple[int, int]]  # size and time of each file


def watch(
    paths: Sequence[str],
    resolve: Callable[[], Settings],
    check: Callable[[Settings, Cache], int],
    notice: Callable[[str], None],
) -> NoReturn:
    """Checks `paths` with the settings that `resolve` reads, now and whenever something has changed.

    What is wrong with the settings is said, and watching goes on with those that were right. Ends by KeyboardInterrupt.
    """
    settings: Settings | None = None
    cache, folder = Cache.in_memory(), None
    while True:
        try:
            settings = resolve()
            config = settings.common(paths)
            wanted = config.cache_folder if config.cache else None
            if wanted != folder:
                cache, folder = (Cache.open(wanted) if wanted is not None else Cache.in_memory()), wanted
        except ConfigError as error:
            before = _settled(paths, settings, cache)
            _clear()
            click.echo(f"torchlint: {error}", err=True)
        else:
            before = _settled(paths, settings, cache)
            imports.forget()
            engine.forget()
            cache.look_again()
            _clear()
            try:
                check(settings, cache)
            except ConfigError as error:
                click.echo(f"torchlint: {error}", err=True)
            # What was read for the files is known only now; its state was as it is now, or the next look tells.
            before |= {file: stamp for file, stamp in _look(paths, settings, cache)[0].items() if file not in before}
        sys.stdout.flush()
        notice("watching for changes; Ctrl-C ends it")
        _wait(paths, settings, cache, before)


def _wait(paths: Sequence[str], settings: Settings | None, cache: Cache, before: Look) -> None:
    """Returns when something has changed."""
    while True:
        now, took = _look(paths, settings, cache)
        if now != before:
            return
        time.sleep(max(PAUSE, _SHARE * took))


def _settled(paths: Sequence[str], settings: Settings | None, cache: Cache) -> Look:
    """How the files stand, once nobody is writing: editors do so in several steps."""
    now, _ = _look(paths, settings, cache)
    while True:
        time.sleep(0.05)
        later, _ = _look(paths, settings, cache)
        if later == now:
            return now
        now = later


def _look(paths: Sequence[str], settings: Settings | None, cache: Cache) -> tuple[Look, float]:
    """How the files stand, and how long it took to look."""
    started = time.perf_counter()
    names: set[str] = set()
    folders = {str(common_folder(paths))}
    if settings is not None:
        try:
            found = files.find(
                [path for path in paths if os.path.lexists(path)], settings.common(paths), settings
            ).paths
            baseline = settings.common(paths).baseline_file
        except ConfigError:
            found, baseline = [], ""  # said when it was checked
        names.update(found, cache.neighbours(found), map(str, settings.files), [baseline] if baseline else [])
        folders.update(files.folder_of(path) for path in found)
    folders.update(str(above) for folder in list(folders) for above in Path(folder).parents)
    names.update(os.path.join(folder, name) for folder in folders for name in _NAMES)
    look: Look = {}
    for name in names:
        try:
            status = os.stat(name)
        except OSError:
            continue  # gone, which differs from having been there
        look[name] = status.st_size, status.st_mtime_ns
    return look, time.perf_counter() - started


def _clear() -> None:
    if sys.stdout.isatty():
        click.clear()
