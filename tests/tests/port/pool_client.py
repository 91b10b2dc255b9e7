"""A client of the pool dialect, written from the protocol's text alone.

Standard input: one JSON object a line, {"proof": base64, "job_id": text} to hand in, {} for the newest job.
Standard output: the reply, or the job. Arguments: host:port, "object" or "array", worker.
"""
import json
import queue
import socket
import sys
import threading


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    form, worker = sys.argv[2], sys.argv[3]
    link = socket.create_connection((host, int(port)))
    reader = link.makefile("r", encoding="utf-8", newline="\n")
    jobs, replies = queue.Queue(), queue.Queue()

    def listen():
        for line in reader:
            message = json.loads(line)
            if message.get("method") == "mining.notify":
                jobs.put(message["params"])
            elif message.get("id") is not None:
                replies.put(message)
        replies.put({"gone": True})
        jobs.put(None)

    threading.Thread(target=listen, daemon=True).start()

    def ask(number, method, params):
        link.sendall(json.dumps({"id": number, "method": method, "params": params}).encode() + b"\n")
        reply = replies.get(timeout=120)
        assert reply.get("id") == number, reply
        return reply

    if form == "array":
        ask(1, "mining.subscribe", ["python-pool/1.0"])
        login = ask(2, "mining.authorize", ["prl1somebody." + worker, "x"])
    else:
        login = ask(2, "mining.authorize",
                    {"wallet": "prl1somebody", "worker": worker, "agent": "python-pool/1.0", "pass": "x"})
    assert login["result"] is True and login["error"] is None, login
    number, newest = 2, jobs.get(timeout=120)
    for line in sys.stdin:
        what = json.loads(line)
        while not jobs.empty():
            newest = jobs.get()
        if "proof" in what:
            number += 1
            share = {"wallet": "prl1somebody", "worker": worker,
                     "job_id": what.get("job_id", newest["job_id"]), "plain_proof": what["proof"]}
            print(json.dumps(ask(number, "mining.submit", share)), flush=True)
        else:
            print(json.dumps(newest), flush=True)


main()
