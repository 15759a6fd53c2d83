"""A figure that a notebook can show."""

import io

from matplotlib.figure import Figure


class CellFigure(Figure):
    """A figure that draws itself as the value of a cell.

    Those of pyplot are shown when a cell ends, whatever its value is, and then again as its value.
    Of others IPython knows no picture before pyplot is imported.
    """

    def _repr_png_(self) -> tuple[bytes, dict[str, float]]:
        """Return an image, sharp on dense screens too, and the size to show it in."""
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=2 * self.dpi)
        width, height = self.get_size_inches() * self.dpi
        return file.getvalue(), {"width": width, "height": height}
