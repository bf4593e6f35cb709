"""The small model that ships with the project: its pictures, its recipe, its weights, its measurements."""
