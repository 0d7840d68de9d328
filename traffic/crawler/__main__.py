import sys

from traffic.crawler.cli import main

sys.exit(main())
