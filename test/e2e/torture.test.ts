/** Forty seconds of the torture: faults of a fresh seed each time, which is printed for `npm run torture -- --seed N`. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';

const TIMEOUT_MS = 900_000;
const script = fileURLToPath(new URL('../../scripts/torture.mjs', import.meta.url));

test(
  'nothing acknowledged is lost, and no call fails, while nodes, supervisor and mount are killed and frozen',
  async () => {
    const args = [script, '--seconds', '40', '--nodes', '6', '--parity', '2'];
    const torture = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    // It takes its processes and its mount with it.
    onTestFinished(() => void torture.kill('SIGTERM'));
    let output = '';
    torture.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    const [code] = await once(torture, 'close');
    if (code !== 0) process.stdout.write(output);
    expect(code).toBe(0);
  },
  TIMEOUT_MS,
);
