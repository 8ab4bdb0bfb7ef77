"""Status: where does every pretraining and measurement stand? Words: state, pace, scheduler, reason."""
