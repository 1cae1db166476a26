/** Throws in the first delivery of a channel, and expects a handler of uncaught exceptions to hear of it. */
import { addon } from './addon.mjs';

const [path] = process.argv.slice(2);
let deliveries = 0;
process.on('uncaughtException', (error) => console.log(`caught: ${error.message}`));
const open = (fd, onData) => addon.channelOpen(fd, Buffer.alloc(4096), 4096, 0, onData, () => {});
let server;
const listener = addon.listenerOpen(path, 0o600, (fd) => {
  server = open(fd, () => {
    if (++deliveries === 1) {
      addon.channelSend(client, Buffer.from('two'));
      throw new Error('thrown in a delivery');
    }
    console.log('still delivering');
    for (const channel of [client, server]) addon.channelClose(channel);
    addon.listenerClose(listener);
  });
  addon.channelRead(server, true);
});
const client = open(addon.connectUnix(path), () => {});
addon.channelSend(client, Buffer.from('one'));
