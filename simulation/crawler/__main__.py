import sys

from simulation.crawler.cli import main

sys.exit(main())
