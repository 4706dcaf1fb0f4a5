"""Helmholtz machines: a generative chain and a recognition chain, trained together."""
