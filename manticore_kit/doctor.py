"""What is on this machine, and what each missing thing would need.

Every row is found by trying the thing itself: an import, a request, a look for a file. Nothing is changed or fetched.
"""

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("manticore-kit", "torch", "transformers", "plotly", "papermill", "jupyterlab")
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HUB_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Row:
    """One finding: what was looked for, what is there, and a hint where something could be had."""

    name: str
    value: str
    ok: bool = True
    hint: str = ""


def examine() -> list[Row]:
    """All findings about this machine, as rows for people."""
    return [*_versions(), _cpu(), _cuda(), *_cuda_kernels(), _scan(), _zoo(), _hub(), _jupyter_kernel(), _chromium()]


def find_chromium() -> str | None:
    """The path of this system's Chromium or Chrome, which the browser tests drive, or None."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


def _versions() -> Iterator[Row]:
    yield Row("Python", f"{platform.python_version()} ({sys.executable})")
    for package in PACKAGES:
        try:
            yield Row(package, version(package))
        except PackageNotFoundError:
            yield Row(package, "not installed", ok=False, hint='pip install -c constraints.txt -e ".[lab]"')


def _cpu() -> Row:
    import torch

    return Row("CPU", f"{torch.get_num_threads()} threads of {os.cpu_count()} cores ({platform.machine()})")


def _cuda() -> Row:
    import torch

    if not torch.cuda.is_available():
        built = f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is a CPU build"
        return Row("CUDA", f"none ({built})", ok=False, hint="everything runs on the CPU")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Row("CUDA", f"{torch.version.cuda}: {', '.join(names)}")


def _cuda_kernels() -> Iterator[Row]:
    for package in ("mamba-ssm", "causal-conv1d"):
        try:
            importlib.import_module(package.replace("-", "_"))
        except ModuleNotFoundError:
            hint = 'with a GPU and CUDA\'s compiler: pip install -e ".[cuda]"'
            yield Row(package, "not installed", ok=False, hint=hint)
        except Exception as error:  # a build for another torch or CUDA fails in whichever way it likes
            yield Row(package, f"cannot be imported: {_first_line(error)}", ok=False, hint="rebuild it for this torch")
        else:
            yield Row(package, version(package))


def _scan() -> Row:
    from manticore_kit import kernels

    return Row("scan", kernels.status())


def _zoo() -> Row:
    from manticore_kit import zoo

    absent = [name for name in zoo.names() if not (zoo.path(name) / "config.json").is_file()]
    if absent:
        return Row("zoo", f"{', '.join(absent)} absent", ok=False, hint="install the package anew, whole")
    return Row("zoo", ", ".join(zoo.names()))


def _hub() -> Row:
    from huggingface_hub import constants, get_session

    if constants.is_offline_mode():
        return Row("model hub", "not asked: HF_HUB_OFFLINE is set", ok=False, hint="local and zoo models work")
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT_SECONDS).raise_for_status()
    except Exception as error:  # every layer from DNS to TLS has its own errors, and all mean the same here
        return Row("model hub", f"out of reach: {_first_line(error)}", ok=False, hint="local and zoo models work")
    return Row("model hub", f"{constants.ENDPOINT} answers")


def _jupyter_kernel() -> Row:
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    from manticore_kit.reports.run import KERNEL

    try:
        spec = KernelSpecManager().get_kernel_spec(KERNEL)
    except NoSuchKernel:
        return Row("Jupyter kernel", f"no {KERNEL}", ok=False, hint="pip install ipykernel")
    # A bare "python" is replaced by the interpreter that starts the kernel.
    interpreter = spec.argv[0] if os.path.isabs(spec.argv[0]) else sys.executable
    same = os.path.realpath(interpreter) == os.path.realpath(sys.executable)
    hint = "" if same else "its packages are another environment's: python -m ipykernel install --sys-prefix"
    return Row("Jupyter kernel", f"{KERNEL} runs {interpreter}", ok=same, hint=hint)


def _chromium() -> Row:
    path = find_chromium()
    if path is None:
        return Row("Chromium", "not found", ok=False, hint="only the browser tests need it: apt-get install chromium")
    return Row("Chromium", path)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
