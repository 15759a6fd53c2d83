"""Fit the demo model's attribution head.

    NORMXLOGIT_SHARED=../shared python -m tools.train_demo_head

The texts are drawn from those that `tools.train_demo` trains the model on, so from no dev or test
sentence and from nothing close to a sentence of demo_sentences.tsv. A few minutes on two CPU
cores. It writes src/normxlogit/demo/attribution_head.safetensors, and prints how good the head is
on the texts that the fit holds out. `tools.check_demo` holds it against the hand-written sentences.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import normxlogit as nxl
from normxlogit.cli.evaluation_tables import print_held_out
from tools.check_demo import DEMO, HEAD, shared_folder
from tools.train_demo import GENERATED, SEED, training_rows


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Fit the demo model's attribution head.")
    parser.add_argument("--output", type=Path, default=DEMO / HEAD)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--texts", type=int, default=2500)
    parser.add_argument("--masks", type=int, default=8)
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--width", type=int, default=48)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    rows = training_rows(shared_folder(), random.Random(arguments.seed), GENERATED)
    head = nxl.Explainer.from_pretrained("demo", device="cpu").fit(
        [row.text for row in rows],
        arguments.output,
        texts=arguments.texts,
        masks=arguments.masks,
        layers=arguments.layers,
        width=arguments.width,
        seed=arguments.seed,
        progress=True,
    )
    print_held_out(head.record)
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
