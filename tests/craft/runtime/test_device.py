import pytest
import torch

from craft.errors import CraftError
from craft.runtime.device import choose_device


@pytest.fixture(autouse=True)
def two_gpus(monkeypatch):
    for name in ("CRAFT_DEVICE", "LOCAL_RANK", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


def test_auto_is_the_gpu_that_is_there(monkeypatch):
    assert choose_device().device == torch.device("cuda:0")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("auto").device == torch.device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device().device == torch.device("cpu")


def test_a_name_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("CRAFT_DEVICE", "cuda:1")
    assert choose_device().device == torch.device("cuda:1")
    assert choose_device("cpu").device == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:2", "gpu", "cuda:x", "mps", ""])
def test_what_is_not_there_is_refused_in_one_line(monkeypatch, name):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(CraftError, match="--device") as caught:
        choose_device(name)
    assert "\n" not in str(caught.value)
