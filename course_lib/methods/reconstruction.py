"""Losses that compare a picture with the true one.

Source: Mathieu, Couprie & LeCun 2016 (arXiv 1511.05440), section 3.2: the gradient difference loss.
VPTR (arXiv 2203.15836) adds it to the squared error, with alpha = 1. Departure, as in VPTR's code:
both papers write sums over the pixels; here each direction is a mean, so that the weight beside the
squared error's mean does not depend on the size of the frame.
"""

from jaxtyping import Float
from torch import Tensor


def gradient_difference_loss(
    prediction: Float[Tensor, "*batch H W"],
    target: Float[Tensor, "..."],
    *,
    alpha: float = 1.0,
) -> Float[Tensor, ""]:
    """How differently steep neighbouring pixels are, | |dx target| - |dx prediction| | ^ alpha.

    The mean over horizontal neighbours plus that over vertical ones. It does not know where the
    brightness is, nor which way an edge rises: it is added to a loss that does.

    Raises:
        ValueError: The two have different shapes, are less than 2 pixels wide, or alpha is below 1.
    """
    if prediction.shape != target.shape or min(prediction.shape[-2:]) < 2:
        raise ValueError(
            f"the prediction has shape {tuple(prediction.shape)}; permitted: the target's, "
            f"{tuple(target.shape)}, with 2 x 2 pixels or more"
        )
    if alpha < 1:
        raise ValueError(f"alpha is {alpha}; permitted: 1 and more")
    along_x, along_y = (
        (target.diff(dim=dim).abs() - prediction.diff(dim=dim).abs()).abs().pow(alpha).mean()
        for dim in (-1, -2)
    )
    return along_x + along_y  # GDL: section 3.2
