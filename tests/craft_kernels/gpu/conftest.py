"""Tests that need a GPU. Elsewhere they do not exist: `make gpu-check` says so in one line."""

import torch

collect_ignore_glob = [] if torch.cuda.is_available() else ["test_*.py"]
