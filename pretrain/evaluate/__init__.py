"""Evaluate: how good is the trunk of a finished run?

*Features* are the outputs of a fixed trunk. A *probe* measures them: the *linear* probe trains one layer on them,
*nearest neighbours* compare them. *Fine-tuning* trains a *classifier* on augmented images, with the trunk under it.
"""
