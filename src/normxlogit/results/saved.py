"""What results of every kind have in common as files: JSON, and figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from normxlogit.data.display import DISPLAYS, Displayed, ResultDisplay
from normxlogit.data.files import write_whole
from normxlogit.data.plain import dump_json, parse_json
from normxlogit.errors import InputError
from normxlogit.results.interchange.figures import write_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AnySaved = TypeVar("AnySaved", bound="Saved")


class Saved(Displayed):
    """A result that is saved as JSON, and drawn.

    Attributes:
        noun: what its data is called in errors.
    """

    noun: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        raise NotImplementedError

    @classmethod
    def from_dict(cls: type[AnySaved], data: Mapping[str, Any]) -> AnySaved:
        """Rebuild a result from `to_dict`."""
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        """Write the result as JSON; the file appears whole or not at all.

        Raises:
            InputError: the file cannot be written, or a number is infinite, which JSON has not.
        """
        write_whole(path, dump_json(self.to_dict()) + "\n")

    @classmethod
    def load(cls: type[AnySaved], path: str | Path) -> AnySaved:
        """Read a result that `save` wrote; see `from_dict`.

        Raises:
            InputError: the file cannot be read, or `from_dict` refuses what is in it.
        """
        try:
            content = Path(path).read_bytes()
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read an attribution from {path}: {error}.") from error
        data = parse_json(content, path)
        if not isinstance(data, dict):
            raise InputError(f"{path} holds JSON that is not {cls.noun}.")
        return cls.from_dict(data)

    def _draw(self, path: str | Path | None, **options: Any) -> "Figure":
        """Return the figure, and write it to `path` if there is one; see `plot`."""
        figure = self._display().figure(self, **options)
        if path is not None:
            write_figure(figure, Path(path))
        return figure

    def _display(self) -> ResultDisplay:
        display: ResultDisplay = DISPLAYS[self.display_name]()
        return display
