"""A model server that speaks TensorFlow Serving's REST and gRPC, takes its flags, and answers as it does.

Of Slipway it imports `tasks.wire` alone: it reads folders, and knows neither store nor fleet. Start with `server`.
"""
