"""The files of an evaluation that finished, read back from its folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from normxlogit.data.plain import Plain
from normxlogit.data.run_folder import read_json
from normxlogit.errors import InputError

_REMEDY = "Give another folder, or delete results.json to evaluate again."


def read_results(path: Path, schema: str) -> tuple[dict[str, Any], Plain]:
    """Read results.json of this schema, as it is and for checks.

    Raises:
        InputError: it cannot be read, or is of another schema.
    """
    results = read_json(path)
    document = Plain(results, f"{path} is not whole", _REMEDY)
    document.get("schema").choice((schema,))
    return results, document


def check_results(results: Plain) -> None:
    """Refuse results of an evaluation that cannot be printed.

    Raises:
        InputError: a field is missing or of another type.
    """
    metrics = results.get("metrics").entries(lambda metric: metric.get("higher_is_better").flag())
    for method in results.get("methods").entries(lambda method: method).values():
        for metric in dict.fromkeys(["comprehensiveness", *metrics]):
            _check_figure(method.get("figures").get(metric))
    results.get("failed").entries(Plain.text)
    examples, forwards = results.get("examples"), results.get("forwards")
    examples.get("errors").entries(Plain.count)
    for counts, names in ((examples, ("evaluated", "read")), (forwards, ("asked", "run"))):
        for name in names:
            counts.get(name).count()
    for note in results.get("notes").items():
        note.text()


def check_note(note: Any, number: int) -> None:
    """Refuse the note of a part of an evaluation that cannot be summed up, see `check_results`."""
    document = Plain(note, f"the note of part {number} of the evaluation is not whole", _REMEDY)
    document.get("gold").entries(Plain.number)
    document.get("errors").entries(Plain.count)
    for text in document.get("first").items():
        text.text()
    for name in ("asked", "forwards", "tokens"):
        document.get(name).count()


def check_costs(costs: Mapping[str, Any], path: Path) -> None:
    """Refuse costs that cannot be printed, see `check_results`."""
    document = Plain(costs, f"{path} is not whole", _REMEDY)
    document.get("methods").entries(lambda cost: cost.get("forwards").optional(Plain.number))


def check_benchmark(results: Plain) -> None:
    """Refuse results of a benchmark that cannot be printed, see `check_results`."""
    for name in ("asked", "test_cases"):
        results.get(name).entries(Plain.count)
    results.get("failed").entries(Plain.text)
    results.get("task").text()
    results.get("accuracy").number(0, 1)
    measured = results.get("text")
    measured.get("all_evidence").count()
    names = measured.get("average_precision").entries(_check_layers)
    for metric in ("average_precision", "dot_product"):
        for name in dict.fromkeys(["normxlogit", *names]):
            _check_layers(measured.get(metric).get(name))


def read_records(path: Path, schema: pa.Schema) -> pa.Table:
    """Read a Parquet file of records, with the metadata of its schema.

    Raises:
        InputError: it cannot be read, or has other columns.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or ["?"])[0]
        raise InputError(f"cannot read {path}: {reason} {_REMEDY}") from error
    if not table.schema.equals(schema):
        raise InputError(f"{path} has other columns than this version writes. {_REMEDY}")
    return table


def _check_figure(figure: Plain) -> None:
    for name in ("value", "low", "high"):
        figure.get(name).number()
    figure.get("beside_best").optional(lambda gap: gap.get("differs").flag())


def _check_layers(reading: Plain) -> None:
    for name in ("mean", "low", "high"):
        for value in reading.get(name).items(1):
            value.number()
