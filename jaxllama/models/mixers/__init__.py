"""What lets positions see each other: one file a kind, each a value with its tensors, its memory and its computation."""

from .attention import Attention

Mixer = Attention

__all__ = ["Attention", "Mixer"]
