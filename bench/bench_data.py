"""A file of nlplog rows to packed rows: ours beside the bare tokenizer and beside HF `datasets` with TRL, in one run.

    python bench/bench_data.py --tokenizer FOLDER --rows 258000                        # ours and the bare tokenizer
    python bench/bench_data.py --tokenizer FOLDER --rows 25800 --peer PEER/bin/python  # and the peer

258,000 rows are 600 MB, one JSON array as NLPLog.json is. Rows are those of examples/nlplog.jsonl, one to seven joined
to one, digits replaced. Every part runs in a process of its own, which reads the file from disk:

- bare: `encode_batch` on the same texts in batches, nothing else; reading and converting rows is not timed;
- check: `loglore data check` without near duplicates; near: with them, for the difference;
- convert: nlplog to a corpus file; pack: that file tokenized and packed, to the synced folder;
- pack, nlplog: from the nlplog file at once (converted on the way);
- again: the last one's second start, `open_or_build` alone; again, all: the whole command, imports and all;
- TRL: `load_dataset`, map to text, SFTTrainer's own preparation with packing (bfd_split);
- TRL, 2 procs: the same with `dataset_num_proc=2`;
- TRL, batched: the same rows, tokenized by a batched map, which uses all cores, then `trl.pack_dataset`.

--folder keeps file and folder for another call, of some --parts; `bare` comes first where ratios are wanted.

The peer needs `pip install datasets trl transformers torch` in an environment of its own. Memory is the peak of
resident memory of the process and its children, whichever is larger. SmolLM2 splits digits, so it makes more tokens of
logs than Llama 3's.
"""

import argparse
import contextlib
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MOST_JOINED = 7
CAPACITY = 8192
OURS = ("bare", "check", "convert", "pack", "pack, nlplog", "again", "again, all", "near")
PEERS = ("TRL", "TRL, 2 procs", "TRL, batched")
BATCH = 2000


def write_rows(path: Path, count: int) -> None:
    """Write `count` varied rows as one array."""
    rng = random.Random(1309)
    source = Path(__file__).parent.parent / "examples" / "nlplog.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    tables = [str.maketrans("0123456789", "".join(rng.sample("0123456789", 10))) for _ in range(1000)]
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count):
            picked = rng.sample(rows, rng.randint(1, MOST_JOINED))
            row = {
                "instruction": "\n".join(one["instruction"] for one in picked),
                "log": "\n".join(one["log"] for one in picked),
                "output": "\n".join(one["output"] for one in picked),
                "domain": picked[0]["domain"],
            }
            between = ",\n" if number else "[\n"
            stream.write(between + json.dumps(row).translate(rng.choice(tables)))
        stream.write("\n]\n")


def bare(path: Path, tokenizer: Path) -> dict[str, Any]:
    """Seconds of `encode_batch` alone."""
    from tokenizers import Tokenizer

    from loglore.data.files import placed_rows
    from loglore.data.formats import to_corpus

    backend = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    seconds, tokens, characters, texts = 0.0, 0, 0, []

    def encode() -> None:
        nonlocal seconds, tokens, characters
        start = time.perf_counter()
        encodings = backend.encode_batch(texts, add_special_tokens=False)
        seconds += time.perf_counter() - start
        tokens += sum(len(encoding) for encoding in encodings)
        characters += sum(map(len, texts))
        texts.clear()

    for _, row in placed_rows(path):
        texts.append(to_corpus(row))
        if len(texts) == BATCH:
            encode()
    if texts:
        encode()
    return {"seconds": seconds, "tokens": tokens, "characters": characters}


def pack(path: Path, tokenizer: Path) -> dict[str, Any]:
    """Seconds from file to packed dataset, or to finding it there."""
    from loglore.data.files import placed_rows
    from loglore.data.packed import PackSettings, Source, open_or_build
    from loglore.models.load import load_tokenizer
    from loglore.runs.fingerprint import of_file

    loaded = load_tokenizer(tokenizer)
    start = time.perf_counter()
    source = Source(path.name, of_file(path), lambda: placed_rows(path))
    dataset = open_or_build(path.parent / "packed", source, loaded, PackSettings("cpt", CAPACITY, shuffle_seed=1309))
    report = dataset.report
    return {"seconds": time.perf_counter() - start, "tokens": report["tokens"], "fill": report["fill"]}


def whole_command(path: Path, tokenizer: Path) -> dict[str, Any]:
    """Seconds of `loglore data pack` from the shell."""
    out = path.parent / "packed"
    command = [sys.executable, "-m", "loglore", "data", "pack", path, "-t", tokenizer, "-o", out, "--seed", "1309"]
    start = time.perf_counter()
    done = subprocess.run([*map(str, command), "--json"], check=True, stdout=subprocess.PIPE)
    seconds = time.perf_counter() - start
    report = json.loads(done.stdout)
    return {"seconds": seconds, "tokens": report["tokens"], "fill": report["fill"]}


def checked(path: Path, near_duplicates: bool) -> dict[str, Any]:
    """Seconds of the check."""
    from loglore.data.check import check, parse_input

    start = time.perf_counter()
    check([parse_input(f"train={path}")], near_duplicates)
    return {"seconds": time.perf_counter() - start}


def converted(path: Path) -> dict[str, Any]:
    """Seconds of nlplog to corpus, file to file."""
    from loglore.data import convert, writing

    start = time.perf_counter()
    writing.write_rows(path.with_name("corpus.jsonl"), convert.rows(path, "corpus"))
    return {"seconds": time.perf_counter() - start}


def peer(path: Path, tokenizer: Path, processes: int | None, batched: bool) -> dict[str, Any]:
    """Seconds of `datasets` and TRL; runs under the peer's interpreter."""
    import datasets
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer, pack_dataset

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    config = LlamaConfig(
        vocab_size=len(loaded), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model = LlamaForCausalLM(config)
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(dir=path.parent) as cache:
        start = time.perf_counter()
        rows = datasets.load_dataset("json", data_files=str(path), split="train", cache_dir=cache)
        texts = rows.map(
            lambda row: {"text": f"Human: {row['instruction']}\nAssistant: {row['output']}\n"},
            remove_columns=rows.column_names,
            num_proc=processes,
        )
        if batched:
            tokens = texts.map(
                lambda batch: {"input_ids": loaded([text + loaded.eos_token for text in batch["text"]])["input_ids"]},
                batched=True,
                remove_columns=["text"],
            )
            packed = pack_dataset(tokens, CAPACITY, "bfd_split")
        else:
            arguments = SFTConfig(
                output_dir=cache,
                packing=True,
                packing_strategy="bfd_split",
                max_length=CAPACITY,
                dataset_num_proc=processes,
                report_to="none",
                use_cpu=True,
                bf16=False,
            )
            packed = SFTTrainer(model, arguments, train_dataset=texts, processing_class=loaded).train_dataset
        seconds = time.perf_counter() - start
        total = sum(sum(lengths) for lengths in packed["seq_lengths"])
    return {"seconds": seconds, "tokens": total, "fill": total / (len(packed) * CAPACITY)}


def run(part: str, python: str, arguments: argparse.Namespace, file: Path) -> dict[str, Any]:
    """One part in a process of its own."""
    command = [python, __file__, "--part", part, "--file", str(file), "--tokenizer", str(arguments.tokenizer)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(result.stdout.splitlines()[-1]))


def one_part(arguments: argparse.Namespace) -> None:
    """In the child: measure a part, print it as JSON with the peak memory."""
    file, tokenizer = arguments.file, arguments.tokenizer
    parts = {
        "bare": lambda: bare(file, tokenizer),
        "check": lambda: checked(file, near_duplicates=False),
        "near": lambda: checked(file, near_duplicates=True),
        "convert": lambda: converted(file),
        "pack": lambda: pack(file.with_name("corpus.jsonl"), tokenizer),
        "pack, nlplog": lambda: pack(file, tokenizer),
        "again": lambda: pack(file, tokenizer),
        "again, all": lambda: whole_command(file, tokenizer),
        "TRL": lambda: peer(file, tokenizer, None, batched=False),
        "TRL, 2 procs": lambda: peer(file, tokenizer, 2, batched=False),
        "TRL, batched": lambda: peer(file, tokenizer, 2, batched=True),
    }
    found = parts[arguments.part]()
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(json.dumps({**found, "memory_mb": max(peaks) / 1024}))


def main() -> None:
    """Print one row a part, as a ratio to the first (the bare tokenizer)."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", type=Path, help="model folder with tokenizer.json")
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--peer", help="Python of an environment with datasets and trl")
    parser.add_argument("--folder", type=Path, help="where to write and keep; default: a temporary folder")
    parser.add_argument("--parts", nargs="+", choices=[*OURS, *PEERS], help="default: all that can run")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        one_part(arguments)
        return
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        table(arguments, folder / "nlplog.json")


def table(arguments: argparse.Namespace, file: Path) -> None:
    """Write the file unless it is there, run the parts, print them."""
    file.parent.mkdir(exist_ok=True)
    if not file.exists():
        write_rows(file, arguments.rows)
    print(f"{file.stat().st_size / 1e6:,.0f} MB")
    print(f"{'part':14} {'seconds':>8} {'of first':>8} {'tokens':>12} {'fill':>7} {'peak MB':>8}", flush=True)
    base = 0.0
    for part in arguments.parts or (*OURS, *(PEERS if arguments.peer else ())):
        found = run(part, arguments.peer if part in PEERS else sys.executable, arguments, file)
        base = base or found["seconds"]
        fill = f"{found['fill']:.2%}" if "fill" in found else ""
        times = f"{found['seconds']:8.2f} {found['seconds'] / base:8.2f}"
        tokens = f"{found['tokens']:,}" if "tokens" in found else ""
        print(f"{part:14} {times} {tokens:>12} {fill:>7} {found['memory_mb']:8,.0f}", flush=True)


if __name__ == "__main__":
    main()
