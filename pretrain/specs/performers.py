"""Performers: which function turns a kind of spec into its number, by name, so that looking it up imports nothing."""

from .run import Kind

PERFORMS: dict[Kind, str] = {  # module and function, called with runs, spec, data and session
    "pretraining": "pretrain.trainer:train",
    "probes": "pretrain.evaluate.probe:evaluate",
    "linear": "pretrain.evaluate.finetune:fine_tune",
    "fine-tuning": "pretrain.evaluate.finetune:fine_tune",
    "import": "pretrain.weights.imported:import_again",
    "detection": "transfer.fine_tune:fine_tune_detector",
}
