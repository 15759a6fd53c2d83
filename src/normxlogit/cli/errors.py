"""How commands fail: one line on standard error, and an exit code."""

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from normxlogit.cli import terminal
from normxlogit.errors import NormXLogitError


@contextlib.contextmanager
def reporting(debug: bool) -> Iterator[None]:
    """Turn every error into one line and an exit code; with `debug`, let unexpected ones through.

    Exit codes: 1 for errors and broken pipes, 2 for wrong usage (by typer), 130 for an interrupt,
    143 for SIGTERM.
    """
    try:
        with _ended_by_sigterm():
            yield
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:
        # Python flushes standard output once more at exit, and would complain of the pipe again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from None
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:
        if debug:
            raise
        if isinstance(error, NormXLogitError):
            complain(str(error))
        else:
            complain(f"{type(error).__name__}: {error} (--debug shows where)")
        raise typer.Exit(1) from None


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end a command like an error, so that what is half written is taken away."""

    def stop(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def quiet(debug: bool) -> Iterator[None]:
    """Silence the libraries' logs, warnings and progress bars; print our own warnings in a line.

    With `debug`, change nothing. All settings are restored on exit.
    """
    if debug:
        yield
        return
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", module=r"normxlogit\.")  # once, not for each text
            warnings.showwarning = lambda message, *_: complain(f"warning: {message}")
            with _without_bars():
                yield
    finally:
        logging.disable(disabled)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled

    if are_progress_bars_disabled():
        yield
        return
    _switch_bars("disable")
    try:
        yield
    finally:
        _switch_bars("enable")


def _switch_bars(how: str) -> None:
    """Enable or disable progress bars, without importing transformers, which takes long.

    When it is imported it takes over the state of the Hub's client; from then on it sets both.
    """
    transformers = sys.modules.get("transformers.utils.logging")
    if transformers is not None:
        getattr(transformers, f"{how}_progress_bar")()
    else:
        getattr(import_module("huggingface_hub.utils.tqdm"), f"{how}_progress_bars")()


def complain(message: str) -> None:
    """Print a message on standard error, as one line."""
    terminal.say(f"normxlogit: {' '.join(message.split())}", err=True)


class Commands(TyperGroup):
    """The commands; on a terminal, what is wrong with their usage has no control characters."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _visible_usage():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _visible_usage():
            return super().invoke(ctx)


# Of click, or of the copy of it that some versions of typer have.
_UsageError: Any = typer.BadParameter.__base__


@contextlib.contextmanager
def _visible_usage() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        error.message = terminal.shown(error.message, err=True)
        raise
