"""Parquet files of explanations; docs/corpus.md has the columns."""

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from normxlogit.corpus.explained import Explained
from normxlogit.data.files import open_pending
from normxlogit.data.location import Location, open_parquet
from normxlogit.data.plain import parse_json
from normxlogit.data.rows import Bad, Kind, Row
from normxlogit.errors import InputError
from normxlogit.methods.scores import is_unlike
from normxlogit.results.text import Attribution

SCHEMA = "normxlogit/shard/1"
ROWS = 4096
"""How many rows of the source a shard holds."""

_SPAN = pa.struct([("start", pa.int32()), ("end", pa.int32())])
_NOTE, _DIGEST = b"normxlogit.shard", b"normxlogit.sha256"
_CHUNK = 1 << 20
_LARGEST = float(np.finfo(np.float16).max)


def schema(*, float16: bool) -> Any:
    """Return the Arrow schema of a shard."""
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
        pa.field("unlike", pa.bool_()),
        pa.field("error_kind", pa.string()),
        pa.field("error", pa.string()),
    ]
    return pa.schema(fields, metadata={"normxlogit.schema": SCHEMA})


def accepted_schemas() -> Iterator[Any]:
    """Yield the schemas of shards that are read: also those from before the column "unlike"."""
    for float16 in (False, True):
        current = schema(float16=float16)
        yield current
        yield current.remove(current.get_field_index("unlike"))


def file_name(number: int) -> str:
    """Return the name of a shard's file."""
    return f"shard-{number:05d}.parquet"


def shard_number(path: Location) -> int | None:
    """Return the number of a shard from the name of its file; None if that is no shard's name."""
    match = re.fullmatch(r"shard-(\d+)\.parquet", path.name)
    number = int(match[1]) if match else None
    return number if number is not None and path.name == file_name(number) else None


def list_paths(folder: Location) -> list[Location]:
    """List the shards in a folder, in order."""
    paths = [path for path in folder.iterdir() if re.fullmatch(r"shard-.*\.parquet", path.name)]
    # From shard 100000 on the names have a digit more, so their length goes before the alphabet.
    return sorted(paths, key=lambda path: (len(path.name), path.name))


def read_note(path: Location) -> dict[str, Any]:
    """Read the note that `Writer.close` left in a shard, and hold the shard against it.

    Raises:
        InputError: it is no shard, or not whole, or damaged, or cannot be read.
    """
    refusal = f"{path} is not a whole shard of normxlogit. Bring it back, or take it away."
    try:
        with open_parquet(path) as file:
            metadata, columns = file.metadata, file.schema_arrow
            text, digest = (metadata.metadata[key] for key in (_NOTE, _DIGEST))
        with path.open("rb") as stream:
            # The footer ends with its length and "PAR1", of four bytes each.
            end = stream.seek(0, io.SEEK_END) - metadata.serialized_size - 8
            stream.seek(0)
            content = _sha256(stream, end)
        content.update(text)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(refusal) from error
    damaged = InputError(
        f"{path} is damaged: it does not hold what was written. Bring it back; or take it away, "
        "and a run that is not finished writes it again."
    )
    if content.hexdigest().encode() != digest:
        raise damaged
    note = parse_json(text, f"the note in {path}")
    if not isinstance(note, dict) or not any(map(columns.equals, accepted_schemas())):
        raise InputError(refusal)
    progress = note.get("progress")
    if isinstance(progress, dict) and progress.get("records") != metadata.num_rows:
        raise damaged
    return note


def _sha256(stream: IO[bytes], length: int) -> Any:
    digest = hashlib.sha256()
    while length > 0 and (chunk := stream.read(min(_CHUNK, length))):
        digest.update(chunk)
        length -= len(chunk)
    return digest


class _DigestingFile(io.RawIOBase):
    """Passes on what is written, and digests it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.digest = file, hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.digest.update(content)
        return self._file.write(content)


class Writer:
    """A shard being written; `close` publishes it.

    A context manager: left without `close`, it leaves nothing behind.

    Attributes:
        path: the path of the shard.
        records: the number of its rows.

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
            self._pending = open_pending(self.path)
            try:
                self._file = _DigestingFile(self._pending.file)
                self._writer = pq.ParquetWriter(self._file, self._schema, compression="zstd")
            except BaseException:
                self._pending.discard()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._writer.close()
        self._pending.discard()

    def write(self, window: Sequence[Explained]) -> list[Explained]:
        """Append rows, and return them; rows whose scores do not fit the dtype become errors."""
        window = [self._check_range(explained) for explained in window]
        records = [record for explained in window for record in self._records(explained)]
        columns = [
            _column([record.get(field.name) for record in records], field.type)
            for field in self._schema
        ]
        self.append(pa.Table.from_arrays(columns, schema=self._schema))
        return window

    def append(self, records: Any) -> None:
        """Append records, an Arrow table of the shard's schema."""
        self.records += len(records)
        with self._reported():
            self._writer.write_table(records)

    def close(self, note: dict[str, Any]) -> None:
        """Publish the shard with a note, which a run is resumed from.

        The note is inside the file, in the footer that Parquet writes last. So whoever sees a shard
        sees that all of it is there, which run it is of, and where to go on. Beside it is a digest
        of all that stands before the footer, and of the note.
        """
        text = json.dumps(note).encode()
        self._file.digest.update(text)
        with self._reported():
            self._writer.add_key_value_metadata(
                {_NOTE: text, _DIGEST: self._file.digest.hexdigest()}
            )
            self._writer.close()
            self._pending.commit()

    def _records(self, explained: Explained) -> Iterator[dict[str, Any]]:
        """Yield a record for each target of a row; one if it could not be explained."""
        row = self._row_record(explained.row)
        if explained.attribution is None:
            assert explained.bad is not None
            bad = explained.bad
            yield row | {"error_kind": bad.kind.value, "error": _utf8(bad.why)}
            return
        for target in _target_records(explained.attribution, self._dtype):
            yield row | target

    def _row_record(self, row: Row) -> dict[str, Any]:
        record = {"row": row.number, "file": _utf8(row.file), "id": row.id, "label": row.label}
        for name, text in (("text", row.text), ("pair", row.pair)):
            if self._hashed and text is not None:
                record[f"{name}_sha256"] = hashlib.sha256(text.encode()).hexdigest()
            else:
                record[name] = text
        return record

    def _check_range(self, explained: Explained) -> Explained:
        attribution = explained.attribution
        if attribution is None or not self._float16:
            return explained
        if np.abs(np.nan_to_num(attribution.scores)).max(initial=0) <= _LARGEST:
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


def _column(values: Sequence[Any], kind: Any) -> Any:
    """Return values as an Arrow array; None for null.

    Lists are laid end to end first: Arrow takes an array far faster than values one by one.
    """
    if not pa.types.is_list(kind):
        return pa.array(values, kind)
    lists = [value for value in values if value is not None]
    lengths = [0 if value is None else len(value) for value in values]
    if pa.types.is_string(kind.value_type):
        items = pa.array(list(chain.from_iterable(lists)), kind.value_type)
    elif pa.types.is_struct(kind.value_type):
        spans = np.concatenate([np.zeros((0, 2), np.int32), *lists])
        items = pa.StructArray.from_arrays(
            list(map(pa.array, spans.T)), fields=list(kind.value_type)
        )
    else:
        dtype = kind.value_type.to_pandas_dtype()
        items = pa.array(np.concatenate([np.zeros(0, dtype), *lists]).astype(dtype))
    return pa.ListArray.from_arrays(
        pa.array(np.cumsum([0, *lengths], dtype=np.int32)),
        items,
        type=kind,
        mask=pa.array([value is None for value in values]),
    )


def _target_records(attribution: Attribution, dtype: Any) -> Iterator[dict[str, Any]]:
    """Yield the columns that an attribution fills, for each of its targets."""
    by_word = attribution.words()
    is_word = ~by_word.special
    top = attribution.prediction.top
    shared = {
        "prediction": top.label,
        "prediction_value": top.value,
        "tokens": attribution.tokens,
        "offsets": attribution.offsets,
        "segments": attribution.segments,
        "special": attribution.special,
        "unlike": is_unlike(attribution.notes),
        "words": [word for word, is_in in zip(by_word.tokens, is_word, strict=True) if is_in],
    }
    token_scores, word_scores = _target_scores(attribution), _target_scores(by_word)
    for number, target in enumerate(attribution.targets):
        yield shared | {
            "target": target.label,
            "target_value": target.value,
            "target_position": target.position,
            "token_scores": token_scores[number].astype(dtype),
            "word_scores": word_scores[number][is_word],
        }


def _target_scores(attribution: Attribution) -> NDArray[np.float32]:
    """Return the scores with an axis of targets, [targets, positions]."""
    return attribution.scores.reshape(len(attribution.targets), -1)


def _utf8(text: str | None) -> str | None:
    """Return text that can be encoded: bytes that are not UTF-8 came as lone surrogates."""
    return None if text is None else text.encode("utf-8", "replace").decode("utf-8")
