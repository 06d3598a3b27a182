"""A receiver of webhooks, which checks each message with the library of Standard Webhooks.

    python3 webhook_receiver.py

Prints the port that it listens on; takes the secret as the first line of its input. From then on it prints a line for each request:
{"path", "id", "type", "data", "genuine", "status"}. What it answers depends on the path:

    /ok         204
    /flaky      500 to the first try of each message, then 204
    /elsewhere  302 to /ok
    /gone       410
"""

import http.server
import json
import sys

import standardwebhooks

SEEN = set()
SECRET = None


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            standardwebhooks.Webhook(SECRET).verify(body, dict(self.headers))
            genuine = True
        except standardwebhooks.WebhookVerificationError:
            genuine = False
        message = json.loads(body)
        name = self.headers["webhook-id"]
        status = {"/ok": 204, "/flaky": 204 if name in SEEN else 500, "/elsewhere": 302, "/gone": 410}[self.path]
        SEEN.add(name)
        said = {"path": self.path, "id": name, "genuine": genuine, "status": status}
        print(json.dumps({**said, "type": message["type"], "data": message["data"]}), flush=True)
        self.send_response(status)
        if status == 302:
            self.send_header("location", "/ok")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_address[1], flush=True)
SECRET = sys.stdin.readline().strip()
server.serve_forever()
