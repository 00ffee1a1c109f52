import pytest
import torch

from craft.errors import CraftError
from craft.runtime.device import choose_device, pixels_on, to_device


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


def test_images_go_to_a_gpu_as_bytes_from_pinned_memory_without_a_wait(monkeypatch):
    done = []

    class OnGpu:
        """What a copy gives, as far as the caller looks at it."""

        dtype = torch.uint8

        def is_floating_point(self):
            return False

        def float(self):
            done.append("converted there")
            return torch.zeros(())

    def pin_memory(self):
        done.append(("pinned", self.dtype))
        return self

    def to(self, *where, **how):
        done.append((*where, how))
        return OnGpu()

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    monkeypatch.setattr(torch.Tensor, "to", to)
    images, gpu = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.device("cuda:1")
    pixels_on(images, gpu)
    sent = [("pinned", torch.uint8), (gpu, {"non_blocking": True})]
    assert done == [*sent, "converted there"]
    done.clear()
    to_device(images, torch.device("cpu"))
    assert done == [(torch.device("cpu"), {})]
