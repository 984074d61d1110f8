"""Joins standard input and output to a unix socket of this host: ``relay PATH``.

Once it has connected it writes `CONNECTED`, and then what the socket says. Ends with status 0 when
the socket's other side closes, with 1 and a reason when it cannot be reached; the end of standard
input closes the socket.
"""

from __future__ import annotations

import os
import select
import socket
import sys

SIZE = 1 << 16
CONNECTED = b"+"


def relay(connection: socket.socket) -> None:
    waiting = {0: b"", connection.fileno(): b""}  # by the descriptor the bytes came from
    target = {0: connection.fileno(), connection.fileno(): 1}
    closing = False
    while True:
        readers = [fd for fd, data in waiting.items() if not data and not (closing and fd == 0)]
        writers = [target[fd] for fd, data in waiting.items() if data]
        readable, writable, _ = select.select(readers, writers, ())
        for source, data in list(waiting.items()):
            if data and target[source] in writable:
                waiting[source] = data[os.write(target[source], data) :]
        for source in readable:
            data = os.read(source, SIZE)
            if not data and source != 0:
                return
            if not data:
                closing = True
                connection.shutdown(socket.SHUT_WR)
            waiting[source] = data


def main(path: str) -> int:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
    except OSError as error:
        sys.stderr.write("%s\n" % (error.strerror or error))
        return 1
    os.write(1, CONNECTED)
    os.set_blocking(1, False)
    connection.settimeout(0)
    try:
        relay(connection)
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the other side left while we wrote
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
