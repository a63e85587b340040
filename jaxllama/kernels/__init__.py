"""Kernels for CPUs, assembled at run time: writing LLVM IR, the frame in which XLA calls it, and compiling."""
