"""Randomness as arithmetic: random numbers that are pure functions of what they are for, equal on CPU and CUDA.

A counter is hashed instead of a state being advanced, so a run that is killed and resumed, or that splits its batches
another way, sees the same numbers. The mixer is the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014; its
constants are variant 13 of David Stafford's list), on int64 tensors: their products wrap modulo 2^64.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

_INCREMENT = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio: splitmix64's step from one number to the next
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # splitmix64, variant 13
_SHIFTS = (30, 27, 31)  # splitmix64, variant 13
_WORD = (1 << 64) - 1
_FLOAT_BITS = 24  # the significand of float32: every multiple of 2^-24 below 1 is exact


def uniform(seed: int, epoch: int, index_N: Tensor, view: int, count: int) -> Tensor:
    """Numbers in [0, 1) for each sample, float32, (samples, count), on the device of `index_N`.

    Row i depends on (seed, epoch, index_N[i], view) alone; raising `count` appends columns and changes none.
    """
    if index_N.dtype != torch.int64 or index_N.ndim != 1:
        raise ValueError(f"index_N must be a vector of int64, not {tuple(index_N.shape)} of {index_N.dtype}")
    start_N = _mix(index_N * _signed(_INCREMENT) + _signed(_key("view", seed, epoch, view)))
    column_C = torch.arange(1, count + 1, device=index_N.device) * _signed(_INCREMENT)
    hash_NC = _mix(start_N[:, None] + column_C)
    return _shift_right(hash_NC, 64 - _FLOAT_BITS).float().mul_(2.0**-_FLOAT_BITS)


def permutation(seed: int, epoch: int, n: int, device: torch.device | str = "cpu") -> Tensor:
    """The order in which an epoch visits `n` samples: int64, on `device`, the same on every one.

    Sorting hashes, and not `torch.randperm`, so that the order is the same under every version of torch.
    """
    counter_N = torch.arange(n, device=device) * _signed(_INCREMENT) + _signed(_key("permutation", seed, epoch))
    return torch.argsort(_mix(counter_N), stable=True)


def generator(seed: int, purpose: str) -> torch.Generator:
    """A CPU generator for draws that torch makes itself, such as initial weights; each purpose has its own."""
    return torch.Generator().manual_seed(_key(purpose, seed) >> 1)


def _key(purpose: str, *words: int) -> int:
    """64 bits that name a stream: the purpose and whole numbers such as seed and epoch."""
    text = ",".join([purpose, *(str(int(word)) for word in words)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser, in place: a bijection of 64-bit words; every bit going in moves every bit coming out."""
    for shift, factor in zip(_SHIFTS[:2], _FACTORS, strict=True):
        x.bitwise_xor_(_shift_right(x, shift)).mul_(_signed(factor))
    return x.bitwise_xor_(_shift_right(x, _SHIFTS[2]))


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift: int64 shifts copy the sign bit, so the copies are masked off."""
    return (x >> bits).bitwise_and_(_WORD >> bits)


def _signed(word: int) -> int:
    """The int64 with the same bits as an unsigned 64-bit word."""
    return word - (1 << 64) if word >> 63 else word
