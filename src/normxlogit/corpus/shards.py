"""Parquet files of explanations; docs/corpus.md says what is in them."""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from normxlogit.corpus.explain import Explained
from normxlogit.data.location import Location, open_parquet, open_pending
from normxlogit.data.rows import Bad, Kind, Row
from normxlogit.errors import InputError
from normxlogit.results.text import Attribution

SCHEMA = "normxlogit/shard/1"
ROWS = 4096
"""How many rows of the source a shard holds."""

_SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32())])
_NOTE = b"normxlogit.shard"
_LARGEST = float(np.finfo(np.float16).max)


def schema(*, float16: bool) -> Any:
    """The Arrow schema of a shard."""
    scores = pa.float16() if float16 else pa.float32()
    fields = [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("file", pa.string()),
        pa.field("id", pa.string()),
        pa.field("text", pa.string()),
        pa.field("text_sha256", pa.string()),
        pa.field("pair", pa.string()),
        pa.field("pair_sha256", pa.string()),
        pa.field("label", pa.string()),
        pa.field("prediction", pa.string()),
        pa.field("prediction_value", pa.float32()),
        pa.field("target", pa.string()),
        pa.field("target_value", pa.float32()),
        pa.field("target_position", pa.int32()),
        pa.field("tokens", pa.list_(pa.string())),
        pa.field("offsets", pa.list_(_SPAN)),
        pa.field("segments", pa.list_(pa.int8())),
        pa.field("special", pa.list_(pa.bool_())),
        pa.field("token_scores", pa.list_(scores)),
        pa.field("words", pa.list_(pa.string())),
        pa.field("word_scores", pa.list_(pa.float32())),
        pa.field("error_kind", pa.string()),
        pa.field("error", pa.string()),
    ]
    return pa.schema(fields, metadata={"normxlogit.schema": SCHEMA})


def name_of(number: int) -> str:
    """The name of a shard's file."""
    return f"shard-{number:05d}.parquet"


def number_of(path: Location) -> int | None:
    """The number of the shard of that name, if it is that of one."""
    found = re.fullmatch(r"shard-(\d+)\.parquet", path.name)
    number = int(found[1]) if found else None
    return number if number is not None and path.name == name_of(number) else None


def paths_in(folder: Location) -> list[Location]:
    """The shards in a folder, in order."""
    found = [path for path in folder.iterdir() if re.fullmatch(r"shard-.*\.parquet", path.name)]
    return sorted(found, key=lambda p: (len(p.name), p.name))


def note_in(path: Location) -> dict[str, Any]:
    """What `Writer.close` noted in a shard.

    Raises:
        InputError: it is no shard, or not whole, or cannot be read.
    """
    try:
        with open_parquet(path) as file:
            note = (file.metadata.metadata or {})[_NOTE]
        found: dict[str, Any] = json.loads(note)
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a whole shard of normxlogit.") from error
    return found


class Writer:
    """Writes a shard, which is there when it is closed.

    Used as a context manager: left without `close`, it leaves nothing behind.

    Attributes:
        path: the shard's own name.
        records: how many rows it has.

    Raises:
        InputError: the folder cannot be written to, or the disk is full.
    """

    def __init__(self, path: Location, *, hashed: bool, float16: bool) -> None:
        self.path = path
        self.records = 0
        self._hashed, self._float16 = hashed, float16
        self._schema = schema(float16=float16)

    def __enter__(self) -> "Writer":
        with self._reported():
            self._draft = open_pending(self.path)
            try:
                self._writer = pq.ParquetWriter(self._draft.file, self._schema, compression="zstd")
            except BaseException:
                self._draft.discard()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._writer.close()
        self._draft.discard()

    def write(self, window: Sequence[Explained]) -> list[Explained]:
        """Append rows, and return them; those whose scores do not fit are errors now."""
        kept = [self._fitting(explained) for explained in window]
        records = [record for e in kept for record in self._records(e)]
        columns = {field.name: [r.get(field.name) for r in records] for field in self._schema}
        self.records += len(records)
        with self._reported():
            self._writer.write_table(pa.table(columns, self._schema))
        return kept

    def close(self, note: dict[str, Any]) -> None:
        """Finish the shard, with a note for whoever goes on after it."""
        with self._reported():
            self._writer.add_key_value_metadata({_NOTE: json.dumps(note)})
            self._writer.close()
            self._draft.commit()

    def _records(self, explained: Explained) -> Iterator[dict[str, Any]]:
        """A record for each target of a row; one if there is none."""
        of_row = self._of_row(explained.row)
        if explained.attribution is None:
            assert explained.bad is not None
            bad = explained.bad
            yield of_row | {"error_kind": bad.kind.value, "error": _utf8(bad.why)}
            return
        yield from (of_row | record for record in _of_targets(explained.attribution, self._dtype))

    def _of_row(self, row: Row) -> dict[str, Any]:
        found = {"row": row.number, "file": _utf8(row.file), "id": row.id, "label": row.label}
        for name, text in (("text", row.text), ("pair", row.pair)):
            if self._hashed and text is not None:
                found[f"{name}_sha256"] = hashlib.sha256(text.encode()).hexdigest()
            else:
                found[name] = text
        return found

    def _fitting(self, explained: Explained) -> Explained:
        a = explained.attribution
        if a is None or not self._float16:
            return explained
        if np.abs(np.nan_to_num(a.scores)).max(initial=0) <= _LARGEST:
            return explained
        why = f"a score over {_LARGEST:.0f} does not fit into float16; write float32"
        return Explained(explained.row, bad=Bad(Kind.OVERFLOW, why))

    @property
    def _dtype(self) -> Any:
        return np.float16 if self._float16 else np.float32

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot write {self.path}: {reason}.") from error


def _of_targets(a: Attribution, dtype: Any) -> Iterator[dict[str, Any]]:
    """What a record has of an attribution, for each of its targets."""
    by_word = a.words()
    is_word = ~by_word.special
    said = a.prediction.top
    shared = {
        "prediction": said.label,
        "prediction_value": said.value,
        "tokens": a.tokens,
        "offsets": [{"start": start, "end": end} for start, end in a.offsets.tolist()],
        "segments": a.segments,
        "special": a.special,
        "words": [word for word, is_in in zip(by_word.tokens, is_word, strict=True) if is_in],
    }
    scores, of_words = _by_target(a), _by_target(by_word)
    for number, target in enumerate(a.targets):
        yield shared | {
            "target": target.label,
            "target_value": target.value,
            "target_position": target.position,
            "token_scores": scores[number].astype(dtype),
            "word_scores": of_words[number][is_word],
        }


def _by_target(a: Attribution) -> NDArray[np.float32]:
    """The scores, [targets, positions]."""
    return a.scores.reshape(len(a.targets), -1)


def _utf8(text: str | None) -> str | None:
    """What can be written: bytes that are not UTF-8 come as halves of characters."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
