import sys

from simulation.proxy.cli import main

sys.exit(main())
