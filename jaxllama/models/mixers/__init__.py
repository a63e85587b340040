"""What lets positions see each other: one file a kind, each a value with its tensors, its memory and its computation."""

from .attention import Attention
from .delta_net import DeltaNet
from .latent import Latent
from .mamba2 import Mamba2
from .short_conv import ShortConv

Mixer = Attention | DeltaNet | Latent | Mamba2 | ShortConv

__all__ = ["Attention", "DeltaNet", "Latent", "Mamba2", "Mixer", "ShortConv"]
