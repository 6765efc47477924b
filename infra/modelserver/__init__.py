"""A model server that speaks TensorFlow Serving's REST and gRPC, takes its flags, and answers as it does."""
