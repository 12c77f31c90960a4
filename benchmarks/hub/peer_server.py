"""The other SDK's in-memory backend as a process of its own: prints its port and serves until killed."""

import sys
import time

from durabletask.testing import create_test_backend

port = int(sys.argv[1])
create_test_backend(port=port, max_history_size=100_000).start()
print(f"127.0.0.1:{port}", flush=True)
while True:
    time.sleep(60)
