"""The console command: maskrcnn predict, maskrcnn evaluate or maskrcnn export, or the same with python -m maskrcnn."""

import argparse
import sys

from maskrcnn import __version__
from maskrcnn.evaluation import compare
from maskrcnn.export import command as export
from maskrcnn.inference import predict

COMMANDS = {"predict": predict, "evaluate": compare, "export": export}


def main() -> int:
    """Run the subcommand that the command line names. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="maskrcnn", description="Mask R-CNN on stained blood smears.")
    parser.add_argument("--version", action="version", version=f"maskrcnn {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        module.add_arguments(
            subparsers.add_parser(
                name,
                help=module.DESCRIPTION,
                description=module.DESCRIPTION,
                epilog=module.EPILOG,
                formatter_class=argparse.RawDescriptionHelpFormatter,
                allow_abbrev=False,
            )
        )
    args = parser.parse_args()
    return COMMANDS[args.command].run(args, f"maskrcnn {args.command}")


if __name__ == "__main__":
    sys.exit(main())
