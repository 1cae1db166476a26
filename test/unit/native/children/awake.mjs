/** A process, or a thread of it, that ends while it waits awake for what does not come. */
import { isMainThread, Worker, workerData } from 'node:worker_threads';
import { addon } from './addon.mjs';

const mode = isMainThread ? process.argv[2] : workerData;
const awake = addon.awakeOpen();
addon.awakeExpect(awake, true);

if (mode === 'exit') setTimeout(() => process.exit(0), 2);
else if (mode === 'worker' && isMainThread) {
  const worker = new Worker(new URL(import.meta.url), { workerData: mode });
  worker.on('exit', () => console.log('ended'));
} else setTimeout(() => console.log(isMainThread ? 'idle' : ''), 2);
