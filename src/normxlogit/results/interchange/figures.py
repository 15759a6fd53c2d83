"""Matplotlib figures as files."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from normxlogit.data.files import write_whole
from normxlogit.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a figure in the format that the suffix names; the file appears whole or not at all.

    Raises:
        InputError: there is no such format, or the file cannot be written.
    """
    suffix, formats = path.suffix[1:].lower(), figure.canvas.get_supported_filetypes()
    if suffix not in formats:
        raise InputError(
            f"cannot write the plot to {path}: the end of its name is not that of a format of "
            f"matplotlib. Use one of {', '.join(sorted(formats))}."
        )
    content = io.BytesIO()
    figure.savefig(content, format=suffix)
    write_whole(path, content.getvalue())
