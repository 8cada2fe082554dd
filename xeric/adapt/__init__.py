"""From a file of one's own to the adaptation to use, within a time that the user gives.

``source`` reads the file, ``planning`` decides what the time is spent on, ``search`` compares prompting and methods on dev by
successive halving, the final study of ``studies`` trains the choice on everything but the test set and scores it there once,
``outcome`` says what to use; ``adapting`` does one after the other.
"""
