"""Nothing runs on a page or is loaded by it but what it was made with."""

import io
import re
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from normxlogit import Failure, InputError
from normxlogit.results.base import Result
from normxlogit.results.thumbnails import thumbnail
from normxlogit.show.dispatch import fragment, page
from tests.helpers.pages import HOSTILE, find_browser
from tests.helpers.policy import assert_policy
from tests.helpers.results import GOOD_BAD, IMAGE, SOUND, chat, generation, hostile

PICTURE = replace(
    IMAGE, grid=(2, 2), box=(0.0, 0.0, 60.0, 64.0), thumbnail=thumbnail(Image.new("RGB", (60, 64)))
)
FAILURE = Failure(HOSTILE, InputError("no"))
PAGES: dict[str, list[Result | Failure]] = {
    "text": [GOOD_BAD],
    "hostile": [hostile()],
    "generation": [generation()],
    "hostile chat": [chat([("user", "</script><script>alert(1)</script>")], HOSTILE)],
    "image": [PICTURE],
    "image without its copy": [replace(PICTURE, thumbnail=None)],
    "audio": [SOUND],
    "failure": [FAILURE],
    "every kind": [GOOD_BAD, generation(), PICTURE, SOUND, FAILURE],
}


@pytest.mark.parametrize("name", PAGES)
def test_every_kind_of_page_has_a_policy(name: str) -> None:
    assert_policy(page(PAGES[name]), images=name in ("image", "every kind"))


@pytest.mark.parametrize("result", [GOOD_BAD, generation(), PICTURE, SOUND])
def test_a_fragment_leaves_the_policy_to_the_notebook(result: Result) -> None:
    assert "Content-Security-Policy" not in fragment(result)


class _Server(BaseHTTPRequestHandler):
    """Answers every request with an image, and keeps the paths that were asked for."""

    paths: list[str]

    def do_GET(self) -> None:
        self.paths.append(self.path)
        file = io.BytesIO()
        Image.new("RGB", (1, 1)).save(file, "PNG")
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(file.getvalue())

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the paths that were asked of it."""
    paths = list[str]()
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), type("Server", (_Server,), {"paths": paths})
    ) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", paths
        http.shutdown()
        thread.join()


INJECTED = """<script>document.body.dataset.injected = "script"</script>
<style>body {{ --injected: style }}</style>
<img src="{address}/image.png" onerror="document.body.dataset.injected = 'handler'">
<p style="background: url({address}/background.png)">p</p>
<iframe src="{address}/frame"></iframe>
<link rel="stylesheet" href="{address}/sheet.css">
<script src="{address}/script.js"></script>
"""


@pytest.mark.browser
@pytest.mark.parametrize("name", ["generation", "image"])
@pytest.mark.parametrize("allowed", [False, True])
def test_what_is_injected_is_blocked(
    name: str, allowed: bool, server: tuple[str, list[str]], tmp_path: Path
) -> None:
    """And it is the policy that blocks it, for without the policy it runs and loads."""
    address, paths = server
    html = page(PAGES[name]).replace("</body>", INJECTED.format(address=address) + "</body>")
    if allowed:
        html = re.sub("<meta http-equiv[^>]*>", "", html)
    (tmp_path / "page.html").write_text(html, "utf-8")
    browser = find_browser()
    assert browser is not None
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking"]
    command += ["--virtual-time-budget=3000", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--dump-dom", (tmp_path / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert ("data-injected" in done.stdout) == allowed
    assert ("/image.png" in paths) == allowed
    assert ("/background.png" in paths) == allowed
    assert bool(paths) == allowed
    if name == "generation":
        assert 'data-started=""' in done.stdout, "the page's own script must run"
