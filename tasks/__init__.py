"""What the steps of a delivery do: plain functions and small classes; at a module's foot, their task wrappers."""
