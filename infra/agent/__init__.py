"""The agent beside a model server: it brings its replica to the fleet's newest config, and reports."""
