"""Print the paths of programs that only tests need."""

import sys

from tests.binaries import PROJECTS
from tools.find import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], PROJECTS))
