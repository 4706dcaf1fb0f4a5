"""Training: data, recipes, runs and the command line.

    python -m training train vae --data digits --out runs/vae-digits

Importing this package imports nothing heavy: sampling from an exported file must start without TensorFlow.
"""
