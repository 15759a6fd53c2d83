"""Files that are written whole keep their permissions, and links stay links."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from normxlogit import InputError
from normxlogit.cli.io import check_output
from normxlogit.data.files import open_pending, write_whole

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize("before", [0o600, 0o640, 0o644, 0o664, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(before: int, tmp_path: Path) -> None:
    path = tmp_path / "private.json"
    path.write_text("before")
    path.chmod(before)
    write_whole(path, "after")
    assert (path.read_text(), mode(path)) == ("after", before)
    assert [entry.name for entry in tmp_path.iterdir()] == ["private.json"]


def test_a_new_file_has_the_mode_of_any_other(umask: int, tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "new")
    (tmp_path / "b").write_text("any other")
    assert mode(tmp_path / "a") == mode(tmp_path / "b") == 0o666 & ~umask


def test_what_replaces_a_private_file_is_private_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "private"
    path.write_text("before")
    path.chmod(0o600)
    pending = open_pending(path)
    (temporary,) = set(tmp_path.iterdir()) - {path}
    assert mode(temporary) == 0o600
    path.chmod(0o644)  # the mode of the moment that it is replaced counts
    pending.commit()
    assert mode(path) == 0o644


@pytest.mark.parametrize("folder", [".", "elsewhere"])
def test_a_link_stays_and_what_it_points_to_is_written(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir(exist_ok=True)
    target, link, again = tmp_path / folder / "target", tmp_path / "link", tmp_path / "again"
    target.write_text("before")
    target.chmod(0o600)
    link.symlink_to(Path(folder) / "target")
    again.symlink_to("link")
    for path in (link, again):
        check_output(path)
        write_whole(path, path.name)
        assert (target.read_text(), mode(target)) == (path.name, 0o600)
    assert link.is_symlink()
    assert again.is_symlink()
    assert not target.is_symlink()


def test_a_link_to_nothing_makes_its_target(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "device").symlink_to("/dev/null")
    (tmp_path / "folder").mkdir()
    (tmp_path / "to folder").symlink_to("folder")
    (tmp_path / "nowhere").symlink_to("no/such/file")
    for entry in sorted(tmp_path.iterdir()):
        with pytest.raises(InputError, match="cannot write"):
            write_whole(entry, "")
    assert (tmp_path / "loop").is_symlink()
    with pytest.raises(InputError, match="no folder"):
        check_output(tmp_path / "nowhere")
    with pytest.raises(InputError, match="not a plain file"):
        check_output(tmp_path / "device")
