"""Build the wheel and the sdist, check them, and try each out in an empty environment.

python -m tools.package
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tools import ROOT

TEXT = "A great movie with poor performers."


def main() -> None:
    """Leave both in a folder, if they work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    output: Path = parser.parse_args().output
    shutil.rmtree(output, ignore_errors=True)
    for path in build(output):
        with tempfile.TemporaryDirectory() as folder:
            try_out(path, Path(folder))
        print(f"{path.name} explains a text in an empty environment")


def build(output: Path) -> list[Path]:
    """Build both into an empty folder, and check what PyPI would show of them."""
    run(sys.executable, "-m", "build", "--outdir", str(output), str(ROOT))
    paths = sorted(output.iterdir())
    run(sys.executable, "-m", "twine", "check", "--strict", *map(str, paths))
    return paths


def try_out(package: Path, folder: Path) -> None:
    """Install a package into an empty environment, with pinned dependencies, and explain a text."""
    venv.create(folder / "environment", with_pip=True)
    programs = folder / "environment" / ("Scripts" if sys.platform == "win32" else "bin")
    pins = str(ROOT / "constraints.txt")
    run(str(programs / "pip"), "install", "--quiet", "-c", pins, str(package))
    # In a folder of its own, so that nothing of the repository is found.
    run(str(programs / "normxlogit"), "explain", "--head", "demo", TEXT, folder=folder)


def run(*command: str, folder: Path = ROOT) -> None:
    """Run a command, and stop with its exit code if it fails."""
    print("+", *command, flush=True)
    done = subprocess.run(command, cwd=folder, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
