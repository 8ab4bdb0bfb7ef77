"""Evaluate a finished pretraining: features, the linear probe and nearest neighbours."""
