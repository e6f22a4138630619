#!/usr/bin/env python3
"""trial.py FOLDER OUT: copies the trial that is held open for an image in FOLDER; it has no name there.
trial.py FOLDER: fails if one is held."""

import glob
import os
import shutil
import sys


def is_trial(descriptor):
    try:
        target = os.readlink(descriptor)
    except OSError:  # closed meanwhile
        return False
    folder, name = os.path.split(target)
    return folder == os.path.realpath(sys.argv[1]) and name.startswith(".platter-") and ".trial" in name


held = [descriptor for descriptor in glob.glob("/proc/[0-9]*/fd/*") if is_trial(descriptor)]
if len(sys.argv) == 2:
    sys.exit(f"still held: {held}" if held else 0)
if not held:
    sys.exit("no trial is held open")
with open(held[0], "rb") as trial, open(sys.argv[2], "wb") as copy:
    shutil.copyfileobj(trial, copy)
