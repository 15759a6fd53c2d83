"""Files of tensors with a record of how these were made, in safetensors: nothing in them is run."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from normxlogit.data.plain import Plain, parse_json
from normxlogit.errors import InputError


@dataclass(frozen=True)
class TensorFile:
    """A kind of such files.

    Attributes:
        key: of the metadata that hold the record, which tells the kind.
        schema: the newest that is read.
        refusal: what is said of a file that is not of this kind, such as "is no attribution head".
        foreign: the same of one with other tensors, such as " but no attribution head".
        complaint: what is said of a record that is not as it must be.
        remedy: what to do then.
    """

    key: str
    schema: int
    refusal: str
    foreign: str
    complaint: str
    remedy: str

    def read(self, path: str | PathLike[str], framework: str) -> tuple[Plain, dict[str, Any]]:
        """Return the record and the tensors of a file.

        Args:
            path: the file.
            framework: what the tensors become, by safetensors' name for it, such as "pt".

        Raises:
            InputError: there is no such file, it holds something else, or it was made by a newer
                normxlogit.
        """
        path = Path(path)
        try:
            with safe_open(path, framework=framework) as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            raise InputError(f"there is no file {path}. {self.remedy}") from None
        except UnicodeEncodeError as error:
            raise InputError(f"there can be no file {str(path)!r:.80}: {error}.") from error
        # A dtype that the framework has not is a TypeError.
        except (OSError, ValueError, TypeError, SafetensorError) as error:
            raise InputError(f"{path} {self.refusal}: {error}. {self.remedy}") from error
        if self.key not in metadata:
            raise InputError(f"{path} is a file of tensors{self.foreign}. {self.remedy}")
        content = parse_json(metadata[self.key].encode(), path)
        record = Plain(content, f"{path}: {self.complaint}", self.remedy)
        schema = record.get("schema").integer(1)
        if schema > self.schema:
            raise InputError(
                f"{path} was made by a newer normxlogit (schema {schema}; this one reads up to "
                f"{self.schema}). Upgrade normxlogit."
            )
        return record, tensors
