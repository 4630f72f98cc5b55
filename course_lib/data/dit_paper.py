"""What the DiT paper reports, and what others report beside it: figures to test, not to repeat.

Source: Peebles & Xie 2022 (arXiv 2212.09748), ImageNet at 256 pixels, table 4 (the twelve networks
and the four conditionings) and section 5 (training on, guidance, sampling compute). All are trained
for 400,000 updates and, unless a name says otherwise, sampled by 250 steps without guidance; FID is
of 50,000 samples, lower is better. The paper's Gflops are multiply-accumulates, one per product and
sum, with both products of attention; its parameters include the fixed table of positions. The paper
prints whole millions. `U_NETS` are those of Rombach et al. 2022 (arXiv 2112.10752) and Dhariwal &
Nichol 2021 (arXiv 2105.05233) at the costs that the DiT paper gives; `U_DITS` are of Tian et al.
2024 (arXiv 2405.02730).
"""

from dataclasses import dataclass

LATENT_SIZE = 32  # numbers along one edge of the latent of a picture of 256 pixels


@dataclass(frozen=True)
class PaperDiT:
    """One of the twelve."""

    size: str  # S, B, L or XL
    patch_size: int
    gflops: float  # billions of multiply-accumulates of one picture and step
    mega_parameters: int  # millions
    fid: float

    @property
    def name(self) -> str:
        """As the paper says it: XL/2."""
        return f"{self.size}/{self.patch_size}"

    @property
    def num_tokens(self) -> int:
        """How many patches the latent falls into."""
        return (LATENT_SIZE // self.patch_size) ** 2


TWELVE = (
    PaperDiT("S", 8, 0.36, 33, 153.60),
    PaperDiT("S", 4, 1.41, 33, 100.41),
    PaperDiT("S", 2, 6.06, 33, 68.40),
    PaperDiT("B", 8, 1.42, 131, 122.74),
    PaperDiT("B", 4, 5.56, 130, 68.38),
    PaperDiT("B", 2, 23.01, 130, 43.47),
    PaperDiT("L", 8, 5.01, 459, 118.87),
    PaperDiT("L", 4, 19.70, 458, 45.64),
    PaperDiT("L", 2, 80.71, 458, 23.33),
    PaperDiT("XL", 8, 7.39, 676, 106.41),
    PaperDiT("XL", 4, 29.05, 675, 43.01),
    PaperDiT("XL", 2, 118.64, 675, 19.47),
)
NAMED = {point.name: point for point in TWELVE}

CONDITIONINGS = {  # XL/2: Gflops, millions of parameters, FID
    "in-context": (119.37, 449, 35.24),
    "cross-attention": (137.62, 598, 26.14),
    "adaLN": (118.56, 600, 25.21),
    "adaLN-Zero": (118.64, 675, 19.47),
}

XL2_FIDS = {  # one network, XL/2: thousands of updates and the guidance scale
    (400, 1.0): 19.47,
    (2352, 1.0): 10.67,
    (7000, 1.0): 9.62,
    (7000, 1.25): 3.22,
    (7000, 1.5): 2.27,
}

SAMPLING = {  # name and steps: FID of 10,000 samples, so not to be compared with those above
    ("L/2", 1000): 25.9,
    ("XL/2", 128): 23.7,
}

U_NETS = {  # Gflops; what is said of them was trained longer or otherwise, so no FID stands here
    "LDM-4": 103.6,
    "ADM-U": 742.0,
    "ADM": 1120.0,
}
U_DITS = {  # transformers in the shape of a U-Net, 400,000 updates: Gflops, FID without guidance
    "U-DiT-S": (6.04, 31.51),
    "U-DiT-B": (22.22, 16.64),
    "U-DiT-L": (85.00, 10.08),
}
