"""Fine-tune pretrained encoders for detection; built by a later issue."""
