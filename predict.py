"""Detect, segment and classify the white blood cells of images: `maskrcnn predict`, from a checkout."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the imports, which take seconds, prints no traceback

import argparse
import sys

from maskrcnn.inference.predict import DESCRIPTION, EPILOG, add_arguments, run


def main() -> int:
    """Returns the exit code."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EPILOG, formatter_class=formatter, allow_abbrev=False
    )
    add_arguments(parser)
    return run(parser.parse_args(), "predict.py")


if __name__ == "__main__":
    sys.exit(main())
