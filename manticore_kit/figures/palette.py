"""The colours of every figure: told apart by colour-blind readers, legible on white and on near-black pages.

The component colours are Okabe and Ito's (2008), in an order in which neighbours differ in lightness too. A component
keeps its colour, that of its index, in every figure; green is kept for the hybrid.
"""

COMPONENTS = ("#0072B2", "#D55E00", "#CC79A7", "#56B4E9", "#E69F00", "#7A5FA0")
HYBRID = "#009E73"
NEUTRAL = "#8A9099"

# Mid-greys reach a contrast of about 4 : 1 on white and on #111 alike.
TEXT = "#7B8087"
GRID = "rgba(128,134,144,0.25)"

# Labels that lie on top of a colour scale bring their own paper.
LABEL_PAPER = "rgba(255,255,255,0.88)"
LABEL_TEXT = "#22262B"

# Low loss is bright. Perceptually uniform, and monotone in lightness when printed in grey.
LOSS_SCALE = "Viridis_r"


def component_color(index: int) -> str:
    """The colour of component `index`, from 0; colours repeat after six."""
    return COMPONENTS[index % len(COMPONENTS)]


def translucent(color: str, opacity: float) -> str:
    """`color` ("#rrggbb") as an rgba string of the given opacity, 0 to 1."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:.3g})"
