"""A corpus read from an object store and written to one: the same as on this machine."""

import contextlib
import io
import json
import logging
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.fs
import pytest
from typer.testing import CliRunner

from normxlogit import Explainer, InputError, MissingExtraError, cli
from normxlogit.corpus import shards, summary
from normxlogit.corpus.folder import Folder
from normxlogit.data.formats import FORMATS
from normxlogit.data.location import Remote, locate, redacted
from tests.helpers.corpora import (
    SLOW_WRITING,
    TEXTS,
    WRITERS,
    StopError,
    assert_same_output,
    error_kinds,
    read_shards,
    write_lines,
    write_mixed_folder,
)

pytestmark = pytest.mark.objects

SERVER = """
import os, sys
from moto.server import ThreadedMotoServer

server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(*server.get_host_and_port(), flush=True)
sys.stdin.read()
os._exit(0)
"""


@dataclass(frozen=True)
class Bucket:
    """A bucket of a server that speaks S3, asked without pyarrow.

    Attributes:
        server: its host and port.
        name: of the bucket.
    """

    server: str
    name: str

    @cached_property
    def client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=f"http://{self.server}", region_name="us-east-1")

    def uri(self, path: str) -> str:
        """As pyarrow takes it."""
        options = f"endpoint_override={self.server}&scheme=http&region=us-east-1"
        return f"s3://{self.name}/{quote(path)}?{options}"

    def put(self, path: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=path, Body=content)

    def get(self, path: str) -> bytes:
        found: bytes = self.client.get_object(Bucket=self.name, Key=path)["Body"].read()
        return found

    def delete(self, path: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=path)

    def list(self, folder: str) -> list[str]:
        """The names of the objects in a folder."""
        page = self.client.list_objects_v2(Bucket=self.name, Prefix=f"{folder}/")
        return sorted(entry["Key"].removeprefix(f"{folder}/") for entry in page.get("Contents", ()))

    def unfinished(self) -> int:
        """How many uploads were begun and not ended."""
        return len(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", ()))

    def upload(self, source: Path, path: str) -> str:
        """Put a file or the files of a folder there; gives the URI."""
        for file in source.iterdir() if source.is_dir() else ():
            self.put(f"{path}/{file.name}", file.read_bytes())
        if source.is_file():
            self.put(path, source.read_bytes())
        return self.uri(path)

    def download(self, path: str, folder: Path) -> Path:
        """What the folder of a run on this machine would be."""
        folder.mkdir()
        for name in self.list(path):
            (folder / name).write_bytes(self.get(f"{path}/{name}"))
        (folder / ".lock").touch()
        return folder


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server of its own process, and credentials for it."""
    with (
        pytest.MonkeyPatch.context() as patch,
        subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process,
    ):
        patch.setenv("AWS_ACCESS_KEY_ID", "someone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        assert process.stdout is not None
        host, port = process.stdout.readline().split()
        yield f"{host}:{port}"
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def bucket(server: str, request: pytest.FixtureRequest) -> Bucket:
    """An empty bucket."""
    made = Bucket(server, f"bucket-{abs(hash(request.node.name)):x}")
    made.client.create_bucket(Bucket=made.name)
    return made


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of few rows."""
    monkeypatch.setattr(shards, "ROWS", 10)


@pytest.mark.parametrize("end", FORMATS)
def test_every_format(end: str, explainer: Explainer, bucket: Bucket, tmp_path: Path) -> None:
    source = tmp_path / f"reviews of ä{end}"
    WRITERS[end](source, pd.DataFrame({"n": range(14), "text": TEXTS * 2}))
    uri = bucket.upload(source, f"in/{source.name}")
    explainer.corpus(source, tmp_path / "out")
    found = explainer.corpus(uri, bucket.uri("some/where/out"))
    assert str(found) == f"14 rows, 0 errors; in s3://{bucket.name}/some/where/out"
    assert bucket.list("some/where/out") == [
        "manifest.json",
        *(shards.file_name(n) for n in (0, 1)),
    ]
    assert_same_output(bucket.download("some/where/out", tmp_path / "got"), tmp_path / "out")
    assert bucket.get(f"in/{source.name}") == source.read_bytes()
    one, other = list(explainer.corpus(source)), list(explainer.corpus(uri))
    assert [e.row for e in one] == [e.row for e in other]


def test_a_folder(explainer: Explainer, bucket: Bucket, tmp_path: Path) -> None:
    data = write_mixed_folder(tmp_path / "data")
    (data / "README.md").write_text("what it is")
    (data / "_more.csv").write_text("text\none\n")
    uri = bucket.upload(data, "data")
    bucket.put("data/deeper/a.csv", b"text\none\n")
    (data / "deeper").mkdir()
    options: dict[str, Any] = {"id": "id", "label": "label", "target": "column:label"}
    expected = explainer.corpus(data, tmp_path / "out", **options)
    found = explainer.corpus(uri, bucket.uri("out"), **options)
    assert found.ignored == expected.ignored == ("README.md", "deeper")
    assert list(found.broken) == list(expected.broken) == ["b.parquet", "e.csv"]
    for name, why in expected.broken.items():
        assert found.broken[name] == why.replace(str(data), f"s3://{bucket.name}/data")
    got = bucket.download("out", tmp_path / "got")
    manifest = (got / "manifest.json").read_text()
    (got / "manifest.json").write_text(manifest.replace(f"s3://{bucket.name}/data", str(data)))
    assert_same_output(got, tmp_path / "out")
    assert found.folder == bucket.uri("out")
    frames = [pd.concat(map(pd.read_parquet, s.shards)) for s in (found, expected)]
    pd.testing.assert_frame_equal(frames[0][["row", "text"]], frames[1][["row", "text"]])
    told, wanted = (summary(s.folder, min_count=1) for s in (found, expected))
    assert told.folder == f"s3://{bucket.name}/out"
    assert told.labels == wanted.labels
    assert [part.eligible for part in told.words] == [part.eligible for part in wanted.words]
    again = explainer.corpus(uri, bucket.uri("out"), **options)
    assert (again.was_finished, again.shards) == (True, found.shards)


def test_a_run_goes_on_where_it_was(
    explainer: Explainer, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_mixed_folder(tmp_path / "data")
    uri, out = bucket.upload(data, "data"), bucket.uri("out")
    explainer.corpus(uri, tmp_path / "whole")
    close = shards.Writer.close
    for stopped_at in (0, 3, 8):

        def closed(self: Any, note: Any, stop: str = shards.file_name(stopped_at)) -> None:
            if self.path.name == stop:
                raise StopError
            close(self, note)

        monkeypatch.setattr(shards.Writer, "close", closed)
        with pytest.raises(StopError):
            explainer.corpus(uri, out)
        expected = ["manifest.json", *map(shards.file_name, range(stopped_at))]
        assert bucket.list("out") == expected
        assert json.loads(bucket.get("out/manifest.json"))["state"] == "unfinished"
    monkeypatch.setattr(shards.Writer, "close", close)
    bucket.delete("out/shard-00002.parquet")
    assert not explainer.corpus(uri, out).was_finished
    assert_same_output(bucket.download("out", tmp_path / "got"), tmp_path / "whole")
    assert bucket.unfinished() == 0
    bucket.delete("out/shard-00002.parquet")
    with pytest.raises(InputError, match="lost 1 of its shards"):
        explainer.corpus(uri, out)


def test_killed_at_any_moment(
    model: Path,
    explainer: Explainer,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, script = tmp_path / "reviews.parquet", tmp_path / "slow.py"
    texts = [f"{TEXTS[n % 7]} {n}" if n % 11 else None for n in range(250)]
    pd.DataFrame({"text": texts}).to_parquet(source, row_group_size=50)
    uri, out = bucket.upload(source, "reviews.parquet"), bucket.uri("out")
    script.write_text(f"import sys, time\n{SLOW_WRITING}\nfrom normxlogit import cli\ncli.main()")
    arguments = ["corpus", uri, "--model", str(model), "--output", out]
    arguments += ["--dtype", "float32", "--batch-size", "8"]

    monkeypatch.setattr(shards, "ROWS", 16)
    explainer.corpus(uri, tmp_path / "whole", batch_size=8)
    null = subprocess.DEVNULL
    with subprocess.Popen(
        [sys.executable, str(script), *arguments], stdout=null, stderr=null
    ) as process:
        while process.poll() is None and len(bucket.list("out")) < 4:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert 4 <= len(bucket.list("out")) < 17
    assert json.loads(bucket.get("out/manifest.json"))["state"] == "unfinished"
    assert not explainer.corpus(uri, out, batch_size=8).was_finished
    assert_same_output(bucket.download("out", tmp_path / "got"), tmp_path / "whole")
    assert [row["text"] for row in read_shards(tmp_path / "got")] == texts


def test_two_runs_at_once_write_the_same(
    model: Path,
    explainer: Explainer,
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A store has no lock: a second run begins before the first has written a shard, which stops
    when it has written over one of the second.
    """
    other = Explainer.from_pretrained(str(model))
    source = write_lines(tmp_path / "reviews.txt", [f"one {n}" for n in range(35)])
    uri, out = bucket.upload(source, "reviews.txt"), bucket.uri("out")
    explainer.corpus(source, tmp_path / "whole")
    close = shards.Writer.close

    def closed(self: Any, note: Any) -> None:
        monkeypatch.setattr(shards.Writer, "close", close)
        bucket.delete("out/manifest.json")
        assert other.corpus(uri, out).rows == 35
        close(self, note)
        monkeypatch.setattr(shards.Writer, "close", stopped)

    def stopped(*_: Any) -> None:
        raise StopError

    monkeypatch.setattr(shards.Writer, "close", closed)
    with pytest.raises(StopError):
        explainer.corpus(uri, out)
    monkeypatch.setattr(shards.Writer, "close", close)
    assert explainer.corpus(uri, out).rows == 35
    assert_same_output(bucket.download("out", tmp_path / "got"), tmp_path / "whole")


def test_other_settings_are_refused(explainer: Explainer, bucket: Bucket, tmp_path: Path) -> None:
    source, out = write_lines(tmp_path / "reviews.txt", TEXTS[:6]), bucket.uri("out")
    uri = bucket.upload(source, "reviews.txt")
    explainer.corpus(source, out)
    before = {name: bucket.get(f"out/{name}") for name in bucket.list("out")}
    assert explainer.corpus(uri, out).was_finished
    with pytest.raises(InputError, match='method was "normxlogit" and is "norm"'):
        explainer.corpus(uri, out, method="norm")
    bucket.put("reviews.txt", b"two\n")
    with pytest.raises(InputError, match=r"the file reviews\.txt was of .* and is of 4 bytes"):
        explainer.corpus(uri, out)
    bucket.put("mine/notes.txt", b"mine")
    with pytest.raises(InputError, match=r"s3://.*/mine holds something else \(notes.txt\)"):
        explainer.corpus(source, bucket.uri("mine"))
    with pytest.raises(InputError, match=r"notes\.txt: it is not a folder"):
        explainer.corpus(source, bucket.uri("mine/notes.txt"))
    assert {name: bucket.get(f"out/{name}") for name in bucket.list("out")} == before
    assert bucket.list("mine") == ["notes.txt"]


def test_strict(explainer: Explainer, bucket: Bucket, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", [*(f"one {n}" for n in range(14)), "", "two"])
    uri = bucket.upload(source, "reviews.txt")
    with pytest.raises(InputError, match=r"row 14 \(row 14 of reviews.txt\): text is blank"):
        explainer.corpus(uri, bucket.uri("out"), strict=True)
    assert bucket.list("out") == ["manifest.json", "shard-00000.parquet"]
    assert explainer.corpus(uri, bucket.uri("out")).errors == {"blank": 1}
    rows = read_shards(bucket.download("out", tmp_path / "got"))
    assert error_kinds(rows) == {14: "blank"}


def test_what_is_not_there(explainer: Explainer, bucket: Bucket, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "reviews.txt", TEXTS)
    none = replace(bucket, name="no-such-bucket")
    away = replace(bucket, server="127.0.0.1:9")
    bucket.put("reviews.docx", b"")
    bucket.put("empty/reviews.docx", b"")
    sources = {
        none.uri("reviews.csv"): "there is no file or folder s3://no-such-bucket/reviews.csv",
        bucket.uri("none.csv"): "there is no file or folder",
        bucket.uri("reviews.docx"): "must end in one of .parquet, .csv",
        bucket.uri("empty"): "has no file that ends in",
        away.uri("reviews.csv"): r"cannot read s3://.*/reviews.csv: .*NETWORK_CONNECTION",
        "ftp://someone:secret@there/reviews.csv": "cannot reach ftp://someone@there/reviews.csv",
        "s3://someone:secret@there/the reviews.csv": "cannot reach s3://someone@there.*syntax",
        "s3://someone:very/secret@there/reviews.csv": "cannot reach s3://someone@there",
        bucket.uri("x") + "&magic=secret": "cannot reach .*: Unexpected query parameter",
    }
    for uri, reason in sources.items():
        with pytest.raises(InputError, match=reason) as raised:
            explainer.corpus(uri, tmp_path / "out")
        assert "\n" not in str(raised.value)
        assert "secret" not in str(raised.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"cannot write s3://no-such-bucket/.*NO_SUCH_BUCKET"):
        explainer.corpus(source, none.uri("out"))
    with pytest.raises(InputError, match="holds no run of normxlogit corpus"):
        summary(bucket.uri("empty"))


@pytest.mark.parametrize("end", [".csv", ".parquet"])
def test_a_connection_that_breaks_off(
    end: str, explainer: Explainer, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the file: the run ends, and can go on."""
    source = tmp_path / f"reviews{end}"
    WRITERS[end](
        source, pd.DataFrame({"text": [f"one {random.Random(n).random()}" for n in range(30)]})
    )
    uri, opened, enter = bucket.upload(source, f"reviews{end}"), Remote.open, Folder.__enter__
    explainer.corpus(source, tmp_path / "whole")
    begun = False

    class Breaking:
        """A file of pyarrow that breaks off among the rows, once a run has begun."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def readinto(self, into: Any) -> int:
            if begun and 0 < self.file.tell() < 0.4 * self.file.size():
                raise OSError("the line is dead")
            found: int = self.file.readinto(memoryview(into)[:200])
            return found

    def flaky(self: Remote, mode: Literal["rb"] = "rb") -> io.BufferedReader:
        file = opened(self, mode)
        raw: Any = file.raw
        raw._file = Breaking(raw._file)
        return file

    def entered(self: Folder) -> Folder:
        nonlocal begun
        begun = True
        return enter(self)

    monkeypatch.setattr(Remote, "open", flaky)
    monkeypatch.setattr(Folder, "__enter__", entered)
    with pytest.raises(InputError, match=r"cannot read on in s3://.*: the line is dead"):
        explainer.corpus(uri, bucket.uri("out"))
    monkeypatch.undo()
    monkeypatch.setattr(shards, "ROWS", 10)
    assert explainer.corpus(uri, bucket.uri("out")).broken == {}
    assert_same_output(bucket.download("out", tmp_path / "got"), tmp_path / "whole")


def test_large_files_are_whole(bucket: Bucket) -> None:
    content = random.Random(1).randbytes(25_000_000)
    locate(bucket.uri("large")).write(content)  # type: ignore[union-attr]
    assert bucket.get("large") == content
    assert bucket.unfinished() == 0


def test_where_half_a_file_could_be_seen(tmp_path: Path) -> None:
    """Such a filesystem gets it under another name first."""
    written = list[str]()

    class Seen(Remote):
        def _put(self, path: str, content: Any) -> None:
            written.append(Path(path).name)
            super()._put(path, content)

    place = Seen(pa.fs.LocalFileSystem(), str(tmp_path / "deep" / "a.txt"), "x://deep/a.txt")
    for content in (b"one", b"two"):
        place.write(content)
        assert (tmp_path / "deep" / "a.txt").read_bytes() == content
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]
    assert all(name.startswith(".a.txt.") for name in written)
    place.unlink()
    place.unlink(missing_ok=True)
    (tmp_path / "deep" / "a.txt" / "full").mkdir(parents=True)
    with pytest.raises(InputError, match=r"cannot write x://deep/a\.txt: "):
        place.write(b"three")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_uris() -> None:
    assert redacted("s3://me:pass@bucket/a b?region=x") == "s3://me@bucket/a b"
    assert redacted("s3://me:pa/ss@bucket/a@b") == "s3://me@bucket/a@b"
    assert redacted("hdfs://there:8020/a@b") == "hdfs://there:8020/a@b"
    assert (
        redacted("abfss://box@me.dfs.core.windows.net/a") == "abfss://box@me.dfs.core.windows.net/a"
    )
    assert redacted("a?b") == "a?b"
    assert locate("file:///tmp/a%20b") == Path("/tmp/a b")
    assert locate("a/b.csv") == Path("a/b.csv")
    inside = locate("gs://anonymous@bucket/a/?scheme=https") / "b c.csv"
    assert isinstance(inside, Remote)
    assert (inside.path, inside.name, inside.suffix) == ("bucket/a/b c.csv", "b c.csv", ".csv")
    assert inside.uri == "gs://anonymous@bucket/a/b%20c.csv?scheme=https"


def test_without_pyarrow(explainer: Explainer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=r"pip install .normxlogit\[corpus\]"):
        explainer.corpus("s3://bucket/reviews.csv")


def test_the_commands(model: Path, bucket: Bucket, tmp_path: Path) -> None:
    uri = bucket.upload(write_lines(tmp_path / "reviews.txt", [*TEXTS[:6], ""]), "in/reviews.txt")
    arguments = ["corpus", bucket.uri("in"), "--model", str(model), "-o", bucket.uri("out")]
    first, again = (CliRunner().invoke(cli.app, arguments) for _ in range(2))
    assert first.exit_code == again.exit_code == 0, first.output
    assert first.stdout == (
        f"7 rows, 1 error (1 blank); in s3://{bucket.name}/out\n"
        f"To see what is in it: normxlogit summary s3://{bucket.name}/out\n"
    )
    assert again.stdout == f"already finished: {first.stdout}"
    told = CliRunner().invoke(cli.app, ["summary", bucket.uri("out")])
    assert told.exit_code == 0, told.output
    assert "7, of which 6 were explained" in told.stdout
    other = CliRunner().invoke(cli.app, [*arguments, "--hash"])
    assert other.exit_code == 1
    assert other.stderr.count("\n") == 1
    assert "hash was false and is true" in other.stderr
    none = CliRunner().invoke(cli.app, ["corpus", uri.replace("in/", "no/"), *arguments[2:]])
    assert (none.exit_code, none.stderr.count("\n")) == (1, 1)


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray warns of itself
def test_ray(
    explainer: Explainer, bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers write to the store what is missing of a run that another engine began."""
    import ray

    data = write_mixed_folder(tmp_path / "data")
    uri, out = bucket.upload(data, "data"), bucket.uri("out")
    explainer.corpus(uri, tmp_path / "whole", id="id")
    explainer.corpus(uri, out, id="id")
    for number in (0, 3, 4, 7, 8):
        bucket.delete(f"out/{shards.file_name(number)}")
    manifest = json.loads(bucket.get("out/manifest.json")) | {"state": "unfinished"}
    bucket.put("out/manifest.json", json.dumps(manifest).encode())
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    with contextlib.ExitStack() as stack:
        stack.callback(ray.shutdown)
        found = explainer.corpus(uri, out, id="id", engine="ray", workers=2)
    assert (found.was_finished, found.rows) == (False, 86)
    assert_same_output(bucket.download("out", tmp_path / "got"), tmp_path / "whole")
    assert explainer.corpus(uri, out, id="id").was_finished
