"""Forward paths on tensors of a device that is not there.

Runs only in a process of its own (`make test-devices`): torch that has seen fake tensors of another
device aborts when autograd later runs a compiled program.
"""

import os

collect_ignore_glob = [] if os.environ.get("CRAFT_DEVICE_LANE") == "1" else ["test_*.py"]
