"""How good a model is: metrics, the questions that measure them, and plots. Start with `metrics`.

Asks a model server only through the client that it is handed. Nothing else imports Matplotlib.
"""
