"""Batch normalisation, ReLU and pooling in one pass over the map, for training on a CPU.

Taken one by one, the three layers read and write a map about twelve times there and back, and PyTorch keeps
8 bytes of index for each pooled value. None of it is arithmetic to speak of, and where matrix units do the
convolutions of a small network it costs as much time as they do. `max_pool` and `blurred_max_pool` say how
each pooling is taken together with what precedes it, `norm_activation` what is done where nothing is pooled;
`loops` compiles their passes.
"""

from facelex.models.fused.sequential import FusedSequential, norm_relu, switch_off

__all__ = ["FusedSequential", "norm_relu", "switch_off"]
