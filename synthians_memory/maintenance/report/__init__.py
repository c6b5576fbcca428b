"""A page about one store, for people: how it fares, how it grew, what happened to it, and what lies near to what in it.

It is not the doctor: it names no remedy. Nor is it read by any program.
"""
