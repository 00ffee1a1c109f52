"""Corpora larger than memory, tokenised and counted shard by shard on one machine or many."""
