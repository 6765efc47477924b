"""`make bench`: what the embedded model server does in a second."""

from tests.benchmarks.bench_modelserver import main

if __name__ == "__main__":
    main()
