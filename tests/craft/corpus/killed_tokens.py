"""Tokenisation that is killed at every single call to the disk, for test_token_files.

Its arguments are a directory of models and a directory to write to; it prints how many shards were
there after each instant.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import torch

from craft.corpus import token_file
from craft.corpus.shard import CorpusEncoder
from craft.corpus.token_file import read_tokens
from craft.corpus.tokens import tokenize_corpus
from craft.family.family import ModelFamily
from tests.craft.corpus.ray_run import corpus
from tests.craft.killing import die_at

#: What touches the disk.
_DISK = (
    (token_file.pq, "write_table"),
    (os, "fsync"),
    (os, "replace"),
    (Path, "mkdir"),
    (Path, "chmod"),
)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("tokens-*")}


def main() -> None:
    models, out = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    encoder, shards = corpus(ModelFamily(models))
    shards = shards[:2]
    codes = [encoder.encode(shard) for shard in shards]
    # Only the disk matters here.
    CorpusEncoder.encode = lambda self, shard, pace=None: codes[shard.number]
    list(tokenize_corpus(encoder, shards, out / "whole"))
    whole = contents(out / "whole")
    found = []
    for instant in range(1000):
        directory = out / "killed"
        shutil.rmtree(directory, ignore_errors=True)
        child = os.fork()
        if child == 0:
            die_at(instant, _DISK)
            list(tokenize_corpus(encoder, shards, directory))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        there = contents(directory)
        assert all(content == whole[name] for name, content in there.items()), instant
        for name in there:
            read_tokens(directory / name)
        list(tokenize_corpus(encoder, shards, directory))
        assert contents(directory) == whole, instant
        found.append(len(there))
        if status == 0:
            break
    print(json.dumps(found))


if __name__ == "__main__":
    main()
