"""Speed of the data path: tokenised rows and batches per second, start from the cache, padded tokens per real token.

python -m benchmarks.data --train-file train.csv.gz
"""

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.contestants import SHIPPED_ROWS
from lora_agnews.config.compose import compose_config
from lora_agnews.data.datamodule import AGNewsDataModule
from lora_agnews.model.build import load_tokenizer
from lora_agnews.model.encoder import find_encoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="whose tokenizer: tiny, a local folder or a hub id")
    parser.add_argument("--train-file", default=SHIPPED_ROWS)
    parser.add_argument("--batch-size", type=int, default=32)
    args = parser.parse_args()
    tokenizer = load_tokenizer(find_encoder(args.model, None), 256)

    def prepare(cache: str, bucket: int) -> tuple[AGNewsDataModule, float]:
        began = time.perf_counter()
        values = [f"data.train_file={args.train_file}", f"data.batch_size={args.batch_size}", f"data.bucket={bucket}"]
        config = compose_config([*values, f"data.cache_dir={cache}"])
        data = AGNewsDataModule(tokenizer, **asdict(config.data), seed=0, processes=1)
        data.setup()
        return data, time.perf_counter() - began

    with tempfile.TemporaryDirectory() as cache:
        data, first = prepare(cache, 50)
        rows = len(data.train_rows) + len(data.val_rows)
        print(f"{rows:,} rows of {Path(args.train_file).name}")
        print(f"first start   {first:6.2f} s, {rows / first:,.0f} rows/s read, split and tokenised")
        print(f"second start  {prepare(cache, 50)[1]:6.2f} s, tokens from the cache")
        for bucket in (50, 0):
            data, _ = prepare(cache, bucket)
            began, padded, real, batches = time.perf_counter(), 0, 0, 0
            for batch in data.train_dataloader():
                padded, batches = padded + batch["input_ids"].numel(), batches + 1
                real += int(batch["attention_mask"].sum()) if "attention_mask" in batch else batch["input_ids"].numel()
            speed = batches / (time.perf_counter() - began)
            print(f"bucket={bucket:<3}    {padded / real:6.3f} padded tokens per real one, {speed:,.0f} batches/s")


if __name__ == "__main__":
    main()
