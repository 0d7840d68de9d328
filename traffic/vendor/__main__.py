import sys

from traffic.vendor.cli import main

sys.exit(main())
