"""The parts of a transformer block, as functions of arrays.

Axes have one letter each, the same everywhere:
B slot (sequence)      T query position       S cache position       L layer
N query heads          K key/value heads      G queries a key/value head (N = K G)
H head size            D model width          F feed-forward width   E experts      V vocabulary
"""
