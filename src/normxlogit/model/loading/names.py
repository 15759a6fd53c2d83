"""What a model is named by, as far as that can be checked without torch."""

import re
from pathlib import Path

from normxlogit.errors import ModelError, OptionError

DEMO = "demo"
DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("auto", "float32", "bfloat16", "float16")

_PART = r"\w([\w.-]*\w)?"
_ID = re.compile(f"{_PART}(/{_PART})?")


def check_dtype(name: object) -> None:
    """Raise `OptionError` unless this is the name of a dtype."""
    if not isinstance(name, str) or name not in DTYPES:
        raise OptionError(f"there is no dtype {name!r:.80}; use one of {', '.join(DTYPES)}.")


def check_model_name(name: str, *, gguf_file: str | None = None, subfolder: str = "") -> None:
    """Find out whether a model may be there: its folder, or an id that the Hub may know.

    Raises:
        ModelError: it is a file, a folder without a model, or neither a folder nor an id.
    """
    path = Path(name)
    if path.is_file():
        inside = f", gguf_file={path.name!r}" if path.suffix == ".gguf" else ""
        raise ModelError(
            f"cannot load {name}, which is a file. Name its folder: {str(path.parent)!r}{inside}"
        )
    if path.is_dir():
        _check_folder(path / subfolder, name, gguf_file)
    elif not _ID.fullmatch(name):
        raise ModelError(
            f"cannot load {name!r}: there is no such folder, and an id on the Hub is a name, or an "
            "owner and a name with a slash between them."
        )


def _check_folder(folder: Path, name: str, gguf_file: str | None) -> None:
    if gguf_file is not None or (folder / "config.json").exists():
        return
    ggufs = sorted(file.name for file in folder.glob("*.gguf"))
    if ggufs:
        raise ModelError(
            f"the folder {name} has no config.json, but {', '.join(ggufs[:4])}. Say that it is to "
            f"be loaded: gguf_file={ggufs[0]!r}, or --gguf-file {ggufs[0]}."
        )
    raise ModelError(
        f"cannot load a model from the folder {name}: it has no config.json. Name the folder that "
        "save_pretrained wrote."
    )
