"""The groups of rows: a module each, with `rows(clock, **sizes)` and the smaller sizes of a `QUICK` run.

The first line of a module's docstring is the group's title, and what follows says how it is measured; both are printed
on the page.
"""

from benchmarks.groups import (
    building,
    discrete,
    edit,
    generation,
    hybrid,
    mad_generation,
    mad_training,
    mamba,
    scaling,
    scan,
    shares,
    startup,
    surface,
)

GROUPS = {
    "scan": scan,
    "mamba": mamba,
    "mad_training": mad_training,
    "hybrid": hybrid,
    "discrete": discrete,
    "generation": generation,
    "surface": surface,
    "edit": edit,
    "building": building,
    "mad_generation": mad_generation,
    "startup": startup,
    "shares": shares,
    "scaling": scaling,
}
