"""Task: what does one job do, how does it end, and is it queued again? Words: signal, failure, attempt, log."""
