"""How attention is computed: one file a backend. `choice.py` decides among them."""
