#!/usr/bin/env python3
"""Runs the commands of docs/user-guide.md and puts what they print into it.

    docs/record.py target/dist/bin/pearlbed

Each block that begins with `$ pearlbed ...` is run, in the order of the page, in one empty home folder; a comment
`<!-- wait N -->` before a block waits N seconds. Paths of this machine are replaced by what a user would see.
Needs nothing but Python. Leaves no session running.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

binary = os.path.abspath(sys.argv[1])
prefix = os.path.dirname(os.path.dirname(binary))
page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "user-guide.md")
folder = tempfile.mkdtemp(prefix="pearlbed-")
home = os.path.join(folder, "me")
os.mkdir(home)
environment = {"HOME": home, "PATH": os.path.dirname(binary) + ":" + os.environ["PATH"], "COLUMNS": "80", "LANG": "C.UTF-8"}


def run(command):
    done = subprocess.run(
        ["sh", "-c", "exec 2>&1; " + command], env=environment, cwd=home, stdin=subprocess.DEVNULL, capture_output=True, timeout=120
    )
    text = done.stdout.decode().rstrip("\n")
    for real, shown in ((home, "/home/me"), (prefix, "/usr/local")):
        text = text.replace(real, shown)
    # Two words for the statuses that a script would look at.
    return text + (f"\n(exit status {done.returncode})" if done.returncode else "")


def block(match):
    wait, commands = match.group(1), [line for line in match.group(2).split("\n") if line.startswith("$ ")]
    if wait:
        time.sleep(int(wait))
    parts = []
    for command in commands:
        output = run(command[2:])
        parts.append(command + ("\n" + output if output else ""))
    before = f"<!-- wait {wait} -->\n" if wait else ""
    return before + "```console\n" + "\n".join(parts) + "\n```"


try:
    with open(page) as file:
        text = file.read()
    text = re.sub(r"(?:<!-- wait (\d+) -->\n)?```console\n(.*?)\n```", block, text, flags=re.DOTALL)
    with open(page, "w") as file:
        file.write(text)
finally:
    subprocess.run([binary, "stop"], env=environment, capture_output=True)
    shutil.rmtree(folder)
