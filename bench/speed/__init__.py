"""The speed bench: Xeric against TRL, PEFT with transformers' Trainer, ``generate`` and plain scoring, and the machine's limits.

``make bench`` runs it in an environment of its own; ``python -m bench.speed --help`` says what can be chosen.

``design`` says which cells are measured, ``rows`` makes the rows that all engines get, ``jobs`` starts one process per engine
and repeat; ``engine`` is what runs in it, with ``training``, ``decoding``, ``scoring``, ``study`` and ``machine`` behind it;
``measuring`` carries the parts out; ``ratios`` and ``page`` make figures of what comes back. What starts the processes imports no
tensor library.
"""
