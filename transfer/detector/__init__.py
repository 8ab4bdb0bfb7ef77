"""Detector: how do Detectron2 and our trunk become a Mask R-CNN? Words: trunk, C4, FPN, precise batch norm."""
