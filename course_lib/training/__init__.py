"""How models are trained, stored, resumed and published; nothing here knows a model."""
