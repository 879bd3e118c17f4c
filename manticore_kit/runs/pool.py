"""One function over a list of trials, in processes of one thread each.

A trial that is finished lies on disk, and the function knows it: given the same trial again it reads what is there. So
a list that was cut short is simply run again.
"""

import multiprocessing
import os
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

from manticore_kit.errors import ManticoreError

Name = TypeVar("Name", bound=Hashable)

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000", "TOKENIZERS_PARALLELISM": "0"}


def run_trials(
    function: Callable[[Any], Any],
    trials: Mapping[Name, Any],
    *,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int, Name], object] | None = None,
) -> dict[Name, Any]:
    """What `function` gives for each of the named `trials`, in their order.

    Trials run in `workers` processes (as many as there are cores, unless given), or in an `executor` of one's own;
    `progress(done, total, name)` is told of each as it ends. Both function and trials must be picklable. A trial that
    fails does not end the others; at the end `ManticoreError` says which failed and why.
    """
    done: dict[Name, Any] = {}
    failed: dict[Name, BaseException] = {}
    own = executor is None
    pool = executor or ProcessPoolExecutor(
        workers or len(os.sched_getaffinity(0)), mp_context=multiprocessing.get_context("spawn"), initializer=_start
    )
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(_ONE_THREAD)  # read when torch is imported, which a new process does before anything else
    try:
        futures = {pool.submit(function, trial): name for name, trial in trials.items()}
        for future in as_completed(futures):
            name = futures[future]
            error = future.exception()
            if error is None:
                done[name] = future.result()
            else:
                failed[name] = error
            if progress is not None:
                progress(len(done) + len(failed), len(trials), name)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if own:
            pool.shutdown(cancel_futures=True)
    if failed:
        name, error = next(iter(failed.items()))
        raise ManticoreError(
            f"{len(failed)} of {len(trials)} trials failed, first {name!r}: {type(error).__name__}: {error}. What is "
            "finished stays; run the same again for the rest."
        ) from error
    return {name: done[name] for name in trials}


def _start() -> None:
    import torch
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(1)
    disable_progress_bar()
