"""Pretrain the shipped encoder `tiny` from unlabelled text: masked language modelling and distillation.

    python tools/pretrain_tiny.py --text train.csv.gz extra_text.txt.gz --teacher DIR --work WORK --out OUT

`--text` takes AG News CSV files (class, title, description; the class is never read) and text files with one text per
line, compressed or not. `--teacher` is the folder of a small sentence encoder (all-MiniLM-L6-v2: BERT, mean pooling).
The stages are cached in WORK, and the same command continues an interrupted run. Every random number depends only on
the seed and the step, so an interrupted run ends where an uninterrupted one does.

1. Train a byte-level BPE tokenizer on the texts, lower-cased because the teacher is uncased.
2. Compute the teacher's sentence vector of every text, and centre them.
3. Initialise the token embeddings with the teacher's vectors of single tokens, projected to the student's width by PCA.
4. Minimise the masked language modelling loss plus the cosine distance to the teacher's vector, both from <s> and from
   the mean of the tokens.

`--topics N` adds a second target: the N leading LSA components (truncated SVD of TF-IDF) of the same texts, which know
this corpus as the teacher knows English. `--start DIR` begins from a model that an earlier call trained.
"""

import argparse
import csv
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

MAX_LENGTH = 128  # tokens; 1% of AG News is longer and is truncated
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]  # ids 0 to 4; the first four are those of RoBERTa
IGNORE = -100


def read_texts(files: list[Path]) -> list[str]:
    """Read all texts in order: title + " " + description of a CSV file, a line of a text file."""
    texts: list[str] = []
    for file in files:
        opened = gzip.open if file.suffix == ".gz" else open
        with opened(file, "rt", encoding="utf-8", newline="") as stream:
            if ".csv" in file.suffixes:
                texts += [f"{title} {description}".strip() for _, title, description in csv.reader(stream)]
            else:
                texts += [line.strip() for line in stream]
    return [text for text in texts if text]


def train_tokenizer(texts: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a lower-cased byte-level BPE with RoBERTa's special tokens and template `<s> text </s>`."""
    bpe = Tokenizer(models.BPE(unk_token="<unk>"))
    bpe.normalizer = normalizers.Lowercase()
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=alphabet)
    )
    bpe.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        model_max_length=256,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_input_names=["input_ids", "attention_mask"],
    )


@torch.inference_mode()
def teacher_vectors(folder: Path, texts: list[str], name: str) -> Tensor:
    """Return the teacher's mean-pooled unit vectors, (N, H) float32, in the order of `texts`."""
    tokenizer, teacher = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors = torch.empty(len(texts), teacher.config.hidden_size)
    began = time.monotonic()
    for start in range(0, len(texts), 64):
        rows = by_length[start : start + 64]
        batch = tokenizer(
            [texts[i] for i in rows], truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="pt"
        )
        mask = batch["attention_mask"].unsqueeze(-1)
        hidden = teacher(**batch).last_hidden_state
        vectors[rows] = F.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)
        if start // 64 % 100 == 0:
            print(f"teacher {name} {start:,}/{len(texts):,}  {time.monotonic() - began:.0f} s", flush=True)
    return vectors


def topic_vectors(texts: list[str], num_topics: int) -> Tensor:
    """Return unit LSA vectors of the texts, (N, num_topics) float32."""
    from sklearn.decomposition import TruncatedSVD  # only this target needs scikit-learn
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, min_df=5, max_df=0.2, stop_words="english", max_features=40_000)
    found = TruncatedSVD(num_topics, n_iter=3, random_state=0).fit_transform(words.fit_transform(texts))
    return F.normalize(torch.from_numpy(found).float(), dim=-1)


def batches(lengths: np.ndarray, tokens: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the row indices of each step: shuffled, of similar length, at most `tokens` padded tokens."""
    epoch = 0
    while True:
        rng = np.random.default_rng((seed, epoch))
        order = rng.permutation(len(lengths))
        found: list[np.ndarray] = []
        for chunk in np.array_split(order, max(1, len(order) // 3000)):
            chunk = chunk[np.argsort(lengths[chunk], kind="stable")]
            start = 0
            for end in range(1, len(chunk) + 1):
                if end == len(chunk) or lengths[chunk[end]] * (end + 1 - start) > tokens:
                    found.append(chunk[start:end])
                    start = end
        yield from (found[i] for i in rng.permutation(len(found)))
        epoch += 1


def mask_tokens(ids: Tensor, real: Tensor, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Mask 15% of the tokens as BERT does (80% <mask>, 10% random, 10% kept): inputs and labels, (B, T) int64."""
    chosen = (torch.rand(ids.shape) < 0.15) & real & (ids >= len(SPECIAL))
    labels = ids.masked_fill(~chosen, IGNORE)
    dice = torch.rand(ids.shape)
    inputs = ids.masked_fill(chosen & (dice < 0.8), SPECIAL.index("<mask>"))
    swap = chosen & (dice >= 0.9)
    return torch.where(swap, torch.randint(len(SPECIAL), vocab_size, ids.shape), inputs), labels


class Student(nn.Module):
    """RobertaForMaskedLM with linear maps from <s> and the mean to each target. The maps are not saved."""

    def __init__(self, mlm: RobertaForMaskedLM, widths: list[int]) -> None:
        super().__init__()
        self.mlm, self.widths = mlm, widths
        self.from_start = nn.Linear(mlm.config.hidden_size, sum(widths))
        self.from_mean = nn.Linear(mlm.config.hidden_size, sum(widths))

    def start_from(self, token_vectors: Tensor) -> None:
        """Initialise the embeddings with the principal components of the teacher's token vectors."""
        centred = token_vectors - token_vectors.mean(0)
        _, _, basis = torch.linalg.svd(centred, full_matrices=False)
        basis = basis[: self.mlm.config.hidden_size]
        embeddings = self.mlm.get_input_embeddings().weight
        with torch.no_grad():
            projected = centred[len(SPECIAL) :] @ basis.T
            embeddings[len(SPECIAL) :] = projected * (0.04 / projected.std())
            self.from_mean.weight[: basis.shape[1]].copy_(basis.T)

    def forward(self, ids: Tensor, real: Tensor, labels: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the MLM loss and the cosine distances from <s> and from the mean. Shapes: ids, real, labels (B, T)."""
        hidden = self.mlm.roberta(ids, attention_mask=real.long()).last_hidden_state
        where = labels != IGNORE
        mlm_loss = F.cross_entropy(self.mlm.lm_head(hidden[where]), labels[where])
        weight = real.unsqueeze(-1).float()
        mean = (hidden * weight).sum(1) / weight.sum(1)
        return mlm_loss, self._gap(self.from_start(hidden[:, 0]), target), self._gap(self.from_mean(mean), target)

    def _gap(self, guess: Tensor, target: Tensor) -> Tensor:
        """Return the cosine distance, summed over the targets."""
        pairs = zip(guess.split(self.widths, -1), target.split(self.widths, -1), strict=True)  # type: ignore[no-untyped-call]
        return torch.stack([1 - F.cosine_similarity(one, other).mean() for one, other in pairs]).sum()


def train(student: Student, rows: list[np.ndarray], targets: Tensor, args: argparse.Namespace) -> None:
    """Train with AdamW, linear warm-up and decay, clipping at 1. Continue from WORK/last.pt if it exists."""
    decayed = [p for p in student.parameters() if p.ndim > 1]
    plain = [p for p in student.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98), eps=1e-6, fused=True)
    warmup = min(400, max(1, args.steps // 10))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, max(0.0, (args.steps - step) / (args.steps - warmup)))
    )
    saved, first, spent = args.work / "last.pt", 0, 0.0
    if saved.exists():
        state = torch.load(saved, weights_only=True)
        student.load_state_dict(state["student"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first, spent = state["step"], state["seconds"]
        print(f"continuing at step {first:,}", flush=True)

    order = batches(np.array([len(row) for row in rows]), args.batch_tokens, args.seed)
    for _ in range(first):
        next(order)
    log = (args.work / "log.csv").open("a")
    sums, began = torch.zeros(4), time.monotonic() - spent
    vocab_size = student.mlm.config.vocab_size
    student.train()
    for step in range(first, args.steps):
        torch.manual_seed(args.seed * 1_000_003 + step)
        chosen = next(order)
        ids = nn.utils.rnn.pad_sequence(
            [torch.from_numpy(rows[i]).long() for i in chosen], batch_first=True, padding_value=SPECIAL.index("<pad>")
        )
        real = ids != SPECIAL.index("<pad>")
        inputs, labels = mask_tokens(ids, real, vocab_size)
        mlm_loss, start_gap, mean_gap = student(inputs, real, labels, targets[chosen])
        (mlm_loss + args.distill * (start_gap + mean_gap)).backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        sums += torch.stack([mlm_loss, start_gap, mean_gap, real.sum().float()]).detach()
        if (step + 1) % 50 == 0:
            mlm, start, mean = (sums[:3] / 50).tolist()
            seconds = time.monotonic() - began
            line = f"{step + 1},{mlm:.4f},{start:.4f},{mean:.4f},{int(sums[3])},{seconds:.0f}"
            print(line, file=log, flush=True)
            left = seconds / (step + 1) * (args.steps - step - 1)
            print(
                f"step {step + 1:,}/{args.steps:,}  mlm {mlm:.3f}  <s> {start:.3f}  mean {mean:.3f}  {left / 60:.0f} m",
                flush=True,
            )
            sums.zero_()
        if (step + 1) % 500 == 0 or step + 1 == args.steps:
            state = {
                "student": student.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step + 1,
                "seconds": time.monotonic() - began,
            }
            torch.save(state, saved.with_suffix(".tmp"))
            saved.with_suffix(".tmp").replace(saved)


def save(student: Student, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write RobertaForMaskedLM as float16 safetensors, its config and the tokenizer."""
    out.mkdir(parents=True, exist_ok=True)
    student.mlm.half().save_pretrained(out)
    tokenizer.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, nargs="+", required=True, help="AG News CSVs or text files, .gz or not")
    parser.add_argument("--teacher", type=Path, required=True, help="folder of a BERT sentence encoder (mean pooling)")
    parser.add_argument("--work", type=Path, required=True, help="folder for the cached stages and the checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished model")
    parser.add_argument("--start", type=Path, help="a model to begin from, made with the same texts")
    parser.add_argument("--topics", type=int, default=0, help="LSA components to distil as well; 0: none")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch-tokens", type=int, default=1536, help="padded tokens of a step")
    parser.add_argument("--lr", type=float, default=7e-4)
    parser.add_argument("--distill", type=float, default=5.0, help="weight of the two cosine distances")
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / "args.json").write_text(json.dumps(vars(args), default=str, indent=2))

    texts = read_texts(args.text)
    print(f"{len(texts):,} texts", flush=True)
    if not (args.work / "tokenizer").exists():
        train_tokenizer(texts, args.vocab_size).save_pretrained(args.work / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.work / "tokenizer")
    rows = [
        np.array(ids, dtype=np.int32) for ids in tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    ]
    print(f"{sum(map(len, rows)):,} tokens", flush=True)

    cached = args.work / "teacher.pt"
    if not cached.exists():
        words = [tokenizer.decode([i]).strip() or "." for i in range(len(tokenizer))]
        torch.save(
            {
                "words": teacher_vectors(args.teacher, words, "tokens"),
                "texts": teacher_vectors(args.teacher, texts, "texts"),
            },
            cached,
        )
    vectors = torch.load(cached, weights_only=True)
    targets = vectors["texts"] - vectors["texts"].mean(0)

    config = RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=args.width,
        num_hidden_layers=args.layers,
        num_attention_heads=args.width // 64,
        intermediate_size=4 * args.width,
        max_position_embeddings=258,  # 256 tokens: RoBERTa's positions start at padding_idx + 1 = 2
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    widths = [targets.shape[1]]
    if args.topics:
        if not (args.work / "topics.pt").exists():
            torch.save(topic_vectors(texts, args.topics), args.work / "topics.pt")
        targets = torch.cat([targets, torch.load(args.work / "topics.pt", weights_only=True)], dim=1)
        widths.append(args.topics)
    if args.start:
        student = Student(RobertaForMaskedLM.from_pretrained(args.start, dtype=torch.float32), widths)
    else:
        student = Student(RobertaForMaskedLM(config), widths)
        student.start_from(vectors["words"])
    train(student, rows, targets, args)
    save(student, tokenizer, args.out)


if __name__ == "__main__":
    main()
