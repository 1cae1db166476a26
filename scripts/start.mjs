/** `npm start`: makes the clone runnable, then `tartan up` with the same arguments. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';

setUp();
const result = spawnSync(process.execPath, [join(root, 'bin', 'tartan.js'), 'up', ...process.argv.slice(2)], {
  stdio: 'inherit',
});
process.exit(result.status ?? 1);
