/** A process, or a thread of it, that ends while disk operations are in flight. */
import { openSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { addon } from './addon.mjs';

const [path, engine, mode] = isMainThread ? process.argv.slice(2) : workerData;
const fd = openSync(path, 'r+');
const completions = new Int32Array(512);
const buffers = new Map();
const queue = addon.diskOpen(64, engine === 'threads', completions, (count) => {
  for (let at = 0; at < count; at++) {
    if (completions[2 * at + 1] !== 65536) throw new Error(`result ${completions[2 * at + 1]}`);
    buffers.delete(completions[2 * at]);
  }
});

function submitWrites(count) {
  for (let at = 0; at < count; at++) {
    const buffer = Buffer.alloc(65536, at);
    const id = addon.diskTransfer(queue, true, fd, buffer, at * 65536, 2);
    if (id < 0) throw new Error(`submit ${id}`);
    buffers.set(id, buffer);
  }
}

if (mode === 'idle') {
  console.log('idle');
} else if (mode === 'exit') {
  submitWrites(200);
  addon.diskFlush(queue);
  process.exit(0);
} else if (isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: [path, engine, mode] });
  worker.on('message', () => worker.terminate());
  worker.on('exit', () => console.log('ended'));
} else {
  submitWrites(200);
  addon.diskFlush(queue);
  parentPort.postMessage('in flight');
}
