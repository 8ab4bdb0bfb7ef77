"""compmod: reproduce 'Self-Supervised Representation Learning with Meta Comprehensive Regularization' end to end.

The folders of the repository are the subpackages; each imports itself and what stands to its left in
pretrain <- transfer <- tables <- slurm.
"""

__version__ = "0.1.0"
