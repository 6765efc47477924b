"""What the shop predicts."""
