/** Connects to a Unix socket, sends every byte back, and ends with the connection. */
import { addon } from './addon.mjs';

const buffer = Buffer.alloc(65536);
const fd = addon.connectUnix(process.argv[2]);
const channel = addon.channelOpen(
  fd,
  buffer,
  64 << 20,
  Number(process.argv[3] ?? 0),
  (lengthBytes) => addon.channelSend(channel, buffer.subarray(0, lengthBytes)),
  () => {},
);
addon.channelRead(channel, true);
