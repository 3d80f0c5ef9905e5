"""A bad line between nodes: carries packets from one to the other late, and loses some.

netem is not in every kernel. Here each node has one more network device, whose other end lies open in front of this program and is
on no bridge. What a node sends out of it is read here as packets, which go on to the node that they are for: in the order in
which they came, some time later, or not at all. What is lost TCP sends again, and waits longer each time, as on any such line.

  relay.py SEED LEAST_MS MOST_MS LOST_PERCENT HOST=DEVICE …

Says `ready`, carries until it is told to end, and then says how many packets it has carried and lost.
"""

import random
import select
import signal
import socket
import sys
import time
from collections import deque

SOL_PACKET, PACKET_VNET_HDR, SO_RCVBUFFORCE, ETH_P_IP = 263, 15, 33, 0x0800
# In front of a packet: what the kernel leaves to network cards, as checksums and cutting large packets. They go along as they are.
VNET_HEADER_BYTES = 10
# Where the address of the receiver is, behind that and Ethernet's header.
RECEIVER = slice(VNET_HEADER_BYTES + 14 + 16, VNET_HEADER_BYTES + 14 + 20)
PACKET_MAX_BYTES = 1 << 17
# What waits to be read, and how many packets are on the way from one to another; more are lost.
ROOM_BYTES = 16 << 20
WAY_MAX = 20_000


def opened(device):
    opening = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    opening.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    opening.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM_BYTES)
    opening.bind((device, ETH_P_IP))
    opening.setblocking(False)
    return opening


class Relay:
    def __init__(self, seed, least_ms, most_ms, lost_percent, devices):
        self.chance = random.Random(seed)
        self.least_s, self.most_s, self.lost = least_ms / 1e3, most_ms / 1e3, lost_percent / 100
        self.sockets = {socket.inet_aton(host): opened(device) for host, device in devices.items()}
        # Sender and receiver: packets with the time at which they arrive.
        self.ways = {(sender, receiver): deque() for sender in self.sockets for receiver in self.sockets if sender != receiver}
        self.carried = self.dropped = 0

    def take(self, sender, now):
        """All that a node has sent."""
        while True:
            try:
                packet = self.sockets[sender].recv(PACKET_MAX_BYTES)
            except BlockingIOError:
                return
            way = self.ways.get((sender, packet[RECEIVER]))
            if way is None:
                continue
            if self.chance.random() < self.lost or len(way) >= WAY_MAX:
                self.dropped += 1
                continue
            due = now + self.chance.uniform(self.least_s, self.most_s)
            # A line keeps the order.
            way.append((max(due, way[-1][0]) if way else due, packet))

    def give(self, now):
        for (_, receiver), way in self.ways.items():
            while way and way[0][0] <= now:
                try:
                    self.sockets[receiver].send(way.popleft()[1])
                    self.carried += 1
                except OSError:
                    self.dropped += 1  # its device takes no more

    def run(self):
        by_socket = {opening: host for host, opening in self.sockets.items()}
        while True:
            due = min((way[0][0] for way in self.ways.values() if way), default=None)
            wait_s = None if due is None else max(0, due - time.monotonic())
            readable, _, _ = select.select(by_socket, [], [], wait_s)
            now = time.monotonic()
            for opening in readable:
                self.take(by_socket[opening], now)
            self.give(now)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    seed, least_ms, most_ms, lost_percent = sys.argv[1:5]
    devices = dict(each.split("=") for each in sys.argv[5:])
    relay = Relay(int(seed), float(least_ms), float(most_ms), float(lost_percent), devices)
    print("ready", flush=True)
    try:
        relay.run()
    finally:
        print(f"{relay.carried} {relay.dropped}", flush=True)


if __name__ == "__main__":
    main()
