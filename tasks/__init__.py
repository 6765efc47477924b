"""What the steps of a delivery do: plain functions and small classes, with their task wrappers at the foot of a module."""
