"""What is scheduled: the order of the steps, and where it goes back."""
