"""What the figures of several experiments have in common."""

# Okabe and Ito's colours, which colour-blind readers can tell apart, and a few more.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#B8A000", "#999999",
    "#000000", "#882255",
)  # fmt: skip
FLOOR = -6.0  # decades; what falls below has collapsed, and how far says nothing
