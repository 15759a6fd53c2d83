"""NormXLogit scores from a model's own hidden states and head, written out."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel


def scores_by_hand(model: Any, inputs: dict[str, Tensor], mapping: str) -> Any:
    """||x^0|| times what the head gives for each token's final state, for the largest logit."""
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
        if mapping == "sequence-classification":
            return _pooled_by_hand(model, inputs, output)
        if mapping == "seq2seq-lm":
            of_source = _decoded_by_hand(model, output.encoder_last_hidden_state)
            hot = torch.cat([of_source, output.logits], 1)
            zero = torch.cat([output.encoder_hidden_states[0], output.decoder_hidden_states[0]], 1)
        else:
            hot, zero = output.logits, output.hidden_states[0]
    predicting = output.logits[:, 1 if mapping == "masked-lm" else -1]
    of_target = hot.gather(-1, predicting.argmax(-1)[:, None, None].expand(-1, hot.shape[1], 1))[
        ..., 0
    ]
    return zero.norm(dim=-1) * of_target


def _decoded_by_hand(model: Any, states: Tensor) -> Any:
    if model.config.model_type == "bart":
        return model.lm_head(states) + model.final_logits_bias
    if model.config.scale_decoder_outputs:
        states = states * model.config.d_model**-0.5
    return model.lm_head(states)


def _pooled_by_hand(model: Any, inputs: dict[str, Tensor], output: Any) -> Any:
    states = output.get("hidden_states", output.get("decoder_hidden_states"))
    if model.config.model_type == "bert":
        pooled = torch.tanh(model.bert.pooler.dense(states[-1]))
        hot = model.classifier(pooled)
    elif model.config.model_type == "bart":
        hot = model.classification_head(states[-1])
    else:
        hot = model.score(states[-1])
    of_target = hot.gather(-1, output.logits.argmax(-1)[:, None, None].expand(-1, hot.shape[1], 1))
    scores = states[0].norm(dim=-1) * of_target[..., 0]
    return scores.masked_fill(inputs["attention_mask"] == 0, torch.nan)


def generated_scores_by_hand(model: PreTrainedModel, ids: list[int], count: int) -> Tensor:
    """Scores of a causal language model for the last `count` ids, [count, ids]; nan after."""
    whole = torch.tensor([ids])
    with torch.no_grad():
        output = model(input_ids=whole, output_hidden_states=True)
    norms = output.hidden_states[0][0].norm(dim=-1)
    scores = torch.full((count, len(ids)), torch.nan)
    for row, position in enumerate(range(len(ids) - count, len(ids))):
        scores[row, :position] = norms[:position] * output.logits[0, :position, ids[position]]
    return scores
