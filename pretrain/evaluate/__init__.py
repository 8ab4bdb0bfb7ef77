"""Evaluate: how good is the backbone of a finished run?

*Features* are the outputs of a fixed backbone. A *probe* measures them: the *linear* probe trains one layer on them,
*nearest neighbours* compare them. *Fine-tuning* trains a *classifier* on augmented images, with the backbone under it.
"""
