"""The demo as a page that runs in the browser alone: a folder of static files.

    python -m tools.web_demo                     into build/web_demo
    python -m tools.web_demo --output site/demo

Needs npm, which installs the packages that web/demo/package-lock.json pins, and the extra `onnx`.
"""

import argparse
import gzip
import shutil
import subprocess
import tempfile
from pathlib import Path

from normxlogit import Explainer, export
from normxlogit.show.templating import asset
from tests.helpers.paths import ROOT

SOURCE = ROOT / "web/demo"
OUTPUT = ROOT / "build/web_demo"
STYLES = ("fragment.css", "page.css")
"""Style sheets of the package's own pages, which this page shares."""
VENDOR = {
    "vendor/onnxruntime.mjs": "onnxruntime-web/dist/ort.wasm.bundle.min.mjs",
    "vendor/tokenizers.mjs": "@huggingface/tokenizers/dist/tokenizers.min.mjs",
    "vendor/tokenizers.LICENSE": "@huggingface/tokenizers/LICENSE",
}
WASM = "onnxruntime-web/dist/ort-wasm-simd-threaded.wasm"
PACKAGE = ("package.json", "package-lock.json")


def build(folder: Path) -> None:
    """Write the page and all that it loads; files of an earlier build are replaced.

    Raises:
        SystemExit: npm is not there, or cannot install the packages.
    """
    with tempfile.TemporaryDirectory() as temporary:
        modules = _install(Path(temporary) / "npm")
        exported = Path(temporary) / "exported"
        export(Explainer.from_pretrained("demo", device="cpu", head="demo"), exported)
        (folder / "vendor").mkdir(parents=True, exist_ok=True)
        for path in SOURCE.iterdir():
            if path.name not in PACKAGE:
                shutil.copyfile(path, folder / path.name)
        for name in STYLES:
            (folder / name).write_text(asset(name), "utf-8")
        for name, source in VENDOR.items():
            shutil.copyfile(modules / source, folder / name)
        for name in ("tokenizer.json", "tokenizer_config.json", "manifest.json"):
            shutil.copyfile(exported / name, folder / name)
        # Many hosts send neither file compressed, and the page unpacks them itself. No server has
        # a rule for this ending, by which it would unpack them on the way.
        _zip(modules / WASM, folder / "onnxruntime.wasm.gzip")
        _zip(exported / "model.onnx", folder / "model.onnx.gzip")


def _install(folder: Path) -> Path:
    """Install the pinned packages, and return where they are."""
    folder.mkdir()
    for name in PACKAGE:
        shutil.copyfile(SOURCE / name, folder / name)
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("there is no npm; install Node.js.")
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    if subprocess.run(command, cwd=folder).returncode:
        raise SystemExit("npm could not install the packages of web/demo/package-lock.json.")
    return folder / "node_modules"


def _zip(source: Path, target: Path) -> None:
    # Without a name and a time, the same file gives the same bytes.
    target.write_bytes(gzip.compress(source.read_bytes(), 9, mtime=0))


def main() -> None:
    """Build the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    output: Path = parser.parse_args().output.resolve()
    build(output)
    print(f"python -m http.server --bind 127.0.0.1 --directory {output}")


if __name__ == "__main__":
    main()
