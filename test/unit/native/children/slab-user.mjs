/**
 * Connects to a Unix socket, receives a slab's descriptor, writes the slab's first page to a file and reads the file back
 * into the second page, both directly, and then answers with the outcome of both.
 */
import { constants, openSync } from 'node:fs';
import { addon } from './addon.mjs';

const [socketPath, filePath] = process.argv.slice(2);
const buffer = Buffer.alloc(4096);
let slab;

const channel = addon.channelOpen(
  addon.connectUnix(socketPath),
  buffer,
  1 << 20,
  0,
  () => {
    const memory = Buffer.from(slab);
    const fd = openSync(filePath, constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT);
    const written = addon.pwriteSync(fd, memory.subarray(0, 4096), 0, 2);
    const read = addon.preadSync(fd, memory.subarray(4096, 8192), 0, 0);
    addon.channelSend(channel, Buffer.from(`${written} ${read}`));
  },
  (kind, value) => {
    if (kind === 1) slab = addon.slabMap(value, 2 << 20);
  },
);
addon.channelRead(channel, true);
