"""An attribution head of the usual size that was never fitted: what it costs is the same."""

import torch
from transformers import PreTrainedModel

from normxlogit.fitting.model_passes import chosen_layers
from normxlogit.fitting.options import FitOptions
from normxlogit.methods.attribution_head import AttributionHead
from normxlogit.methods.attribution_head.head import EmptyOutcomes, FitRecord, UsualStates
from normxlogit.methods.attribution_head.network import HeadNetwork
from normxlogit.model.targets import Problem

COMPONENTS = 32


def untrained_head(model: PreTrainedModel) -> AttributionHead:
    """A head for a classifier, with random weights."""
    config = model.config
    layers = chosen_layers(None, int(config.num_hidden_layers))
    features, outputs = len(layers) * int(config.hidden_size), int(config.num_labels or 0)
    torch.manual_seed(0)
    components = torch.linalg.qr(torch.randn(features, COMPONENTS)).Q.T.contiguous()
    return AttributionHead(
        HeadNetwork(features, FitOptions().width, outputs).eval().requires_grad_(False),
        EmptyOutcomes(torch.arange(1, 65), torch.randn(64, outputs)),
        UsualStates(torch.zeros(features), torch.ones(features), components, 1.0),
        FitRecord({}, Problem.SINGLE_LABEL, layers, "mask", {}, {}, {}, {}),
    )
