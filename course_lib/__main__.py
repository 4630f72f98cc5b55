"""The entrance, `python3 -m course_lib`. Old Pythons read this file too, so its syntax is old."""

import sys

if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.stderr.write(
        "Many Futures needs Python 3.11 to 3.14; this is Python "
        + ".".join(str(number) for number in sys.version_info[:3])
        + " (" + str(sys.executable) + ").\n"
        "Install one of them and call it by its name, for example"
        " 'python3.13 -m course_lib lab' (Windows: 'py -3.13 -m course_lib lab').\n"
    )  # fmt: skip
    sys.exit(1)

from course_lib.cli import main

sys.exit(main(sys.argv[1:]))
