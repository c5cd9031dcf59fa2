"""Starts processes as copies of this one, which has imported what they need.

python fork_server.py FILE    each process runs the function `run` of that Python file

A request is a line of JSON on standard input: the arguments of the function, the environment variables to set, and a
named pipe for standard output. The answer is the number of the process, and in another line its exit code.
"""

import importlib.util
import json
import os
import sys


def main(file):
    spec = importlib.util.spec_from_file_location("forked", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for line in sys.stdin:
        arguments, variables, output = json.loads(line)
        process = os.fork()
        if not process:
            os.environ.update(variables)
            os.dup2(os.open(output, os.O_WRONLY), 1)
            return module.run(*arguments)
        print(process, flush=True)  # noqa: T201 -- the answer
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
