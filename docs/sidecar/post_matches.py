#!/usr/bin/env python3
"""Hand match lists and events to matchrelay from Python, with the standard library alone.

    post_matches.py matches.json                              a match list; - is standard input
    post_matches.py --event processing_status payload.json    an event

It talks to the control socket of `matchrelay run` or `matchrelay relay` (MATCHRELAY_SOCKET, or --socket), or with --address
127.0.0.1:8000 to the port that is set there with MATCHRELAY_HTTP_ADDR, with the token in MATCHRELAY_HTTP_TOKEN.

The answer 200 means that list and events are on the disk: they will be delivered. Until it has come, the request is
repeated under the same Idempotency-Key, so that it counts once whatever broke in between. A processor copies Client and
calls it after each fetch:

    client = Client(socket_path="data/matchrelay.db.sock")
    fetched_at = now()                 # before the fetch: the list is no older than that
    client.post_matches(fetch(), fetched_at)

Exit code: 0 recorded, or a newer list was recorded already; 1 refused, or not recorded within the time (--give-up-after);
2 wrong usage.
"""

import argparse
import datetime
import hashlib
import http.client
import json
import os
import random
import socket
import struct
import sys
import time
import urllib.parse


class Refused(Exception):
    """The request is wrong as it is: repeating it does not help."""

    def __init__(self, status, code, message):
        super().__init__(f"{message} ({status} {code})")
        self.status, self.code = status, code


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)
        if hasattr(socket, "SO_PEERCRED"):  # Linux: in a folder that others can write to, anybody may have taken the name
            _, uid, _ = struct.unpack("iII", self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if uid not in (0, os.geteuid()) and not (os.geteuid() == 0 and uid == self._owner_of_file()):
                self.close()
                raise Refused(403, "another_user", f"{self.path}: the user {uid} serves it; nothing was sent")

    def _owner_of_file(self):
        """The owner of the outbox file beside the socket, or None."""
        try:
            return os.stat(self.path.removesuffix(".sock")).st_uid if self.path.endswith(".sock") else None
        except OSError:
            return None


class Client:
    """Posts to the socket at socket_path, or to address (host:port) with a token. Times are in seconds."""

    def __init__(self, socket_path=None, address=None, token=None, timeout=60, give_up_after=600):
        self.socket_path, self.address, self.token = socket_path, address, token
        self.timeout, self.give_up_after = timeout, give_up_after

    def post_matches(self, matches, fetched_at, allow_empty=False, key=None):
        """Record a match list: bytes, as FOGIS sent them, for they reach subscribers unchanged. Returns what changed.

        Refused with the code stale_list means that a newer list is recorded already, so this one can be forgotten;
        empty_list that the list is empty, as that of a failing source is: if all matches are really gone, allow it.
        """
        query = {"fetched_at": fetched_at}
        if allow_empty:
            query["allow_empty"] = "1"
        # The same list of the same moment has the same key, also after a restart of this program.
        key = key or "matches " + fetched_at + " " + hashlib.sha256(matches).hexdigest()
        return self._post("/v1/matches?" + urllib.parse.urlencode(query), matches, key)

    def post_event(self, kind, payload, key):
        """Append an event, processing_status or system_alert, with a dict as its payload. key is one for each event."""
        body = json.dumps({"type": kind, "payload": payload}).encode()
        return self._post("/v1/events", body, key)

    def _post(self, path, body, key):
        deadline, delay = time.monotonic() + self.give_up_after, 0.1
        while True:
            try:
                status, answer = self._send(path, body, key)
                if status == 200:
                    return answer
                error = answer["error"]
                problem = Refused(status, error["code"], error["message"])
                if status < 500:
                    raise problem
            except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as broken:
                problem = broken  # perhaps it was recorded, perhaps not: the key tells
            pause = delay * random.uniform(0.5, 1.5)
            if time.monotonic() + pause > deadline:
                raise problem
            time.sleep(pause)
            delay = min(delay * 2, 10)

    def _send(self, path, body, key):
        if self.address:
            connection = http.client.HTTPConnection(self.address, timeout=self.timeout)
        else:
            connection = UnixConnection(self.socket_path, self.timeout)
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()


def now():
    """The time as matchrelay reads it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat()


def main():
    parser = argparse.ArgumentParser(description="Hand a match list, or an event, to matchrelay.")
    parser.add_argument("file", help="JSON file, or - for standard input")
    parser.add_argument("--event", metavar="TYPE", help="the file is the payload of a processing_status or system_alert")
    parser.add_argument("--socket", default=os.environ.get("MATCHRELAY_SOCKET") or "data/matchrelay.db.sock")
    parser.add_argument("--address", help="host:port instead of the socket")
    parser.add_argument("--fetched-at", help="when the list was asked for (default: now)")
    parser.add_argument("--allow-empty", action="store_true", help="an empty list means that every match was removed")
    parser.add_argument("--key", help="Idempotency-Key (default for a list: made of it; for an event: of its bytes)")
    parser.add_argument("--give-up-after", type=float, default=600, metavar="SECONDS")
    options = parser.parse_args()

    started = now()
    try:
        if options.file == "-":
            data = sys.stdin.buffer.read()
        else:
            with open(options.file, "rb") as file:
                data = file.read()
        payload = json.loads(data) if options.event else None
    except (OSError, ValueError) as wrong:
        parser.error(f"{options.file}: {wrong}")
    token = os.environ.get("MATCHRELAY_HTTP_TOKEN") if options.address else None
    client = Client(options.socket, options.address, token, give_up_after=options.give_up_after)
    try:
        if options.event:
            key = options.key or "event " + hashlib.sha256(data).hexdigest()
            answer = client.post_event(options.event, payload, key)
        else:
            answer = client.post_matches(data, options.fetched_at or started, options.allow_empty, options.key)
    except Refused as refused:
        if refused.code == "stale_list":
            print("a newer list is recorded already", file=sys.stderr)
            return 0
        print(f"refused: {refused}", file=sys.stderr)
        return 1
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as broken:
        print(f"not known to be recorded: {broken}; repeat it under the same key", file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
