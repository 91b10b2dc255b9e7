"""A client of the miner RPC, written from the protocol's text alone: asks for jobs and hands in what it is given.

Standard input: one JSON object a line, {"proof": base64} or {"proof": base64, "job": {...}} or {} for the job.
Standard output: the reply to each.
"""
import json
import socket
import sys


def connect(address):
    if "/" in address:
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.connect(address)
    else:
        host, port = address.rsplit(":", 1)
        link = socket.create_connection((host, int(port)))
    # Longer than anybody takes; who never answers is found out.
    link.settimeout(120)
    return link


class Connection:
    def __init__(self, address):
        self.link = connect(address)
        self.reader = self.link.makefile("r", encoding="utf-8", newline="\n")
        self.last = 0

    def ask(self, method, params):
        self.last += 1
        request = {"jsonrpc": "2.0", "method": method, "params": params, "id": self.last}
        self.link.sendall(json.dumps(request).encode() + b"\n")
        reply = json.loads(self.reader.readline())
        assert reply["jsonrpc"] == "2.0" and reply["id"] == self.last, reply
        return reply


def main():
    address = sys.argv[1]
    polls = Connection(address)
    job = None
    for line in sys.stdin:
        what = json.loads(line)
        if "proof" in what:
            # A connection of its own for each, as Pearl's miners have it.
            mining_job = what.get("job") or job
            reply = Connection(address).ask(
                "submitPlainProof", {"plain_proof": what["proof"], "mining_job": mining_job}
            )
        else:
            reply = polls.ask("getMiningInfo", {})
            job = reply.get("result")
        print(json.dumps(reply), flush=True)


main()
