"""What every test shares: one thread, since tests are tiny and the machine may be busy."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
