"""A child forked while other threads were at work finds no closed locks and no dead pool."""

import os
import subprocess
import sys

import pytest

from craft_kernels.fork_aware_lock import ForkAwareLock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

SCRIPT = """
import os, signal, threading, time, torch
from craft_kernels import FrozenCodebook, prune_order, residual_quantize

CHILDREN, SECONDS = 50, 30
torch.set_num_threads(2)
generator = torch.Generator().manual_seed(0)
words, z = torch.randn(500, 16, generator=generator), torch.randn(64, 16, generator=generator)
ids = torch.randint(0, 9, (6, 64), generator=generator)
residuals, prior = torch.rand(6, 64, generator=generator), torch.rand(9) + 0.1
codes = residual_quantize(z, words, 3).codes
order = prune_order(ids, residuals, prior, (8, 8))
shared, stop = [FrozenCodebook(words, 3)], threading.Event()


def work():
    while not stop.is_set():
        frozen = FrozenCodebook(words, 3, gram_bytes=30_000)  # rows are evicted and made again
        shared[0] = frozen
        for _ in range(4):
            residual_quantize(torch.randn(64, 16), frozen)
            prune_order(ids, residuals, prior, (8, 8))


def in_child(frozen):
    same = torch.equal(residual_quantize(z, frozen).codes, codes)
    os._exit(0 if same and torch.equal(prune_order(ids, residuals, prior, (8, 8)), order) else 3)


threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
ends = []
for _ in range(CHILDREN):
    child = os.fork()
    if child == 0:
        in_child(shared[0])
    deadline, ended = time.monotonic() + SECONDS, 0
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.002)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        status = "hangs"
    ends.append(status)
    if "hangs" in ends:
        break
stop.set()
for thread in threads:
    thread.join()
assert ends == [0] * CHILDREN, ends
"""


@pytest.mark.parametrize("path", ["gram", "streaming"])
def test_children_of_a_busy_parent(path):
    env = {"CRAFT_KERNELS_PATH": path, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_lock_is_open_in_a_child_and_still_closed_in_the_parent():
    script = """
import os, threading
from craft_kernels.fork_aware_lock import ForkAwareLock

lock, held, go = ForkAwareLock(), threading.Event(), threading.Event()


def hold():
    with lock:
        held.set()
        go.wait()


threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    with lock:
        os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert lock._lock.locked()
go.set()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], timeout=60, check=True)


def test_a_lock_lets_one_in():
    lock = ForkAwareLock()
    with lock:
        assert lock._lock.locked()
    assert not lock._lock.locked()
