"""Speed and cost of the workbench, measured side by side: `python -m benchmarks`."""

import os

# Before torch is imported anywhere: idle threads of GNU OpenMP that spin for long are charged to whatever runs next.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# The profiler's library announces each start and stop otherwise.
os.environ.setdefault("KINETO_LOG_LEVEL", "6")
