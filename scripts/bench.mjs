/** `npm run bench`: makes the clone runnable, fio included, then `tartan bench` with the same arguments. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';

setUp({ forTests: true });
const result = spawnSync(
  process.execPath,
  [join(root, 'bin', 'tartan.js'), 'bench', ...process.argv.slice(2)],
  {
    stdio: 'inherit',
  },
);
process.exit(result.status ?? 1);
