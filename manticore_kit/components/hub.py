"""Which models are at hand under which name, and a quick, clear answer where one is not."""

import difflib
import threading
from functools import cache

from huggingface_hub import HfApi, constants, scan_cache_dir, try_to_load_from_cache
from huggingface_hub.errors import CacheNotFound, HFValidationError, RepositoryNotFoundError

from manticore_kit import zoo
from manticore_kit.errors import ManticoreError
from manticore_kit.models import ARCHITECTURES  # which also lets transformers' Auto classes know them

# Long enough for a slow line, short enough to wait for: the hub's own client retries for 23 s without a network.
TIMEOUT_SECONDS = 5.0
# A full cache is not listed to its end.
LISTED = 12


def cached_models() -> list[str]:
    """Hub ids of the models in the local Hugging Face cache."""
    try:
        repos = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, ValueError):  # there is none, or a file stands in its place
        return []
    return sorted(r.repo_id for r in repos if r.repo_type == "model")


@cache
def architectures() -> dict[str, str]:
    """The causal language models of transformers and of this package: model type to class name."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    theirs = {
        kind: name if isinstance(name, str) else name[0] for kind, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()
    }
    return theirs | {kind: model.__name__ for kind, model in ARCHITECTURES.items()}


def near_names(name: str, known: list[str]) -> list[str]:
    """Up to three of the `known` names that look like `name`, the nearest first."""
    lower = {k.lower(): k for k in known}
    return [lower[m] for m in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]


def find_on_hub(name: str) -> bool:
    """Whether the hub must be asked for the files of `name` (False: use the local cache alone).

    Raises `ManticoreError` where the hub does not know the name, or where neither hub nor cache can be used.
    """
    try:
        in_cache = is_cached(name, "config.json")
        _ask(name)
    except HFValidationError as error:
        raise ManticoreError(_unknown(name, "no hub id is written like that")) from error
    except Exception as error:  # connection errors come in many classes, from httpx to OSError
        if in_cache:
            return False
        if isinstance(error, RepositoryNotFoundError):
            reason = "the hub knows no such model, or it is private"
        else:
            reason = f"the model hub cannot be reached ({_short(error)})"
        raise ManticoreError(_unknown(name, reason)) from error
    return True


def is_cached(name: str, filename: str) -> bool:
    """Whether the local cache holds a file of the hub id `name`; raises `HFValidationError` for what is no hub id."""
    return isinstance(try_to_load_from_cache(name, filename), str)


def _ask(name: str) -> None:
    """Asks the hub about `name`; raises what the hub's client raises, or `TimeoutError`.

    It runs in a thread that may be left behind, since looking up the hub's address has no timeout of its own.
    """
    failures: list[Exception] = []

    def ask():
        try:
            HfApi().model_info(name, timeout=TIMEOUT_SECONDS)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(TIMEOUT_SECONDS)
    if thread.is_alive():
        raise TimeoutError(f"no answer in {TIMEOUT_SECONDS:g} s")
    if failures:
        raise failures[0]


def _unknown(name: str, reason: str) -> str:
    local = [*zoo.names(), *cached_models()]
    near = near_names(name, [*local, *architectures()])
    meant = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    more = f" and {len(local) - LISTED} more in the Hugging Face cache" if len(local) > LISTED else ""
    return (
        f"No model {name!r}: it is no zoo name and no folder here, and {reason}.{meant} Models on this machine: "
        f"{', '.join(local[:LISTED])}{more}. A folder with config.json and *.safetensors works too, and so does an "
        "architecture name (such as 'gpt_neo') together with `config:` for a random start."
    )


def _short(error: Exception) -> str:
    return str(error).split("\n")[0].rstrip(".")[:160] or type(error).__name__
