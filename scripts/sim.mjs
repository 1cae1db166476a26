/** `npm run sim`: makes the clone runnable, then the simulator with the same arguments. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';

setUp({ project: 'src/simulator' });
const result = spawnSync(
  process.execPath,
  [join(root, 'dist', 'simulator', 'main.js'), ...process.argv.slice(2)],
  { stdio: 'inherit' },
);
process.exit(result.status ?? 1);
