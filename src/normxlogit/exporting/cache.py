"""Exported graphs that are kept, so that a model is exported once."""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from normxlogit.data.pending_folder import clear_pending
from normxlogit.data.plain import dump_json
from normxlogit.errors import InputError
from normxlogit.exporting.manifest import NEEDED, SCHEMA, Manifest
from normxlogit.exporting.writing import export
from normxlogit.extras import versions
from normxlogit.tasks.digest import digest
from normxlogit.tasks.explainer import ModelExplainer
from normxlogit.tasks.fingerprint import model_fingerprint


def cache_folder() -> Path:
    """Return where graphs are kept: in `normxlogit/exports` of the user's folder of caches."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "normxlogit" / "exports"


def cached_export(explainer: ModelExplainer, *, int8: bool = False) -> Path:
    """Return the folder of an explainer's graph, which is exported if it is not there.

    It appears whole or not at all. Processes that want the same one wait for the first.

    Raises as `export`.
    """
    cache = cache_folder()
    folder = cache / _key(explainer, int8=int8)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            # What is not whole any more, or was begun by a process that was killed.
            clear_pending(folder)
            if not _is_whole(folder):
                shutil.rmtree(folder, ignore_errors=True)
                export(explainer, folder, int8=int8)
    except OSError as error:
        raise InputError(
            f"cannot keep the exported graph in {cache}: {error.strerror or error}. Name another "
            "folder of caches in XDG_CACHE_HOME."
        ) from error
    return folder


def _key(explainer: ModelExplainer, *, int8: bool) -> str:
    """All that a graph depends on, as a name: every weight, the head, and what makes it."""
    model = explainer.model
    made_of: dict[str, Any] = {
        "schema": SCHEMA,
        "model": model_fingerprint(explainer),
        "class": f"{type(model).__module__}.{type(model).__qualname__}",
        "weights": digest(model, explainer.tokenizer, sampled=None),
        "int8": int8,
        "versions": versions(*NEEDED),
    }
    return hashlib.sha256(dump_json(made_of).encode()).hexdigest()[:32]


def _is_whole(folder: Path) -> bool:
    try:
        Manifest.read(folder)
    except InputError:
        return False
    return True
