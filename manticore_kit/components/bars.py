"""Progress bars while weights are read or written: drawn only where there is something to wait for, under our title."""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers.utils import logging

# What is read sooner than this needs no bar.
BAR_AFTER_SECONDS = 1.0


@contextmanager
def own_bar(title: str) -> Iterator[None]:
    """Gives the library's bar this form, under `title`, while a model is loaded or saved.

    The bar counts weights as they are laid over the file, which takes no time unless they are converted.
    """
    previous = logging.set_tqdm_hook(
        lambda bar, args, kwargs: bar(*args, **{**kwargs, "desc": title, "delay": BAR_AFTER_SECONDS})
    )
    try:
        yield
    finally:
        logging.set_tqdm_hook(previous)
