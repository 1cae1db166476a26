/** fio with checksums in every block: what it wrote and what it reads back are compared by it. */
import { spawn } from 'node:child_process';

export interface FioRun {
  /** Rejects with fio's output when it failed or found a difference. */
  readonly finished: Promise<void>;
}

export function startFio(directory: string, ...flags: string[]): FioRun {
  const args = [
    '--name=verified',
    `--directory=${directory}`,
    '--verify=crc32c',
    '--verify_fatal=1',
    '--verify_state_save=0',
    ...flags,
  ];
  const child = spawn('fio', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  const finished = new Promise<void>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve();
      else reject(new Error(`fio ${flags.join(' ')} ended with ${code}: ${output}`));
    });
  });
  return { finished };
}
