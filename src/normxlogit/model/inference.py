"""How a model is run: without autograd's records, and in the precision of its own weights."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def without_autocast() -> Iterator[None]:
    """Leave the caller's `torch.autocast`, on the CPU and on the accelerator.

    Under autocast some operations of a forward pass compute in other precisions than the weights
    have. The head would not give in replay what it gave in the pass, so nothing could be checked.
    """
    accelerator = torch.accelerator.current_accelerator()
    devices = {"cpu"} if accelerator is None else {"cpu", accelerator.type}
    with ExitStack() as stack:
        for device in devices:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def inference() -> Iterator[None]:
    """Enter torch's inference mode, and leave autocast. All forward passes run inside."""
    with without_autocast(), torch.inference_mode():
        yield
