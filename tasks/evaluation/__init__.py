"""How good answers are: metrics, the questions that measure them, and plots. Start with `metrics`."""
