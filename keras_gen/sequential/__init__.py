"""Sequential models: images built up step by step on a canvas, and looked at through windows."""
