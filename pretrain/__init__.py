"""Learn representations: specs, data, views, methods, CompMod, trainer, evaluation."""
