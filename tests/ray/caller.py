"""A program outside the tree: connects with ``System`` and makes the calls it reads as lines of JSON.

A process can be a driver of one Ray cluster only, and importing Ray into the tests' own process would change its
signal handlers and warnings; hence a process of its own for each system.
"""

import json
import sys

from supervisors.core.errors import RayvisorError
from supervisors.runtime.system import System


def main() -> None:
    with System.connect(sys.argv[1]) as system:
        sys.stdout.write("connected\n")
        sys.stdout.flush()
        for line in sys.stdin:
            path, method, arguments, timeout, once = json.loads(line)
            answer: dict[str, object]
            try:
                answer = {"answer": system.call(path, method, *arguments, timeout=timeout, once=once)}
            except RayvisorError as error:
                answer = {"error": type(error).__name__, "text": str(error)}
            except Exception as error:  # noqa: BLE001 - whatever the method raised is the answer
                answer = {"raised": type(error).__name__, "text": str(error)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
