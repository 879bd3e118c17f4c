"""Which models are at hand under which name, and a quick, clear answer where one is not."""

import difflib
from functools import cache

from huggingface_hub import HfApi, scan_cache_dir, try_to_load_from_cache
from huggingface_hub.errors import CacheNotFound, HFValidationError, RepositoryNotFoundError

from manticore_kit import zoo
from manticore_kit.errors import ManticoreError

# Long enough for a slow line, short enough to wait for: the hub's own client retries for 23 s without a network.
TIMEOUT_SECONDS = 5.0


def cached_models() -> list[str]:
    """Hub ids of the models in the local Hugging Face cache."""
    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return sorted(r.repo_id for r in repos if r.repo_type == "model")


@cache
def architectures() -> dict[str, str]:
    """transformers' causal language models: model type to class name."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return {
        kind: name if isinstance(name, str) else name[0] for kind, name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items()
    }


def near_names(name: str, known: list[str]) -> list[str]:
    """Up to three of the `known` names that look like `name`, the nearest first."""
    lower = {k.lower(): k for k in known}
    return [lower[m] for m in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.5)]


def find_on_hub(name: str) -> bool:
    """Whether the hub must be asked for the files of `name` (False: use the local cache alone).

    Raises `ManticoreError` where the hub does not know the name, or where neither hub nor cache can be used.
    """
    in_cache = isinstance(_cached_config(name), str)
    try:
        HfApi().model_info(name, timeout=TIMEOUT_SECONDS)
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise ManticoreError(_unknown(name, "the hub knows no such model, or it is private")) from error
    except Exception as error:  # connection errors come in many classes, from httpx to OSError
        if in_cache:
            return False
        raise ManticoreError(_unknown(name, f"the model hub cannot be reached ({_short(error)})")) from error
    return True


def _cached_config(name: str):
    try:
        return try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None


def _unknown(name: str, reason: str) -> str:
    local = [*zoo.names(), *cached_models()]
    near = near_names(name, [*local, *architectures()])
    meant = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return (
        f"No model {name!r}: it is no zoo name and no folder here, and {reason}.{meant} Models on this machine: "
        f"{', '.join(local)}. A folder with config.json and *.safetensors works too, and so does an architecture name "
        "(such as 'gpt_neo') together with `config:` for a random start."
    )


def _short(error: Exception) -> str:
    return str(error).split("\n")[0].rstrip(".")[:160] or type(error).__name__
