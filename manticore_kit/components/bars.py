"""Progress bars while weights are read: named after the model, and drawn only where there is something to wait for."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging

# What is read sooner than this needs no bar.
BAR_AFTER_SECONDS = 1.0


@contextmanager
def own_bar(name: str) -> Iterator[None]:
    """Gives the library's bar this form while the model `name` is loaded.

    The bar counts weights as they are laid over the file, which takes no time unless they are converted.
    """
    previous = logging.set_tqdm_hook(
        lambda bar, args, kwargs: bar(*args, **{**kwargs, "desc": f"Loading {name}", "delay": BAR_AFTER_SECONDS})
    )
    try:
        yield
    finally:
        logging.set_tqdm_hook(previous)
