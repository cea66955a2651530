r"""The command line: arguments, progress, colours, exit codes. Never knows algorithms.

    argv --main--> one file per command --> weightzip's verbs --> output (human, JSON or quiet)
                                        \--> errors (one line, one exit code)

Nothing heavy is imported before a command runs, so that `--help` answers at once. Only this room prints or exits.
"""
