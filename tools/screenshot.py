"""The picture at the top of the README: a page that the command writes, drawn by Chromium.

python -m tools.screenshot
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

from normxlogit import Explainer
from tests.helpers.pages import find_browser
from tests.helpers.paths import ROOT
from tools.samples import COMPLAINT

PICTURE = ROOT / "docs/figures/page.png"
SIZE = (860, 552)
"""Width and height in pixels: the page down to its last bar."""


def draw(html: str, path: Path) -> None:
    """Write what Chromium shows of a page, in its light colours, as a PNG.

    Raises:
        SystemExit: there is no Chromium or Chrome.
    """
    browser = find_browser()
    if browser is None:
        raise SystemExit("there is no Chromium or Chrome; install one.")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(html, "utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--no-first-run", "--disable-background-networking"]
        command += [f"--user-data-dir={folder}/profile", "--blink-settings=preferredColorScheme=1"]
        command += [f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={path}", page.as_uri()]
        subprocess.run(command, capture_output=True, timeout=120, check=True)


def main() -> None:
    """Draw the demo's explanation of a sentence by its attribution head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=PICTURE)
    output: Path = parser.parse_args().output.resolve()
    explainer = Explainer.from_pretrained("demo", device="cpu", head="demo")
    draw(explainer.explain(COMPLAINT).to_html(), output)


if __name__ == "__main__":
    main()
