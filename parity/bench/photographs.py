"""Loading, measured in a process of its own that ``parity.bench.costs`` starts with the variables that it needs."""

from __future__ import annotations

import argparse
import json
import sys

from parity.loading import loading_dataset, measure_dataset

# A data set may have a hundred thousand photographs, and each round loads all of them twice.
MOST = 200


def main() -> None:
    """Measure what the command line describes, each with its options, and print the rates of each as a line of JSON."""
    request = json.loads(sys.argv[1])
    for options in request["args"]:
        args = argparse.Namespace(**options)
        print(json.dumps(vars(measure_dataset(loading_dataset(args, MOST), args, request["rounds"]))))


if __name__ == "__main__":
    main()
