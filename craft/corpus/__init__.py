"""Corpora too large to hold: tokenised and counted shard by shard, on one machine or many."""
