/** `npm run torture`: makes the clone runnable with all that tests need, then test/torture with the same arguments. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root, setUp } from './setup.mjs';

setUp({ forTests: true });
const { build } = await import('rolldown');
const sources = join(root, 'test', 'torture');
/** As deep in the checkout as sources are, for what is found relative to them. */
const bundle = join(root, 'dist', '.e2e', 'torture');
await build({
  input: [
    join(sources, 'main.ts'),
    ...['append', 'overwrite', 'names', 'steady'].map((name) => join(sources, 'workers', `${name}.ts`)),
  ],
  platform: 'node',
  external: [/^[^./]/],
  output: { dir: bundle, format: 'esm', entryFileNames: '[name].mjs', chunkFileNames: '[name].mjs' },
  logLevel: 'warn',
});
const child = spawn(process.execPath, [join(bundle, 'main.mjs'), ...process.argv.slice(2)], {
  stdio: 'inherit',
});
// The child cleans up behind itself; a terminal's Ctrl-C reaches it without us.
process.on('SIGINT', () => {});
process.on('SIGTERM', () => child.kill('SIGTERM'));
child.on('exit', (code, signalName) => process.exit(signalName === null ? (code ?? 1) : 1));
