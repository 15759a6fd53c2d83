"""Train the embedded demo model, a small English sentiment classifier, from start to finish.

    NORMXLOGIT_SHARED=../shared python -m tools.train_demo

Reads SST-2 sentences and phrases and the teacher `minilm-sst2` from the folder named by the
environment variable NORMXLOGIT_SHARED (default ../shared), and writes config, tokenizer and
weights to src/normxlogit/demo. On two CPU cores it takes about twenty minutes.

1. Text: SST-2 training sentences (as they are and naturalised), phrases (one of the two forms
   each) and generated sentences with negation and contrast. Rows that contain a dev or test
   sentence, and rows close to a sentence of demo_sentences.tsv, are dropped.
2. The teacher's vocabulary is pruned.
3. The student keeps some of the teacher's layers, with narrower feed-forward blocks. It learns
   the gold labels and, on rows that the teacher gets right, the teacher's hidden states in
   every kept layer and the head's logits on every token, so that token-level explanations
   follow the teacher's, and not only predictions.

The last state is saved: nothing is selected on dev data.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertForSequenceClassification,
)

from tools.check_demo import (
    DEMO,
    HEAD,
    SENTENCES,
    accuracy,
    check,
    naturalise,
    read_sentences,
    read_sst2,
    shared_folder,
)

SEED = 7
GENERATED = 8000
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TYPOGRAPHIC = "‘’“”–—…•€™"


def word_list(text: str) -> list[str]:
    return text.split()


# Generated sentences: things one reviews, and what can be said of them.
ANY_GOOD = word_list(
    "good great excellent amazing fantastic wonderful lovely impressive perfect superb"
)
ANY_BAD = word_list("bad terrible awful horrible poor disappointing annoying mediocre dreadful")
DOMAINS = [
    (
        word_list("film movie story script ending cast plot novel book show album concert"),
        word_list("""
        beautiful enjoyable interesting entertaining funny clever charming brilliant memorable
        touching exciting convincing original satisfying refreshing thoughtful moving
        """),
        word_list("""
        boring dull stupid weak slow confusing predictable tedious silly shallow painful clumsy
        forgettable frustrating lazy sloppy pointless tiresome messy
        """),
    ),
    (
        word_list("restaurant breakfast pizza coffee wine menu dessert salad lunch bakery"),
        word_list("fresh tasty delicious tender crisp generous outstanding warm"),
        word_list("bland stale cold greasy salty overpriced soggy dry tasteless"),
    ),
    (
        word_list("service staff waitress manager driver guide doctor teacher team nurse"),
        word_list("friendly helpful polite attentive professional patient kind welcoming"),
        word_list("rude slow unfriendly careless arrogant lazy unhelpful incompetent"),
    ),
    (
        word_list("laptop screen keyboard charger printer camera watch jacket sofa car bike app"),
        word_list("reliable useful comfortable elegant fast sturdy beautiful practical"),
        word_list("useless broken ugly slow flimsy uncomfortable unreliable noisy cheap"),
    ),
    (
        word_list("hotel room apartment museum flight tour shop cinema beach pool"),
        word_list("comfortable pleasant clean quiet charming beautiful cozy bright"),
        word_list("dirty noisy unpleasant overpriced crowded shabby cold depressing"),
    ),
]
PRAISE = word_list("loved enjoyed liked adored admired appreciated")
BLAME = word_list("hated disliked regretted despised")
LIKE = word_list("like enjoy love recommend trust appreciate")
DISLIKE = word_list("hate dislike regret mind")
# Kept whole in the vocabulary; not used in generated sentences.
EVERYDAY = word_list("""
    meal soup steak chicken burger sandwich sauce cheese bread cake chocolate tea beer cocktail
    noodles sushi salad dessert buffet chef waiter waitress receptionist cashier clerk driver
    plumber electrician dentist hairdresser reception lobby bathroom towel pillow blanket mattress
    bed shower balcony parking elevator luggage suitcase ticket queue booking reservation
    checkout refund invoice discount subscription password account order parcel package shipping
    delivery warranty phone smartphone tablet headphones speaker microphone cable charger battery
    router monitor mouse software update browser installation fridge oven kettle toaster blender
    vacuum dishwasher washing iron heater fan dress shoes boots socks zipper fabric leather
    backpack umbrella toy stroller bicycle tire engine brakes sequel soundtrack trailer dialogue
    comedy thriller drama documentary episode season character scene acting actor actress
""")
DEGREE = ["", "", "", "very ", "really ", "quite ", "so ", "truly "]
BE = ["is", "was", "is", "was", "looks", "seems"]
NOT_BE = ["is not", "was not", "isn't", "wasn't", "is never", "was never", "is hardly"]
DID_NOT = ["did not", "didn't", "do not", "don't", "could not", "never did", "would not"]


@dataclass(frozen=True)
class Row:
    """A training text and its label (1 is positive)."""

    text: str
    label: int


@dataclass(frozen=True)
class Encoded:
    """A row as token ids, and where its tokens start in the flat list of all tokens."""

    ids: list[int]
    label: int
    start: int


@dataclass(frozen=True)
class Batch:
    """Padded rows: ids, mask and position in the flat token list [batch, sequence]; labels."""

    ids: Tensor
    mask: Tensor
    where: Tensor
    labels: Tensor


def log(message: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {message}", flush=True)


def normalise(text: str) -> str:
    """Lower case, alphanumerics only, single spaces."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def held_out(folder: Path) -> dict[int, set[str]]:
    """Normalised dev and test sentences, as they are and naturalised, by number of words."""
    sentences: dict[int, set[str]] = {}
    for name in ("dev.tsv", "test.tsv"):
        for text, _ in read_sst2(folder / "data" / "sst2" / name):
            for form in (normalise(text), normalise(naturalise(text))):
                sentences.setdefault(len(form.split()), set()).add(form)
    return sentences


def contains_held_out(text: str, held: dict[int, set[str]]) -> bool:
    words = normalise(text).split()
    return any(
        " ".join(words[i : i + length]) in sentences
        for length, sentences in held.items()
        for i in range(len(words) - length + 1)
    )


def near_copy(text: str, sentences: Sequence[set[str]], limit: float = 0.6) -> bool:
    """Whether the words of `text` and of one sentence overlap by `limit` (Jaccard) or more."""
    words = set(normalise(text).split())
    return any(len(words & s) >= limit * len(words | s) for s in sentences)


def article(word: str) -> str:
    return f"an {word}" if word[0] in "aeiou" else f"a {word}"


def clause(rng: random.Random, label: int, domain: int) -> str:
    """A main clause of the given polarity, half of them negated, without capital and period."""
    things, good, bad = DOMAINS[domain]
    goods, bads = good + ANY_GOOD, bad + ANY_BAD
    thing = rng.choice(things)
    own, second = rng.sample(goods if label else bads, 2)
    other = rng.choice(bads if label else goods)
    liked, disliked = (PRAISE, BLAME) if label else (BLAME, PRAISE)
    verbs = DISLIKE if label else LIKE
    forms = [
        f"the {thing} {rng.choice(BE)} {rng.choice(DEGREE)}{own}",
        f"the {thing} {rng.choice(BE)} {own} and {second}",
        f"I {rng.choice(liked)} the {thing}",
        f"it {rng.choice(BE)} {article(own)} {thing}",
        f"this {thing} {rng.choice(NOT_BE)} {other}",
        f"the {thing} {rng.choice(NOT_BE)} {other}",
        f"we {rng.choice(DID_NOT)} {rng.choice(verbs)} the {thing}",
        f"there is nothing {other} about the {thing}",
        f"nobody {rng.choice(disliked)} the {thing}",
        f"{article(own)} and {second} {thing}",
    ]
    return rng.choice(forms)


def generator_words() -> set[str]:
    words = {word for domain in DOMAINS for part in domain for word in part}
    return words.union(ANY_GOOD, ANY_BAD, PRAISE, BLAME, LIKE, DISLIKE)


def generated(rng: random.Random) -> Row:
    """One sentence: a plain or negated clause, or two clauses of which one prevails."""
    label = rng.randrange(2)
    domain = rng.randrange(len(DOMAINS))
    main, other = clause(rng, label, domain), clause(rng, 1 - label, domain)
    forms = [
        main,
        main,
        f"{other}, but {main}",
        f"{other}; still, {main}",
        f"although {other}, {main}",
        f"even though {other}, {main}",
        f"{main}, even if {other}",
        f"{main}, and {clause(rng, label, domain)}",
    ]
    text = rng.choice(forms)
    return Row(text[:1].upper() + text[1:] + rng.choice([".", ".", ".", "!", ""]), label)


def training_rows(folder: Path, rng: random.Random, n_generated: int) -> list[Row]:
    """All training text, in the forms trained on, free of held-out sentences and near copies."""
    data = folder / "data"
    held = held_out(folder)
    table = [set(normalise(s.text).split()) for s in read_sentences(SENTENCES)]
    rows: list[Row] = []
    for text, label in read_sst2(data / "sst2" / "train.tsv"):
        natural = naturalise(text, final_period=rng.random() < 0.8)
        rows += [Row(text, label), Row(natural, label)]
    for text, label in read_sst2(data / "sst2_phrases" / "train.tsv"):
        natural = naturalise(text, final_period=rng.random() < 0.5)
        rows.append(Row(natural if rng.random() < 0.5 else text, label))
    rows += [generated(rng) for _ in range(n_generated)]

    kept = list(dict.fromkeys(rows))
    kept = [row for row in kept if row.text and not contains_held_out(row.text, held)]
    n_before = len(kept)
    kept = [row for row in kept if not near_copy(row.text, table)]
    assert not any(contains_held_out(row.text, held) for row in kept)
    log(
        f"training rows: {len(kept)} of {len(rows)}; {n_before - len(kept)} dropped as close to "
        f"{SENTENCES.name}, the rest as repeated or held out"
    )
    return kept


def choose_vocabulary(
    tokenizer: Any, texts: Sequence[str], size: int, n_frequent: int
) -> list[int]:
    """Ids to keep, ascending: specials, characters, the word lists above, the `n_frequent`
    most frequent pieces of the training text, then the whole words of lowest id (the most
    frequent in general English), so that few everyday words fall apart."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    characters = {chr(i) for i in range(33, 256)} | set(TYPOGRAPHIC)
    kept = {vocabulary[token] for token in SPECIAL_TOKENS}
    kept |= {i for piece, i in vocabulary.items() if piece.removeprefix("##") in characters}
    kept |= {vocabulary[word] for word in {*generator_words(), *EVERYDAY} if word in vocabulary}
    counts: Counter[int] = Counter()
    for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]:
        counts.update(ids)
    kept |= {i for i, _ in counts.most_common(n_frequent)}
    by_id = sorted((i, piece) for piece, i in vocabulary.items() if i >= vocabulary["the"])
    words = (i for i, piece in by_id if i not in kept and re.fullmatch("[a-z]+", piece))
    kept |= set(itertools.islice(words, size - len(kept)))
    return sorted(kept)


def prune_tokenizer(tokenizer: Any, kept: Sequence[int], folder: Path) -> None:
    """Write the tokenizer with the kept pieces only, renumbered in order."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    new_id = {old: new for new, old in enumerate(kept)}
    state["model"]["vocab"] = {
        piece: new_id[old] for piece, old in state["model"]["vocab"].items() if old in new_id
    }
    for token in state["added_tokens"]:
        token["id"] = new_id[token["id"]]
    for token in state["post_processor"]["special_tokens"].values():
        token["ids"] = [new_id[old] for old in token["ids"]]
    state["truncation"] = state["padding"] = None
    text = json.dumps(state, ensure_ascii=False, indent=1)
    Tokenizer.from_str(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": True,
            "model_max_length": 512,
            "unk_token": "[UNK]",
            "sep_token": "[SEP]",
            "pad_token": "[PAD]",
            "cls_token": "[CLS]",
            "mask_token": "[MASK]",
        },
    )


def write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def prune_embeddings(model: Any, kept: Sequence[int]) -> None:
    rows = model.bert.embeddings.word_embeddings.weight.detach()[list(kept)].clone()
    model.bert.embeddings.word_embeddings = nn.Embedding(len(kept), rows.size(1), padding_idx=0)
    model.bert.embeddings.word_embeddings.weight = nn.Parameter(rows)
    model.config.vocab_size = len(kept)


def encode(tokenizer: Any, rows: Sequence[Row]) -> list[Encoded]:
    encoded: list[Encoded] = []
    start = 0
    all_ids = tokenizer([row.text for row in rows], truncation=True, max_length=96)["input_ids"]
    for row, ids in zip(rows, all_ids, strict=True):
        encoded.append(Encoded(ids, row.label, start))
        start += len(ids)
    return encoded


def pad(rows: Sequence[Encoded]) -> Batch:
    length = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    where = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        n = len(row.ids)
        ids[i, :n] = torch.tensor(row.ids)
        mask[i, :n] = 1
        where[i, :n] = torch.arange(row.start, row.start + n)
    return Batch(ids, mask, where, torch.tensor([row.label for row in rows]))


def batches(
    encoded: Sequence[Encoded], tokens: int, rng: random.Random | None = None
) -> Iterator[Batch]:
    """Batches of rows of like length and about `tokens` tokens; shuffled if `rng` is given."""
    order = list(encoded)
    if rng:
        rng.shuffle(order)
    order.sort(key=lambda row: len(row.ids))
    chunks: list[list[Encoded]] = [[]]
    for row in order:
        if (len(chunks[-1]) + 1) * len(row.ids) > tokens:
            chunks.append([])
        chunks[-1].append(row)
    if rng:
        rng.shuffle(chunks)
    for chunk in chunks:
        yield pad(chunk)


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def optimise(
    model: Any,
    encoded: Sequence[Encoded],
    loss_of: Callable[[Batch], Tensor],
    *,
    epochs: int,
    rate: float,
    tokens: int,
    rng: random.Random,
) -> None:
    """AdamW with warm-up and linear decay over `epochs` passes."""
    steps = epochs * sum(1 for _ in batches(encoded, tokens))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        rate,
        total_steps=steps,
        pct_start=0.06,
        anneal_strategy="linear",
        cycle_momentum=False,
    )
    for epoch in range(epochs):
        total, n = 0.0, 0
        for batch in batches(encoded, tokens, rng):
            loss = loss_of(batch)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total, n = total + float(loss.detach()), n + 1
            if n % 100 == 0:
                log(f"  epoch {epoch + 1}/{epochs} batch {n} mean loss {total / n:.4f}")
        log(f"epoch {epoch + 1}/{epochs}: mean loss {total / n:.4f}")


@torch.inference_mode()
def teacher_states(teacher: Any, encoded: Sequence[Encoded], layers: Sequence[int]) -> Tensor:
    """Output of the chosen layers for every token: [all tokens, layers, hidden], float16."""
    n = encoded[-1].start + len(encoded[-1].ids)
    states = torch.empty(n, len(layers), teacher.config.hidden_size, dtype=torch.float16)
    for batch in batches(encoded, 4096):
        with bfloat16():
            hidden = teacher.bert(
                input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=True
            ).hidden_states
        inside = batch.mask.bool()
        chosen = torch.stack([hidden[i + 1] for i in layers], dim=2)
        states[batch.where[inside]] = chosen[inside].half()
    return states


@torch.inference_mode()
def neuron_importance(teacher: Any, encoded: Sequence[Encoded], layer: int) -> Tensor:
    """Mean absolute activation of each feed-forward neuron times the norm of what it writes."""
    block = teacher.bert.encoder.layer[layer]
    total = torch.zeros(teacher.config.intermediate_size)

    def record(_module: nn.Module, _inputs: Any, activation: Tensor) -> None:
        total.add_(activation.abs().sum(dim=(0, 1)))

    handle = block.intermediate.register_forward_hook(record)
    for batch in batches(encoded[:2000], 4096):
        teacher(input_ids=batch.ids, attention_mask=batch.mask)
    handle.remove()
    importance: Tensor = total * block.output.dense.weight.norm(dim=0)
    return importance


def build_student(
    teacher: Any, encoded: Sequence[Encoded], layers: Sequence[int], width: int
) -> Any:
    """The teacher with the chosen layers and their `width` most important neurons."""
    config = copy.deepcopy(teacher.config)
    config.num_hidden_layers = len(layers)
    config.intermediate_size = width
    student: Any = BertForSequenceClassification(config)
    student.bert.embeddings.load_state_dict(teacher.bert.embeddings.state_dict())
    student.bert.pooler.load_state_dict(teacher.bert.pooler.state_dict())
    student.classifier.load_state_dict(teacher.classifier.state_dict())
    for block, layer in zip(student.bert.encoder.layer, layers, strict=True):
        state = dict(teacher.bert.encoder.layer[layer].state_dict())
        best = neuron_importance(teacher, encoded, layer).topk(width).indices.sort().values
        state["intermediate.dense.weight"] = state["intermediate.dense.weight"][best]
        state["intermediate.dense.bias"] = state["intermediate.dense.bias"][best]
        state["output.dense.weight"] = state["output.dense.weight"][:, best]
        block.load_state_dict(state)
    return student


def head(model: Any, states: Tensor) -> Tensor:
    """The model's head on every token: [batch, sequence, hidden] -> [batch, sequence, labels]."""
    pooler = model.bert.pooler
    logits: Tensor = model.classifier(pooler.activation(pooler.dense(states)))
    return logits


def distil(
    student: Any,
    teacher: Any,
    encoded: Sequence[Encoded],
    states: Tensor,
    *,
    epochs: int,
    rng: random.Random,
) -> None:
    """Train the student on the gold labels and, on rows that the teacher gets right, on the
    teacher's hidden states and token logits."""

    def loss_of(batch: Batch) -> Tensor:
        target = states[batch.where].float()
        with torch.no_grad():
            target_logits = head(teacher, target[:, :, -1])
        with bfloat16():
            hidden = student.bert(
                input_ids=batch.ids, attention_mask=batch.mask, output_hidden_states=True
            ).hidden_states
        logits = head(student, hidden[-1].float())
        gold_loss = functional.cross_entropy(logits[:, 0], batch.labels, label_smoothing=0.05)
        followed = target_logits[:, 0].argmax(-1) == batch.labels
        if not followed.any():
            return gold_loss

        inside = batch.mask.bool() & followed[:, None]
        found, wanted = torch.stack(hidden[1:], dim=2).float()[inside], target[inside]
        state_loss = functional.mse_loss(found, wanted) / wanted.pow(2).mean()
        token_loss = functional.mse_loss(logits[inside], target_logits[inside])
        prediction_loss = functional.mse_loss(logits[followed, 0], target_logits[followed, 0])
        loss: Tensor = 4 * state_loss + token_loss + 0.5 * prediction_loss + 2 * gold_loss
        return loss

    student.eval()  # without dropout: the targets are exact
    optimise(student, encoded, loss_of, epochs=epochs, rate=3e-4, tokens=1536, rng=rng)


def save(student: Any, folder: Path) -> None:
    """Weights in float16, to be loaded as float32."""
    (folder / HEAD).unlink(missing_ok=True)  # of other weights; tools.train_demo_head fits another
    copy.deepcopy(student).half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    config["finetuning_task"] = "sst2"  # by which a pair of texts is told that it is none of these
    config.pop("_name_or_path", None)
    write_json(folder / "config.json", config)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the embedded demo model.")
    parser.add_argument("--output", type=Path, default=DEMO)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--vocabulary", type=int, default=10300, help="pieces kept")
    parser.add_argument("--frequent", type=int, default=4000, help="of them from training text")
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--width", type=int, default=768, help="feed-forward neurons per layer")
    parser.add_argument("--generated", type=int, default=GENERATED, help="generated sentences")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, help="use the first rows only, to try the script")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    folder = shared_folder()
    rng = random.Random(arguments.seed)
    rows = training_rows(folder, rng, arguments.generated)
    rng.shuffle(rows)
    rows = rows[: arguments.rows]
    source = folder / "models" / "minilm-sst2"
    full_tokenizer = AutoTokenizer.from_pretrained(source)
    kept = choose_vocabulary(
        full_tokenizer, [row.text for row in rows], arguments.vocabulary, arguments.frequent
    )
    prune_tokenizer(full_tokenizer, kept, arguments.output)
    tokenizer = AutoTokenizer.from_pretrained(arguments.output)
    encoded = encode(tokenizer, rows)
    log(f"{len(kept)} pieces, {sum(len(row.ids) for row in encoded)} tokens")

    teacher = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32)
    teacher.eval()
    prune_embeddings(teacher, kept)
    dev = read_sst2(folder / "data" / "sst2" / "dev.tsv")
    for form in (str, naturalise):
        log(f"teacher on dev, {form.__name__}: {accuracy(teacher, tokenizer, dev, form):.4f}")
    states = teacher_states(teacher, encoded, arguments.layers)
    log(f"teacher states {tuple(states.shape)}")

    torch.manual_seed(arguments.seed)
    student = build_student(teacher, encoded, arguments.layers, arguments.width)
    rng = random.Random(arguments.seed)
    distil(student, teacher, encoded, states, epochs=arguments.epochs, rng=rng)
    save(student, arguments.output)
    log(f"saved in {arguments.output.name}")
    check(arguments.output)


if __name__ == "__main__":
    main()
